"""Runs that learn tasks one after another: scores by class, images of fixed latents, samples and costs; and their section of the page.

After Wu et al. 2018: Figs. 5 (images of the first tasks after each), 6 (curves by category) and 7 (evolution).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memogen.metrics.accuracy import class_counts
from memogen.metrics.rows import ResultRow
from memogen.metrics.samples import drawn_batches
from memogen.pretrained import RUN_MODEL, from_pretrained
from memogen.training.grid import panels, read_panel
from memogen.types import ClassModel, GenerativeModel, InputError

from . import charts, grid
from .charts import words_of
from .grid import CLEAR, LIGHT, Theme
from .history import Run, is_number, task_folders
from .parts import Figure, Group, Heading, Part, Section, Table, Text
from .sections import picture, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDS = 24  # rows of images; if there are more, only the last of each task is shown
READINGS = {
    "accuracy": "Of a class's samples, the share that the classifier takes for it. Higher is better.",
    "fid": "From a class's samples to its test images. Lower is better.",
    "class_share": "Of all samples, the share that the classifier takes for a class.",
}
TITLES = {"accuracy": "Accuracy by class", "fid": "Fréchet distance by class", "class_share": "Share of samples by class"}
COSTS = ("training_seconds", "images", "generated_images", "kept_megabytes")


@dataclass(frozen=True)
class Matrix:
    """``values[i, j]``: a score of class ``labels[j]`` after task i, nan if it had not been learned; ``names``: those of the classes."""

    metric: str
    values: Float[np.ndarray, "tasks classes"]
    labels: tuple[int, ...]
    names: tuple[str, ...]


def class_matrix(run: Run, metric: str | None = None) -> Matrix:
    """The newest rows of a run by task and class. Raises InputError if there are none.

    Without a ``metric``, the first of :data:`TITLES` that the run has.
    """
    scored = [row for row in run.results if is_number(row.task) and is_number(row.class_)]
    there = {row.metric for row in scored}
    first = next((name for name in TITLES if name in there), None)
    metric = metric or first or "accuracy"
    found = {
        (int(row.task), int(row.class_)): float(row.value)
        for row in scored
        if row.metric == metric and is_number(row.task) and is_number(row.class_) and is_number(row.value)
    }
    if not found:
        if first is None:
            raise InputError(f"{run.path}: holds no scores by task and class: name a run of a sequence of tasks that was scored")
        if "class_share" in there:
            why = "its model is told no class to draw"
        elif metric == "class_share":
            why = "its model is told which class to draw"
        elif metric == "fid":
            why = "a class has too few samples or test images for its extractor's features"
        else:
            why = "its extractor tells no classes apart"
        raise InputError(f"{run.path}: holds no {metric} by task and class, as {why}: see --metric {first}")
    labels = tuple(dict.fromkeys(label for _, label in sorted(found)))
    values = np.full((max(task for task, _ in found) + 1, len(labels)), np.nan)
    for (task, label), value in found.items():
        values[task, labels.index(label)] = value
    names = dict(enumerate(run.setting("model.classes") or [])) | {row.class_: row["class_name"] for row in run.results if row.get("class_name")}
    return Matrix(metric, values, labels, tuple(str(names.get(label, label)) for label in labels))


def matrix_rows(matrix: Matrix) -> list[list[str]]:
    """The matrix as a table of texts; the last column is the mean over the classes learned so far."""
    form = ".2f" if matrix.metric == "fid" else ".3f"
    rows = [[*row, np.mean(row[~np.isnan(row)]) if not np.isnan(row).all() else np.nan] for row in matrix.values]
    texts = [["" if np.isnan(value) else format(value, form) for value in row] for row in rows]
    lines = [[str(task), *row] for task, row in enumerate(texts, start=1)]
    return [["after task", *matrix.names, "mean"], *lines]


def matrix_chart(matrix: Matrix, *, theme: Theme = LIGHT) -> Image.Image:
    """The matrix as a picture: a row for each task, a column for each class in the order of learning."""
    long = max(map(len, matrix.names)) > 2
    names: dict[str, Any] = {"rotation": 40, "ha": "right", "fontsize": 6} if long else {}

    def draw(axes: Axes) -> None:
        bounds = (0.0, 1.0) if matrix.metric == "accuracy" else (0.0, float(np.nanmax(matrix.values)))
        size = max(5.5, min(9.0, 50 / len(matrix.labels)))
        axes.imshow(matrix.values, cmap="Reds" if matrix.metric == "fid" else "Blues", vmin=bounds[0], vmax=bounds[1], aspect="auto")
        for (task, column), value in np.ndenumerate(matrix.values):
            if not np.isnan(value):
                dark = value > 0.6 * bounds[1]
                axes.text(
                    column, task, f"{value:.2f}".lstrip("0") or "0", ha="center", va="center", fontsize=size, color="white" if dark else "black"
                )
        axes.set_xticks(range(len(matrix.names)), [words_of(name) for name in matrix.names], **names)
        axes.set_yticks(range(len(matrix.values)), [str(task + 1) for task in range(len(matrix.values))])
        axes.grid(False)

    return charts.drawn(draw, title=TITLES.get(matrix.metric, matrix.metric), x="" if long else "class", y="after task", theme=theme)


def evolution_sheet(run: Run, label: int | None = None, *, ends: bool = False, named: bool = False, theme: Theme = LIGHT) -> Image.Image:
    """Images of one class from fixed latents, a row for each step that was kept, beginning before the first step of each task.

    Without ``label``, the first class that was learned. With ``ends``, only the last row of each task; with ``named``, the title has the variant of
    the run. Raises InputError if no images were kept.
    """
    if not task_folders(run.path):
        raise InputError(f"{run.path}: learned no sequence of tasks, so no images were kept on the way: name a run that did")
    height, width = _size(run)
    rows, captions = list[Tensor](), list[str]()
    for number, folder in enumerate(task_folders(run.path)):
        files = panels(folder)
        for step, file in files[-1:] if ends else files:
            labels, images = read_panel(file, height, width)
            label = label if label is not None else labels[0] if labels else 0
            if label in labels or not labels:
                rows.append(torch.from_numpy(np.ascontiguousarray(images[labels.index(label) if labels else 0])))
                captions.append(f"task {number + 1}" if ends else f"task {number + 1}, step {step:,}")
    if not rows:
        raise InputError(f"{run.path}: no images of class {_named(run, label)} were kept while it was trained: name another class")
    who = f"Class {_named(run, label)}, always from the same latents" if labels else "Always from the same latents"
    variant = str(run.setting("variant") or run.path.name).replace("_", " ")
    return grid.sheet(rows, captions, title=f"{variant.capitalize()}. {who}" if named else who, theme=theme)


def _named(run: Run, label: int | None) -> str:
    """A class's number, and its name if that differs."""
    classes = run.setting("model.classes") or []
    name = str(classes[label]) if label is not None and label < len(classes) else str(label)
    return name if name == str(label) else f"{label} ({name})"


def samples_sheet(runs: Sequence[Run], *, num: int = 20, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """A row of ``num`` samples of each run after its last task; of a model with classes, in the order of its classes.

    Raises InputError for a run without tasks, and if the images have different shapes.
    """
    rows, captions = [], []
    for run in runs:
        if not task_folders(run.path):
            raise InputError(f"{run.path}: learned no sequence of tasks: name a run that did")
        model = from_pretrained(run.path / RUN_MODEL)
        assert isinstance(model, GenerativeModel), "a model that learns tasks draws images"
        batches = list[Tensor]()
        if isinstance(model, ClassModel):
            for label, count in zip(model.known, class_counts(num, len(model.known)), strict=True):
                batches += drawn_batches(model, count, seed=seed, label=label)
        else:
            batches += drawn_batches(model, num, seed=seed)
        rows.append(torch.cat(batches).cpu())
        captions.append(f"{str(run.setting('recipe')).partition('/')[0]} {run.setting('variant')}".replace("_", " "))
    if len({row.shape[1:] for row in rows}) > 1:
        raise InputError("samples: the runs learned images of different shapes: name runs of one data set")
    return grid.sheet(rows, captions, theme=theme)


def cost_rows(runs: Sequence[Run]) -> list[list[str]]:
    """A line for each run: hours of training, real images, generated images, and the megabytes kept beside the model."""
    lines = [["run", "variant", "hours", "real images", "generated images", "kept MB"]]
    for run in runs:
        seconds, images, generated, kept = (_newest(run, name) for name in COSTS)
        hours = None if seconds is None else seconds / 3600
        forms = (".2f" if hours is None or hours >= 0.1 else ".2g", ",.0f", ",.0f", ",.1f")
        texts = ["-" if number is None else format(number, form) for number, form in zip((hours, images, generated, kept), forms, strict=True)]
        variant = run.setting("variant") or next((row.variant for row in run.results if row.variant), "")
        lines.append([run.path.name, str(variant), *texts])
    return lines


def _newest(run: Run, name: str) -> float | None:
    """A number at the end of the run: a field of its rows, else a row of its own."""
    own: list[ResultRow] = [row for row in run.results if row.variant != "real"]
    by_metric = [row.value for row in own if row.metric == name and is_number(row.value)]
    by_row = [row[name] for row in own if is_number(row.get(name))]
    return max(by_row) if by_row else by_metric[-1] if by_metric else None


def _size(run: Run) -> tuple[int, int]:
    shape = run.setting("model.image_shape")
    if not isinstance(shape, list) or len(shape) != 3:
        raise InputError(f"{run.path}: its config.yaml names no model.image_shape: name a run folder")
    return int(shape[1]), int(shape[2])


def section(run: Run) -> Section | None:
    """The scores by class, the images of the first class, and the costs; None for a run without tasks or without any of these."""
    if not task_folders(run.path):
        return None
    charted = list[Figure]()
    for metric in TITLES:
        with contextlib.suppress(InputError):
            charted += _matrix_figure(class_matrix(run, metric))
    parts: list[Part] = []
    if charted:
        parts += [Group(charted), Text("Rows: after each task. Columns: classes in the order in which they were learned.", soft=True)]
    found = [file for folder in task_folders(run.path) for _, file in panels(folder)]
    if found:
        try:
            labelled = bool(read_panel(found[0], *_size(run))[0])
        except (InputError, OSError, ValueError):
            labelled = False
        who, ends = "the first class" if labelled else "an image", len(found) > ENDS
        when = "at the end of each task" if ends else "before each task, after 1, 2, 4, ... of its steps, and at its end"
        told = f"{who.capitalize()}, always from the same latents: {when}."
        sheet = picture(lambda: evolution_sheet(run, ends=ends, theme=CLEAR), f"Images over all tasks: {who}", told, scrolls=True)
        parts += [Heading(f"What becomes of {who}"), sheet]
    head, cost = (line[2:] for line in cost_rows([run]))  # the head of the page names run and variant
    if set(cost) != {"-"}:
        parts += [Heading("What it took"), Table([title.capitalize().replace("mb", "MB") for title in head], [cost])]
    return Section("Tasks", tuple(parts)) if parts else None


def _matrix_figure(matrix: Matrix) -> tuple[Figure, ...]:
    return themed(lambda theme: matrix_chart(matrix, theme=theme), f"{TITLES[matrix.metric]} after each task", READINGS[matrix.metric])
