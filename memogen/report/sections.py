"""The sections that the pages of all families have: samples, curves of the training, nearest training images; and the parts that a family adds.

If a picture cannot be drawn, the reason stands in its place.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from memogen.metrics.copies import copy_check
from memogen.metrics.samples import part_of
from memogen.types import GenerativeModel, ImageData, InputError

from . import charts, figures
from .figures import draw_samples, with_queries
from .grid import CLEAR, DARK, LIGHT, Theme
from .history import RANK, Run, series
from .parts import Figure, Group, Part, Section, Sign, Text, file_address, png_address

STRIP = 6  # sample grids shown of a run's course
COMPARED = 2000  # training images searched for nearest ones, the same ones always: enough to see copying, within seconds on a CPU
CHECKED = 1000  # samples, and held-out images, whose distances to these are drawn


@dataclass(frozen=True)
class PageContext:
    """What a page is made of: the ``run``, its ``model`` or the ``reason`` why there is none, training ``data`` and ``held_out`` images."""

    run: Run
    model: GenerativeModel | None
    reason: str = ""
    data: ImageData | None = None
    held_out: ImageData | None = None

    @property
    def folder(self) -> str:
        """The run's folder as a word of a command line."""
        return word(self.run.path)

    @property
    def source(self) -> str:
        """The data's name as a word of a command line."""
        name = self.run.setting("data.name")
        return word(name) if isinstance(name, str) and name else "DATA"


@dataclass(frozen=True)
class FamilyPart:
    """What a family adds to the page of a run.

    ``name`` is what the page calls a model of the family. ``sections`` stand between the samples and the nearest training images. ``scores`` replaces
    the table of scores, after the curves of the training. ``sign`` says whether the run goes well, one of the inputs of the sentence at the top; None
    if the family cannot say. ``commands``, (what it does, command line), are listed at the end.
    """

    name: str = ""
    sections: tuple[Section, ...] = ()
    scores: Section | None = None
    sign: Sign | None = None
    commands: tuple[tuple[str, str], ...] = ()


class FamilySections(Protocol):
    """The function by which a family adds to the pages of its runs.

    It is called for every run of the family: finished ones, unfinished ones without a model, and ones whose data are not on this machine. Where
    something is missing it raises nothing; it leaves the section out, or puts a sentence in its place. :data:`memogen.report.page.SECTIONS` maps the
    family's name, as in ``config.json`` of a saved model, to this function. Another family adds an entry, or gives ``write_report`` a mapping::

        def sections(page: PageContext) -> FamilyPart:
            return FamilyPart("my family", (Section("Memory", (Text("..."),)),))

        SECTIONS["my_family"] = sections
    """

    def __call__(self, page: PageContext) -> FamilyPart: ...


def word(text: object) -> str:
    """Any text as one word of a command line."""
    return shlex.quote(str(text))


def themed(draw: Callable[[Theme], Image.Image | None], alt: str, caption: str) -> tuple[Figure, ...]:
    """A chart drawn twice, for the light and the dark page; nothing where there is nothing to draw."""
    light, dark = draw(LIGHT), draw(DARK)
    if light is None or dark is None:
        return ()
    size = (charts.WIDTH, round(charts.WIDTH * light.height / light.width))
    return (Figure(png_address(light), alt, caption, dark=png_address(dark), size=size),)


def picture(draw: Callable[[], Image.Image], alt: str, caption: str, *, scrolls: bool = False, chart: bool = False) -> Figure | Text:
    """A picture on a transparent ground; the reason where it cannot be drawn. One with words on it ``scrolls`` on a phone and does not shrink.

    A ``chart`` scrolls too, and is shown as fine as the other charts.
    """
    try:
        drawn = draw()
    except (InputError, ValueError, RuntimeError, OSError) as error:
        return not_drawn(error)
    scale = charts.WIDTH / (charts.SIZE[0] * charts.DPI) if chart else 1
    style = "wide" if chart else "pixels wide" if scrolls else "pixels"
    return Figure(png_address(drawn), alt, caption, size=(round(scale * drawn.width), round(scale * drawn.height)), style=style)


def not_drawn(error: Exception) -> Text:
    """The reason in the place of a picture."""
    return Text(f"Not drawn: {error}", soft=True)


def samples(page: PageContext) -> Section:
    """The model's samples and how they came about."""
    model, kept = page.model, page.run.samples
    if model is not None:
        now: tuple[Part, ...] = (
            picture(lambda: figures.sample_grid(model, 64, theme=CLEAR), "A grid of 64 samples", "64 samples, seed 0, none picked."),
        )
    elif kept:
        step, file = kept[-1]
        now = Text(page.reason, soft=True), _kept(file, f"A grid of samples at step {step}", f"Samples at step {step:,}.")
    else:
        now = (Text(f"{page.reason} There are no sample grids either."),)
    if len(kept) < 2:
        return Section("Samples", now)
    places = sorted({round(i * (len(kept) - 1) / (STRIP - 1)) for i in range(STRIP)})
    shown = [_kept(file, f"Samples at step {step}", f"step {step:,}") for step, file in (kept[place] for place in places)]
    return Section("Samples", (*now, Text("Over training, the same seed each time:", soft=True), Group(shown, "strip")))


def _kept(file: Path, alt: str, caption: str) -> Figure | Text:
    """A PNG of the run; a sentence where it is damaged."""
    try:
        with Image.open(file) as found:
            found.verify()
    except (OSError, SyntaxError, ValueError):
        return Text(f"{file.name} cannot be read.", soft=True)
    return Figure(file_address(file), alt, caption, style="pixels")


def curves(run: Run) -> Section:
    """Charts of metrics.jsonl; what was measured at a single step is no curve."""
    names = dict.fromkeys(key for row in run.metrics for key in row if key.startswith("eval/") and not _is_no_curve(key))
    speed = themed(lambda theme: charts.speed_chart(run.metrics, theme=theme), "Images per second over training", "Images per second of wall time.")
    drawn = [
        *(chart for panel in charts.PANELS for chart in curve(run, panel)),
        *speed,
        *(chart for name in names for chart in _evaluation(run, name)),
    ]
    if drawn:
        return Section("Training", (Group(drawn),))
    return Section("Training", (Text(f"metrics.jsonl holds {'too few metrics for a curve' if run.metrics else 'no metrics yet'}."),))


def curve(run: Run, panel: charts.Panel) -> tuple[Figure, ...]:
    """A chart over training under what to see in it; nothing where there are fewer than two points."""
    return themed(lambda theme: charts.panel(run.metrics, panel, points=2, theme=theme), f"{panel.title} over training", panel.reading)


def _is_no_curve(key: str) -> bool:
    """A rank of the prior or a bound, which have their own charts, or the number of images looked at, which stays."""
    return f"/{RANK}" in key or key.endswith("/images") or any(key == known for panel in charts.PANELS for _, known in panel.keys)


def _evaluation(run: Run, key: str) -> tuple[Figure, ...]:
    """An evaluator's metric; a likelihood is Fig. 3a of Kim et al. 2018."""
    steps, values = series(run.metrics, key)
    name = key.removeprefix("eval/").replace("_", " ").replace("/", ": ")
    if len(steps) < 2:
        return ()
    if key.endswith("log_likelihood"):
        caption = "Biased log-likelihood of held-out images: a density of queries on the sphere, not of pixels. Higher is better."
        return themed(lambda theme: charts.likelihood(steps, values, theme=theme), "Log-likelihood of held-out images over training", caption)
    return themed(lambda theme: charts.line_chart(name, [("", steps, values)], theme=theme), f"{name} over training", "Scored while training.")


def neighbours(page: PageContext) -> Section | None:
    """Is the model copying? Each sample beside its nearest training images, and how near samples and held-out images come to them.

    A sentence where no data are at hand; nothing where there is no model, or only held-out images.
    """
    model, data = page.model, page.data
    if model is None or (data is None and page.held_out is not None):
        return None
    name = "Nearest training images"
    if data is None:
        return Section(name, (Text("This page was made without the data. memogen neighbours draws the picture that is missing here."),))
    part = part_of(data, COMPARED)
    among = f"all {len(data):,}" if len(part) == len(data) else f"{len(part):,} of the {len(data):,}"
    by = "the cosine of their queries" if with_queries(model) else "their pixels"
    caption = f"Each sample (red) beside its seven nearest among {among} images of {data.name}, {data.split}, by {by}."
    sheet = picture(lambda: figures.neighbours(model, part, theme=CLEAR), "Samples beside their nearest training images", caption, scrolls=True)
    return Section(name, (Group([sheet, *_copies(model, part, page.held_out)], "pair"),))


def _copies(model: GenerativeModel, training: ImageData, held_out: ImageData | None) -> tuple[Part, ...]:
    """The copy check in pixels; a sentence where the images do not fit each other."""
    if held_out is None:
        return ()
    try:
        found = copy_check(draw_samples(model, CHECKED).cpu(), _first(held_out, CHECKED), training)
    except InputError as error:
        return (not_drawn(error),)
    caption = (
        f"{len(found.samples):,} samples and {len(found.held_out):,} held-out images, each by its distance to the nearest of these training images. "
        f"{found.share(1):.1%} of the samples lie nearer than 99% of the held-out images do; a model that copies has far more than 1%."
    )
    return themed(lambda theme: charts.copies(found, theme=theme), "Distances of samples and held-out images to the training images", caption)


def _first(data: ImageData, num: int) -> ImageData:
    return ImageData(data.image[:num], None, data.classes, data.name, data.split)
