"""The section of the page about a stream of tasks."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from memogen.types import InputError

from .history import Run, task_folders
from .html import Html, element, escape, paragraph, section, table
from .sections import picture, themed
from .tasks import TITLES, class_matrix, cost_rows, evolution_sheet, matrix_chart
from .theme import CLEAR, Theme


def task_section(run: Run) -> Html:
    """What was kept of each class, how the first one's images changed, and the cost; nothing for a run without tasks."""
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
    cost = table(head, [[escape(cell) for cell in line] for line in lines])
    title = element("h3", escape(f"What becomes of {who}"))
    return section("Tasks", element("div", *charts, style="charts"), told, title, course, cost)


def _matrix(run: Run, metric: str) -> Html:
    try:
        matrix = class_matrix(run, metric)
    except InputError:
        return Html("")
    draw: Callable[[Theme], Image.Image] = lambda theme: matrix_chart(matrix, theme=theme)  # noqa: E731
    return themed(draw, f"{TITLES[metric]} after each task", f"{TITLES[metric]}.")
