"""The sections of every run's page: samples, training curves, nearest training images; and what a family adds.

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
from .parts import Figure, Group, Part, Section, Sign, Text, png_address

STRIP = 6  # sample grids of earlier steps
COMPARED = 2000  # training images searched for nearest ones, always the same: enough to see copying, within seconds on a CPU
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
        """The run's folder, quoted for a shell."""
        return word(self.run.path)

    @property
    def source(self) -> str:
        """The name of the run's data, quoted for a shell."""
        name = self.run.setting("data.name")
        return word(name) if isinstance(name, str) and name else "DATA"


@dataclass(frozen=True)
class FamilyPart:
    """What a family adds to the page of a run.

    ``name`` is what the page calls a model of the family. ``sections`` stand between the samples and the nearest training images. ``scores`` replaces
    the table of scores, after the training curves. ``sign`` says whether the run goes well, one of the inputs of the sentence at the top; None
    if the family cannot say. ``commands``, (what it does, command line), are listed at the end.
    """

    name: str = ""
    sections: tuple[Section, ...] = ()
    scores: Section | None = None
    sign: Sign | None = None
    commands: tuple[tuple[str, str], ...] = ()


class FamilySections(Protocol):
    """The function by which a family adds to the pages of its runs.

    It is called for every run of the family: finished ones, unfinished ones without a model, and ones whose data are not on this machine. If
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
    """A chart drawn for the light and the dark page; empty if ``draw`` returns None."""
    light, dark = draw(LIGHT), draw(DARK)
    if light is None or dark is None:
        return ()
    size = (charts.WIDTH, round(charts.WIDTH * light.height / light.width))
    return (Figure(png_address(light), alt, caption, dark=png_address(dark), size=size),)


def picture(draw: Callable[[], Image.Image], alt: str, caption: str, *, scrolls: bool = False, chart: bool = False) -> Figure | Text:
    """A picture on a transparent ground, or the reason why it cannot be drawn.

    A picture with words ``scrolls`` on a phone instead of shrinking; a ``chart`` scrolls too, at the resolution of the other charts.
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
    """Samples of the model, and the sample grids saved during training."""
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
    """A PNG of the run, or a sentence if it is damaged."""
    try:
        with Image.open(file) as found:
            found.verify()
    except (OSError, SyntaxError, ValueError):
        return Text(f"{file.name} cannot be read.", soft=True)
    return Figure(png_address(file), alt, caption, style="pixels")


def curves(run: Run) -> Section:
    """Charts of metrics.jsonl; a metric measured at a single step has none."""
    drawn = [chart for panel in charts.PANELS for chart in curve(run, panel)]
    speed = themed(lambda theme: charts.speed_chart(run.metrics, theme=theme), "Images per second over training", "Images per second of wall time.")
    drawn += speed
    charted = {key for panel in charts.PANELS for _, key in panel.keys}
    for key in dict.fromkeys(key for row in run.metrics for key in row if key.startswith("eval/")):
        # Ranks of the prior have a chart of their own, and the number of evaluated images does not change.
        if key not in charted and f"/{RANK}" not in key and not key.endswith("/images"):
            drawn += _evaluation(run, key)
    if drawn:
        return Section("Training", (Group(drawn),))
    return Section("Training", (Text(f"metrics.jsonl holds {'too few metrics for a curve' if run.metrics else 'no metrics yet'}."),))


def curve(run: Run, panel: charts.Panel) -> tuple[Figure, ...]:
    """A chart over training with its caption; empty with fewer than two points."""
    return themed(lambda theme: charts.panel(run.metrics, panel, points=2, theme=theme), f"{panel.title} over training", panel.reading)


def _evaluation(run: Run, key: str) -> tuple[Figure, ...]:
    """The chart of an evaluator's metric; a likelihood is Fig. 3a of Kim et al. 2018."""
    steps, values = series(run.metrics, key)
    name = key.removeprefix("eval/").replace("_", " ").replace("/", ": ")
    if len(steps) < 2:
        return ()
    if key.endswith("log_likelihood"):
        caption = "Biased log-likelihood of held-out images: a density of queries on the sphere, not of pixels. Higher is better."
        return themed(lambda theme: charts.likelihood(steps, values, theme=theme), "Log-likelihood of held-out images over training", caption)
    return themed(lambda theme: charts.line_chart(name, [("", steps, values)], theme=theme), f"{name} over training", "Scored while training.")


def neighbours(page: PageContext) -> Section | None:
    """Does the model copy? Each sample beside its nearest training images, and the distances of samples and held-out images to these.

    A sentence without data; None without a model, or with held-out images only.
    """
    model, data, held_out = page.model, page.data, page.held_out
    if model is None or (data is None and held_out is not None):
        return None
    name = "Nearest training images"
    if data is None:
        return Section(name, (Text("This page was made without the data. memogen neighbours draws the picture that is missing here."),))
    part = part_of(data, COMPARED)
    among = f"all {len(data):,}" if len(part) == len(data) else f"{len(part):,} of the {len(data):,}"
    by = "the cosine of their queries" if with_queries(model) else "their pixels"
    caption = f"Each sample (red) beside its seven nearest among {among} images of {data.name}, {data.split}, by {by}."
    sheet = picture(lambda: figures.neighbours(model, part, theme=CLEAR), "Samples beside their nearest training images", caption, scrolls=True)
    return Section(name, (Group([sheet, *(_copies(model, part, held_out) if held_out is not None else ())], "pair"),))


def _copies(model: GenerativeModel, training: ImageData, held_out: ImageData) -> tuple[Part, ...]:
    """The copy check in pixels, or the reason if the images do not fit each other."""
    asked = ImageData(held_out.image[:CHECKED], None, held_out.classes, held_out.name, held_out.split)
    try:
        found = copy_check(draw_samples(model, CHECKED).cpu(), asked, training)
    except InputError as error:
        return (not_drawn(error),)
    caption = (
        f"{len(found.samples):,} samples and {len(found.held_out):,} held-out images, each by its distance to the nearest of these training images. "
        f"{found.share(1):.1%} of the samples lie nearer than 99% of the held-out images do; a model that copies has far more than 1%."
    )
    return themed(lambda theme: charts.copies(found, theme=theme), "Distances of samples and held-out images to the training images", caption)
