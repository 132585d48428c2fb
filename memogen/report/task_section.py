"""The section of the page about a stream of tasks."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from memogen.metrics.extractors import extractor
from memogen.training.tasks import task_folders as finished_folders
from memogen.types import ImageData, InputError

from .embedding import after_tasks, class_groups, embedding, first_learned
from .history import Run, task_folders
from .html import Html, element, escape, paragraph, section, table
from .sections import picture, themed
from .tasks import TITLES, class_matrix, cost_rows, evolution_sheet, matrix_chart
from .theme import CLEAR, Theme

POINTS = 150  # images of a group in the embedding
READINGS = {
    "accuracy": "Of a class's samples, the share that the classifier takes for it.",
    "fid": "From a class's samples to its test images; lower is better.",
    "class_share": "Of all samples, the share that the classifier takes for a class.",
}


def task_section(run: Run, held_out: ImageData | None = None) -> Html:
    """What was kept of each class, how the first one's images changed and where they lie, and the cost; nothing for a run without tasks.

    ``held_out`` are real images, for the embedding.
    """
    if not task_folders(run.path):
        return Html("")
    charts = [_matrix(run, metric) for metric in TITLES]
    told = paragraph("Rows: after each task. Columns: classes in the order in which they were learned.", "soft")
    who = "an image" if str(run.setting("recipe")).startswith("memory_gan/") else "the first class"
    course = picture(
        lambda: evolution_sheet(run, theme=CLEAR),
        f"Images over all tasks: {who}",
        f"{who.capitalize()}, always from the same latents: before each task, after 1, 2, 4, ... of its steps, and at its end.",
        scrolls=True,
    )
    head, *lines = cost_rows([run])
    cost = table(head[2:], [[escape(cell) for cell in line[2:]] for line in lines])  # the page's head names run and variant
    title = element("h3", escape(f"What becomes of {who}"))
    return section("Tasks", element("div", *charts, style="charts"), told, title, course, _embedding(run, held_out), cost)


def _embedding(run: Run, held_out: ImageData | None) -> Html:
    """The first class after 1, 2, 4, ... tasks and the last one, beside real images of it; nothing for a model that is told no classes."""
    name, last = run.setting("scoring.extractor"), len(finished_folders(run.path))
    if held_out is None or not name or not last or str(run.setting("recipe")).startswith("memory_gan/"):
        return Html("")

    def draw() -> Image.Image:
        models = after_tasks(run.path, sorted({*(2**power for power in range(last.bit_length())), last}))
        first = next(iter(models.values()))
        label = first_learned(first)
        groups = class_groups(models, extractor(name), held_out, label, POINTS)
        return embedding(groups, of=f"a classifier's features, class {first.config.name(label)}", theme=CLEAR)

    return picture(
        draw,
        "Real and generated images of the first class, by t-SNE",
        f"At most {POINTS} real test images of the first class, and {POINTS} drawn after each of these tasks.",
        chart=True,
    )


def _matrix(run: Run, metric: str) -> Html:
    try:
        matrix = class_matrix(run, metric)
    except InputError:
        return Html("")
    draw: Callable[[Theme], Image.Image] = lambda theme: matrix_chart(matrix, theme=theme)  # noqa: E731
    return themed(draw, f"{TITLES[metric]} after each task", READINGS[metric])
