"""Pages, each one HTML file: the page of a run, finished or not, and the page of tables of results.

The sections of a run's page and their order are decided here; what a family shows is in :data:`SECTIONS`.
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

SECTIONS: dict[str, FamilySections] = {
    "memory_gan": memory_gan.sections,
    "mem_vae": mem_vae.sections,
    "replay_gan": replay_gan.sections,
}
"""What each family shows, by its name in ``config.json`` of a saved model; see :class:`FamilySections`."""


def write_report(
    run: Path, *, data: ImageData | None = None, held_out: ImageData | None = None, families: Mapping[str, FamilySections] = SECTIONS
) -> Path:
    """Write ``run``/report.html and return its path; ``data`` are the training images, ``held_out`` others.

    A sentence stands in the place of whatever is missing or cannot be drawn. A family that is not in ``families`` has samples, scores and curves.
    Raises InputError if ``run`` is no run folder.
    """
    found = read_run(run)
    page = PageContext(found, *open_model(run / pretrained.RUN_MODEL), data, held_out)
    recipe, variant = found.setting("recipe"), str(found.setting("variant") or "")
    try:
        family = pretrained.read_document(run / pretrained.RUN_MODEL).family
    except InputError:
        family = str(recipe or "").partition("/")[0]
    own = families[family](page) if family in families else FamilyPart()
    rows = _final(found)
    shown = [
        sections.samples(page),
        *own.sections,
        sections.neighbours(page),
        sections.curves(found),
        own.scores or Section("Scores", score_table(rows, variant)),
        tasks.section(found),
    ]
    said = _verdict(page, own, family)
    verdict.keep(run, said)
    name = run.resolve().name
    budget = next((row.budget for row in reversed(found.results) if row.budget), None)
    text = render(
        "run.html",
        title=f"{recipe} ({name})" if isinstance(recipe, str) and recipe else name,
        verdict=said,
        facts=", ".join([*([f"variant {variant}"] if variant else []), *([f"budget {budget}"] if budget else [])]),
        tiles=_tiles(found, rows, variant),
        sections=[*tables_last([section for section in shown if section]), _next_steps(page, own), _settings(found)],
    )
    return write_page(run / "report.html", text)


def write_results(tables: Sequence[Results], path: Path) -> Path:
    """Write the page of tables of results and return its path."""
    return write_page(path, results_page(tables))


def results_page(tables: Sequence[Results]) -> str:
    """All tables, each with its notes and the commands of its lines."""
    shown = []
    for part in (part for table in tables for part in table.parts):
        table = Table(part.columns, [part.row(line) for line in part.lines], style="stack")
        commands = [Code("\n".join(part.commands))] if part.commands else []
        shown.append(Section(part.heading, (table, *(Text(note, soft=True) for note in part.notes), *commands)))
    return render("results.html", title="Results of memogen", legend=LEGEND, sections=shown)


def open_model(folder: Path) -> tuple[GenerativeModel | None, str]:
    """The saved model, or None and the reason."""
    if not folder.is_dir():
        return None, "The run has no saved model yet; it is written when training ends or is stopped."
    try:
        model = pretrained.from_pretrained(folder)
    except (InputError, OSError, RuntimeError) as error:
        return None, f"The saved model cannot be read: {error}"
    return (model, "") if isinstance(model, GenerativeModel) else (None, f"A {type(model).__name__} draws no images.")


def _final(run: Run) -> list[ResultRow]:
    """The rows for the table of scores: without those of single tasks and the costs, which the section on tasks shows, and without an average
    accuracy that equals the accuracy.
    """
    rows = [row for row in run.results if not is_number(row.task) and row.metric not in tasks.COSTS]
    accuracies = {round(row.value, 6) for row in rows if row.metric == "accuracy" and is_number(row.value)}
    return [row for row in rows if row.metric != "average_accuracy" or row.value is None or round(row.value, 6) not in accuracies]


def _verdict(page: PageContext, own: FamilyPart, family: str) -> Sign:
    """One sentence: what was trained, how far, and how it goes (:func:`memogen.report.verdict.judge`)."""
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


def _tiles(run: Run, rows: Sequence[ResultRow], variant: str) -> list[Tile]:
    """The run's first two scores after its longest training, and the state of its memory."""
    own = [line for line in score_lines(rows, variant) if line.variant in (variant, "this run")]
    tiles = list[Tile]()
    if own:
        best = max(own, key=lambda line: line.steps or 0)
        heads = [(metric, column(metric)) for metric in metrics_of([best])[:2]]
        tiles += [Tile(number(best.cells[metric]["value"]), head.title, head.better) for metric, head in heads]
    for key, name, form in (("critic/effective_real", "Real slots in use", ",.0f"), ("critic/one_class", "Queries without gradient", ".1%")):
        value = run.last(key)
        tiles += [Tile(format(value, form), name)] if value is not None else []
    return tiles


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds, or seconds."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole // 60 % 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def _settings(run: Run) -> Section:
    command = next((row.command for row in reversed(run.results) if row.command), None)
    parts = list[Part]()
    if command:
        parts += [Text("The command that made the newest scores:"), Code(str(command))]
    if run.config:
        parts.append(Code(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True), "config.yaml, complete and re-runnable"))
    return Section("Settings", tuple(parts) or (Text("The run has no readable config.yaml."),))


def _next_steps(page: PageContext, own: FamilyPart) -> Section:
    folder = page.folder
    lines = (
        *([("train on, or repeat", f"memogen train {sections.word(page.run.path / 'config.yaml')} --out {folder}")] if page.run.config else []),
        ("draw samples", f"memogen sample {folder} --num 64 --out samples.png"),
        ("score against held-out data", f"memogen evaluate {folder} --data {page.source}"),
        *own.commands,
        ("write this page again", f"memogen report {folder}"),
    )
    load = f"import memogen\nmodel = memogen.from_pretrained({str(page.run.path / pretrained.RUN_MODEL)!r})"
    draw = "images = model.sample(64, seed=0)  # image i depends on the seed and i alone"
    commands = Code("\n".join(f"# {what}\n{line}" for what, line in lines))
    return Section("How to go on", (commands, Text("In Python:"), Code(f"{load}\n{draw}")))
