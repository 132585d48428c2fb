"""The page of a run: one HTML file with everything in it, built from the run folder, for a run that is finished or half way."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from memogen import pretrained
from memogen.metrics.imputation import Reconstructs
from memogen.metrics.life_signs import LifeSign, knowing
from memogen.metrics.rows import ResultRow
from memogen.metrics.slots import SlotNames, name_slots, placed
from memogen.models import MemoryGAN, ReplayGAN
from memogen.types import GenerativeModel, ImageData, InputError

from .attention import ShowsSlots
from .attention_section import attention_section, reconstruction_section
from .extension_section import extension_section
from .history import Run, is_number, read_run, task_folders
from .html import Html, code_block, details, element, escape, page, paragraph, section, write_page
from .life_signs import life_section
from .scores import metrics_of, number, score_lines, score_table, title
from .sections import curve_section, memory_section, neighbour_section, sample_section
from .task_section import task_section
from .tasks import COSTS


def write_report(run: Path, *, data: ImageData | None = None, held_out: ImageData | None = None) -> Path:
    """Write ``run``/report.html and return its path; ``data`` are the training images, for the nearest ones and a posterior, ``held_out`` others.

    What is missing or cannot be drawn leaves a sentence. Raises InputError when ``run`` is no run folder.
    """
    found = read_run(run)
    model, reason = open_model(run / "model")
    inside = model if isinstance(model, MemoryGAN) else None
    names, of_slots = _asked_with(inside, data, held_out)
    reason_inside = f"A {type(model).__name__} has no such memory." if model is not None else reason
    parts = [
        *_head(found),
        sample_section(found, model, reason),
        extension_section(found) or section("Scores", score_table(_of_the_end(found), _variant(found))),
        curve_section(found),
        task_section(found, held_out),
        life_section(found, of_slots),
        reconstruction_section(model, held_out),
        attention_section(model, held_out)
        if isinstance(model, ShowsSlots)
        else memory_section(found, inside, reason_inside, data, names)
        if inside or not (isinstance(model, ReplayGAN) or task_folders(run))
        else Html(""),
        neighbour_section(model, reason, data, held_out),
        _settings(found),
        _next_steps(found, model),
    ]
    return write_page(run / "report.html", page(_title(found), *parts))


def open_model(folder: Path) -> tuple[GenerativeModel | None, str]:
    """The saved model, or why there is none."""
    if not folder.is_dir():
        return None, "The run has no saved model yet; it is written when training ends or is stopped."
    try:
        model = pretrained.from_pretrained(folder)
    except (InputError, OSError, RuntimeError) as error:
        return None, f"The saved model cannot be read: {error}"
    return (model, "") if isinstance(model, GenerativeModel) else (None, f"A {type(model).__name__} draws no images.")


def _asked_with(model: MemoryGAN | None, data: ImageData | None, held_out: ImageData | None) -> tuple[SlotNames | None, LifeSign | None]:
    """Names of the memory's slots, and whether they know classes, as far as labelled images are there to ask with."""
    if model is None or model.memory is None or data is None or data.label is None:
        return None, None
    try:
        known = placed(model, data)
        return name_slots(known, model.memory.num_slots), knowing(known, placed(model, held_out)) if held_out is not None else None
    except InputError:  # a memory that holds nothing yet, or images of another shape
        return None, None


def _of_the_end(run: Run) -> list[ResultRow]:
    """Rows for the table of scores; the section on tasks shows those of single tasks, and the cost. What two metrics agree on stands there once."""
    rows = [row for row in run.results if not is_number(row.task) and row.metric not in COSTS]
    accuracies = {round(row.value, 6) for row in rows if row.metric == "accuracy" and is_number(row.value)}
    return [row for row in rows if row.metric != "average_accuracy" or row.value is None or round(row.value, 6) not in accuracies]


def _variant(run: Run) -> str:
    return str(run.setting("variant") or "")


def _title(run: Run) -> str:
    recipe = run.setting("recipe")
    name = run.path.resolve().name
    return f"{recipe} ({name})" if isinstance(recipe, str) and recipe else name


def _head(run: Run) -> list[Html]:
    done, images, seconds = run.count("step"), run.count("images_seen"), run.last("seconds")
    planned = None if task_folders(run.path) else run.setting("training.steps")  # of a stream, those of one task
    facts = [f"variant {_variant(run)}"] if _variant(run) else []
    budget = next((row.budget for row in reversed(run.results) if row.budget), None)
    facts += [f"budget {budget}"] if budget else []
    if done is not None:
        facts += [f"step {done:,} of {planned:,}" if isinstance(planned, int) else f"step {done:,}"]
    facts += [f"{images:,} images seen"] if images is not None else []
    facts += [duration(seconds)] if seconds is not None else []
    halfway = isinstance(planned, int) and isinstance(done, int) and done < planned
    notes = [paragraph("This run is not finished: the page shows what there is so far.", "soft")] if halfway else []
    return [element("h1", escape(_title(run))), paragraph(", ".join(facts) or "Nothing has been trained yet.", "soft"), *notes, _tiles(run)]


def _tiles(run: Run) -> Html:
    """The run's two chief scores after its longest training, and the state of its memory, at a glance."""
    own = [line for line in score_lines(_of_the_end(run), _variant(run)) if line.variant in (_variant(run), "this run")]
    best = max(own, key=lambda line: line.steps or 0, default=None)
    shown = metrics_of([best])[:2] if best else []
    facts = [(number(best.cells[metric]["value"]), title(metric)) for metric in shown] if best else []
    for key, name in (("critic/effective_real", "Real slots in use"), ("critic/one_class", "Queries without gradient")):
        value = run.last(key)
        facts += [(f"{value:,.0f}" if key != "critic/one_class" else f"{value:.1%}", name)] if value is not None else []
    tiles = [element("div", element("b", escape(value)), element("span", escape(name)), style="tile") for value, name in facts]
    return element("div", *tiles, style="tiles") if tiles else Html("")


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600} h {whole // 60 % 60} min" if whole >= 3600 else f"{whole // 60} min {whole % 60} s"


def _settings(run: Run) -> Html:
    command = next((row.command for row in reversed(run.results) if row.command), None)
    if not run.config and command is None:
        return section("Settings", paragraph("The run has no readable config.yaml."))
    text = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    listed = [details("config.yaml, complete and re-runnable", code_block(text))] if run.config else []
    told = [paragraph("The command that made the newest scores:"), code_block(str(command))] if command else []
    return section("Settings", *told, *listed)


def _of_family(model: GenerativeModel | None, folder: str, source: str) -> list[tuple[str, str]]:
    """What can be done with models of this kind."""
    if isinstance(model, ReplayGAN):
        known = ("draw one class", f"memogen sample {folder} --label {model.config.name(model.known[-1]) if model.known else 0}")
        return [known, ("add a category, from its images alone", f"memogen extend {folder} --data NEW_IMAGES --label NAME")]
    if isinstance(model, Reconstructs):
        fill = f"memogen impute {folder} {source} --mask half --out imputed.png"
        return [("fill in missing pixels", fill), ("look into the memory", f"memogen memory usage {folder}")]
    walk = f"memogen interpolate {folder} --out walk.gif"
    return [("walk through the latent space", walk), ("look into the memory", f"memogen memory usage {folder}")]


def _next_steps(run: Run, model: GenerativeModel | None) -> Html:
    folder = shlex.quote(str(run.path))
    data = run.setting("data.name")
    source = shlex.quote(str(data)) if isinstance(data, str) and data else "DATA"
    again = [("train on, or repeat", f"memogen train {shlex.quote(str(run.path / 'config.yaml'))} --out {folder}")] if run.config else []
    lines: Sequence[tuple[str, str]] = (
        *again,
        ("draw samples", f"memogen sample {folder} --num 64 --out samples.png"),
        ("score against held-out data", f"memogen evaluate {folder} --data {source}"),
        *_of_family(model, folder, source),
        ("write this page again", f"memogen report {folder}"),
    )
    text = "\n".join(f"# {what}\n{line}" for what, line in lines)
    load = f"import memogen\nmodel = memogen.from_pretrained({str(run.path / 'model')!r})"
    draw = "images = model.sample(64, seed=0)  # image i depends on the seed and i alone"
    return section("How to go on", code_block(text), paragraph("In Python:"), code_block(f"{load}\n{draw}"))
