"""The pages: that of a run, built from its folder whether it is finished or half way, and that of tables of results. Each is one HTML file.

Which sections a run's page has, and in which order, is decided here; what a family shows of its models is its own (:data:`SECTIONS`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from memogen import pretrained
from memogen.metrics.rows import ResultRow
from memogen.types import GenerativeModel, ImageData, InputError

from . import mem_vae, memory_gan, replay_gan, sections, tasks, verdict
from .history import Run, is_number, read_run, task_folders
from .parts import Code, Part, Section, Sign, Table, Text, Tile, render, tables_last, write_page
from .results import LEGEND, Results
from .scores import column, metrics_of, number, score_lines, score_table
from .sections import FamilyPart, FamilySections, PageContext
from .text import titled

SECTIONS: dict[str, FamilySections] = {
    "memory_gan": memory_gan.sections,
    "mem_vae": mem_vae.sections,
    "replay_gan": replay_gan.sections,
}
"""What each family shows of its own, by the name that ``config.json`` of a saved model gives it; see :class:`FamilySections`."""


def write_report(
    run: Path, *, data: ImageData | None = None, held_out: ImageData | None = None, families: Mapping[str, FamilySections] = SECTIONS
) -> Path:
    """Write ``run``/report.html and return its path; ``data`` are the training images, for the nearest ones and a posterior, ``held_out`` others.

    What is missing or cannot be drawn leaves a sentence. A family that ``families`` does not name has samples, scores and curves. Raises InputError
    when ``run`` is no run folder.
    """
    found = read_run(run)
    page = PageContext(found, *open_model(run / pretrained.RUN_MODEL), data, held_out)
    family = family_of(found)
    own = families[family](page) if family in families else FamilyPart()
    shown = [
        sections.samples(page),
        *own.sections,
        sections.neighbours(page),
        sections.curves(found),
        own.scores or Section("Scores", score_table(_of_the_end(found), _variant(found))),
        tasks.section(found),
    ]
    said = _verdict(page, own, family)
    verdict.keep(run, said)
    text = render(
        "run.html",
        title=_title(found),
        verdict=said,
        facts=_facts(found),
        tiles=_tiles(found),
        sections=[*tables_last([section for section in shown if section]), _next_steps(page, own), _settings(found)],
    )
    return write_page(run / "report.html", text)


def write_results(tables: Sequence[Results], path: Path) -> Path:
    """Write the page of tables of results and return its path."""
    return write_page(path, results_page(tables))


def results_page(tables: Sequence[Results]) -> str:
    """All tables under one another, each with what stands between it and the paper, and with the commands of its lines."""
    return render("results.html", title="Results of memogen", legend=LEGEND, sections=[_table(part) for each in tables for part in each.parts])


def _table(results: Results) -> Section:
    notes = (Text(note, soft=True) for note in results.notes)
    table = Table(results.columns, [results.row(line) for line in results.lines], style="stack")
    return Section(
        titled(results),
        (table, *notes, *([Code("\n".join(results.commands))] if results.commands else [])),
    )


def open_model(folder: Path) -> tuple[GenerativeModel | None, str]:
    """The saved model, or why there is none."""
    if not folder.is_dir():
        return None, "The run has no saved model yet; it is written when training ends or is stopped."
    try:
        model = pretrained.from_pretrained(folder)
    except (InputError, OSError, RuntimeError) as error:
        return None, f"The saved model cannot be read: {error}"
    return (model, "") if isinstance(model, GenerativeModel) else (None, f"A {type(model).__name__} draws no images.")


def family_of(run: Run) -> str:
    """The family that the saved model names, else the first word of the recipe; empty where neither tells."""
    try:
        return pretrained.read_document(run.path / pretrained.RUN_MODEL).family
    except InputError:
        return str(run.setting("recipe") or "").partition("/")[0]


def _of_the_end(run: Run) -> list[ResultRow]:
    """Rows for the table of scores; the section on tasks shows those of single tasks, and the cost. What two metrics agree on stands there once."""
    rows = [row for row in run.results if not is_number(row.task) and row.metric not in tasks.COSTS]
    accuracies = {round(row.value, 6) for row in rows if row.metric == "accuracy" and is_number(row.value)}
    return [row for row in rows if row.metric != "average_accuracy" or row.value is None or round(row.value, 6) not in accuracies]


def _variant(run: Run) -> str:
    return str(run.setting("variant") or "")


def _title(run: Run) -> str:
    recipe = run.setting("recipe")
    name = run.path.resolve().name
    return f"{recipe} ({name})" if isinstance(recipe, str) and recipe else name


def _verdict(page: PageContext, own: FamilyPart, family: str) -> Sign:
    """One sentence: what was trained, how far, and how it goes (:data:`memogen.report.verdict.RULES`)."""
    run = page.run
    data, steps, images, seconds = run.setting("data.name"), run.count("step"), run.count("images_seen"), run.last("seconds")
    what = f"{own.name or family or 'A model'}{f' on {data}' if isinstance(data, str) and data else ''}"
    if steps is None:
        return Sign(None, f"{what}: nothing has been trained yet.")
    planned, learned = run.setting("training.steps"), task_folders(run.path)
    if learned:  # the planned steps are those of one task
        far = f"{steps:,} steps over {len(learned)} task{'s' * (len(learned) > 1)}"
    elif isinstance(planned, int):
        far = f"{steps:,} of {planned:,} steps so far" if steps < planned else f"all of its {planned:,} steps"
    else:
        far = f"{steps:,} steps"
    spent = ", ".join([*([f"{images:,} images"] if images is not None else []), *([duration(seconds)] if seconds is not None else [])])
    sign = verdict.judge(verdict.evidence(run, page.model, page.data, own.sign))
    return Sign(sign.alive, f"{what}, trained for {far}{f' ({spent})' if spent else ''}: {sign.words}.")


def _facts(run: Run) -> str:
    """The variant, and the budget of its scores."""
    budget = next((row.budget for row in reversed(run.results) if row.budget), None)
    return ", ".join([*([f"variant {_variant(run)}"] if _variant(run) else []), *([f"budget {budget}"] if budget else [])])


def _tiles(run: Run) -> list[Tile]:
    """The run's two chief scores after its longest training, and the state of its memory, at a glance."""
    own = [line for line in score_lines(_of_the_end(run), _variant(run)) if line.variant in (_variant(run), "this run")]
    best = max(own, key=lambda line: line.steps or 0, default=None)
    tiles = list[Tile]()
    for metric in metrics_of([best])[:2] if best else []:
        head = column(metric)
        tiles.append(Tile(number(best.cells[metric]["value"]), head.title, head.better) if best else Tile("", ""))
    for key, name in (("critic/effective_real", "Real slots in use"), ("critic/one_class", "Queries without gradient")):
        value = run.last(key)
        tiles += [Tile(f"{value:,.0f}" if key != "critic/one_class" else f"{value:.1%}", name)] if value is not None else []
    return tiles


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds, or seconds."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole // 60 % 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def _settings(run: Run) -> Section:
    command = next((row.command for row in reversed(run.results) if row.command), None)
    if not run.config and command is None:
        return Section("Settings", (Text("The run has no readable config.yaml."),))
    listed = Code(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True), "config.yaml, complete and re-runnable")
    command_parts: list[Part] = [Text("The command that made the newest scores:"), Code(str(command))] if command else []
    return Section("Settings", (*command_parts, *([listed] if run.config else [])))


def _next_steps(page: PageContext, own: FamilyPart) -> Section:
    folder = page.folder
    config = sections.word(page.run.path / "config.yaml")
    lines = (
        *([("train on, or repeat", f"memogen train {config} --out {folder}")] if page.run.config else []),
        ("draw samples", f"memogen sample {folder} --num 64 --out samples.png"),
        ("score against held-out data", f"memogen evaluate {folder} --data {page.source}"),
        *own.commands,
        ("write this page again", f"memogen report {folder}"),
    )
    load = f"import memogen\nmodel = memogen.from_pretrained({str(page.run.path / pretrained.RUN_MODEL)!r})"
    draw = "images = model.sample(64, seed=0)  # image i depends on the seed and i alone"
    commands = Code("\n".join(f"# {what}\n{line}" for what, line in lines))
    return Section("How to go on", (commands, Text("In Python:"), Code(f"{load}\n{draw}")))
