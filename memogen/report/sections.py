"""The sections of the page that hold pictures. A picture that cannot be drawn leaves its reason in its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from memogen.memory.inspect import Slots, top_slots, usage
from memogen.metrics.copies import copy_check
from memogen.metrics.slots import SlotNames
from memogen.models import MemoryGAN
from memogen.types import GenerativeModel, ImageData, InputError

from . import charts, figures
from .drawing import Model, draw_samples
from .history import RANK, Run, priors_logged, saved_memories, series
from .html import Html, element, escape, figure, file_address, join, paragraph, png_address, section, table
from .scores import number
from .theme import CLEAR, DARK, LIGHT, Theme
from .wall import slot_wall

STRIP = 6  # sample grids shown of a run's course
COMPARED = 10_000  # training images searched for nearest ones: enough to see copying, within a minute on a CPU
CHECKED = 1000  # samples, and held-out images, whose distances to these are drawn
CHART_WIDTH = 330  # CSS pixels of one chart


def themed(draw: Callable[[Theme], Image.Image | None], alt: str, caption: str) -> Html:
    """A chart drawn twice, for the light and the dark page; nothing where there is nothing to draw."""
    light, dark = draw(LIGHT), draw(DARK)
    if light is None or dark is None:
        return Html("")
    size = (CHART_WIDTH, round(CHART_WIDTH * light.height / light.width))
    return figure(png_address(light), alt, caption, dark=png_address(dark), size=size)


def picture(draw: Callable[[], Image.Image], alt: str, caption: str, *, scrolls: bool = False, chart: bool = False) -> Html:
    """A picture on a transparent ground; the reason where it cannot be drawn. One with words on it ``scrolls`` on a phone and does not shrink.

    A ``chart`` is shown as fine as the other charts.
    """
    try:
        drawn = draw()
    except (InputError, ValueError, RuntimeError, OSError) as error:
        return paragraph(f"Not drawn: {error}", "soft")
    scale = CHART_WIDTH / (charts.SIZE[0] * charts.DPI) if chart else 1
    style = "" if chart else "pixels wide" if scrolls else "pixels"
    return figure(png_address(drawn), alt, caption, size=(round(scale * drawn.width), round(scale * drawn.height)), style=style)


def sample_section(run: Run, model: GenerativeModel | None, reason: str) -> Html:
    """The model's samples and how they came about."""
    if model is not None:
        now = picture(lambda: figures.sample_grid(model, 64, theme=CLEAR), "A grid of 64 samples", "64 samples, seed 0, none picked.")
    elif run.samples:
        step, file = run.samples[-1]
        now = element("div", paragraph(reason, "soft"), file_figure(file, f"A grid of samples at step {step}", f"Samples at step {step:,}."))
    else:
        now = paragraph(f"{reason} There are no sample grids either.")
    return section("Samples", element("div", now, _course(run), style="pair"))


def file_figure(file: Path, alt: str, caption: str) -> Html:
    """A PNG of the run; a sentence where it is damaged."""
    try:
        with Image.open(file) as found:
            found.verify()
    except (OSError, SyntaxError, ValueError):
        return paragraph(f"{file.name} cannot be read.", "soft")
    return figure(file_address(file), alt, caption, style="pixels")


def _course(run: Run) -> Html:
    """At most STRIP sample grids, the first and the last among them."""
    if len(run.samples) < 2:
        return paragraph("No earlier sample grids were kept.", "soft")
    places = sorted({round(i * (len(run.samples) - 1) / (STRIP - 1)) for i in range(STRIP)})
    shown = [file_figure(file, f"Samples at step {step}", f"step {step:,}") for step, file in (run.samples[place] for place in places)]
    return element("div", element("div", *shown, style="strip"), paragraph("Over training, the same seed each time.", "soft"))


def curve_section(run: Run) -> Html:
    """Charts of metrics.jsonl."""
    drawn = [_curve(run, panel) for panel in charts.PANELS] + [_speed(run), *_evaluations(run)]
    shown = [chart for chart in drawn if chart]
    if not shown:
        return section("Training", paragraph("metrics.jsonl holds no metrics yet."))
    return section("Training", element("div", *shown, style="charts"))


def _curve(run: Run, panel: charts.Panel) -> Html:
    return themed(lambda theme: charts.panel(run.metrics, panel, theme=theme), f"{panel.title} over training", panel.reading.capitalize() + ".")


def _speed(run: Run) -> Html:
    return themed(lambda theme: charts.speed_chart(run.metrics, theme=theme), "Images per second over training", "Images per second of wall time.")


def _evaluations(run: Run) -> list[Html]:
    """A chart for every evaluator's metric; a likelihood is the paper's Fig. 3a."""
    names = list(dict.fromkeys(key for row in run.metrics for key in row if key.startswith("eval/") and not _is_no_curve(key)))
    return [_evaluation(run, name) for name in names]


def _is_no_curve(key: str) -> bool:
    """A rank of the prior or a bound, which have their own charts, or the number of images looked at, which stays."""
    return f"/{RANK}" in key or key.endswith("/images") or any(key == known for panel in charts.PANELS for _, known in panel.keys)


def _evaluation(run: Run, key: str) -> Html:
    steps, values = series(run.metrics, key)
    if not steps:
        return Html("")
    name = key.removeprefix("eval/").replace("_", " ")
    if key.endswith("log_likelihood"):
        caption = "Biased log-likelihood of held-out images: a density of queries on the sphere, not of pixels."
        return themed(lambda theme: charts.likelihood(steps, values, theme=theme), "Log-likelihood of held-out images over training", caption)
    return themed(lambda theme: charts.line_chart(name, [("", steps, values)], theme=theme), f"{name} over training", "Scored while training.")


def memory_section(run: Run, model: Model | None, reason: str, data: ImageData | None, names: SlotNames | None = None) -> Html:
    """What the memory holds, its slots under their ``names``; for a model without one, the walk through its noise."""
    if model is None:
        saved = saved_memories(run.path)
        return section("Memory", paragraph(reason, "soft"), *([_state(run, saved[-1][1])] if saved else []))
    walk = "Four drawn corners, framed, and the points between them"
    if model.memory is None:
        told = paragraph("This model has no memory: the baseline. Below, its noise between four drawn corners.")
        square = picture(lambda: figures.interpolation(model, theme=CLEAR), "Interpolation in noise", f"{walk}, interpolated in noise.")
        return section("Latent space", told, square)
    caption = f"{walk}: along great circles of the sphere of keys, and straight in noise."
    inside = "The same inside one slot: what a slot leaves open."
    return section(
        "Memory",
        _state(run, model.memory),
        element("h3", escape("Each row one slot, each column one noise")),
        element(
            "div",
            picture(
                lambda: figures.slot_sheet(model, names=names, theme=CLEAR),
                "Images of ten slots",
                "Ten real slots, evenly spaced from the heaviest to the lightest; slots that are alike stand side by side.",
                scrolls=True,
            ),
            _heaviest(model.memory),
            style="pair",
        ),
        element("h3", escape("Slots by meaning")),
        picture(lambda: slot_wall(model, names, theme=CLEAR), "A wall of slots", _wall_caption(names), scrolls=True),
        element("h3", escape("Between slots, and inside one")),
        element(
            "div",
            picture(lambda: figures.interpolation(model, theme=CLEAR), "Interpolation between keys", caption),
            picture(lambda: figures.interpolation(model, where="noise", theme=CLEAR), "Interpolation inside a slot", inside),
            style="pair",
        ),
        element("h3", escape("Which slots an image belongs to")),
        _posterior(model, data, names),
    )


def _wall_caption(names: SlotNames | None) -> str:
    wall = "One image from the key of each of the heaviest real slots, with the same noise, in an order in which keys that are alike are neighbours"
    return f"{wall}. A row holds slots whose training images are most of one class, which training was never told." if names else f"{wall}."


def _state(run: Run, memory: Slots) -> Html:
    """The numbers of a memory and its histograms."""
    told = usage(memory)
    words = (
        f"{told.num_slots:,} slots, {told.real_share:.0%} of them real, {told.unwritten:,} unwritten. By the entropy of the prior, "
        f"{told.effective_real:,.0f} real and {told.effective_fake:,.0f} fake slots are in use."
    )
    if math.isfinite(told.mean_cosine_real):
        words += f" Real keys have a mean cosine of {told.mean_cosine_real:.3f} to one another."
    shown = [
        themed(lambda theme: charts.masses(memory, theme=theme), "Histogram of the mass of the slots", "How often the slots were chosen of late."),
        themed(lambda theme: charts.ages(memory, theme=theme), "Histogram of the age of the slots", "Old slots are the first to be overwritten."),
        _spread(run, memory),
    ]
    return join([paragraph(words), element("div", *shown, style="charts")])


def _heaviest(memory: Slots) -> Html:
    rows = [[escape(text) for text in (row.slot, number(row.mass), f"{row.age:,}", f"{row.prior:.3%}")] for row in top_slots(memory, 12, value=1)]
    return table(["Slot", "Mass", "Age", "Prior"], rows, "The heaviest real slots; age in writes since last touched.")


def _spread(run: Run, memory: Slots) -> Html:
    """The sorted prior over training (Fig. 3c): as logged, else at each checkpoint that is left, else now."""
    logged = priors_logged(run.metrics)
    states = [(f"step {step:,}", ranks) for step, ranks in logged[:: -(-len(logged) // 6) or 1]]
    states = states or [(f"step {step:,}", charts.by_rank(saved)) for step, saved in saved_memories(run.path)]
    states = states or [("saved model", charts.by_rank(memory))]
    caption = "A flat line uses all slots alike; a steep one has forgotten most of them."
    return themed(lambda theme: charts.priors(states, theme=theme), "Sorted prior of the real slots", caption)


def _posterior(model: Model, data: ImageData | None, names: SlotNames | None) -> Html:
    """Fig. 3b for an image of the data, or one of the model's own."""

    def draw() -> Image.Image:
        image = torch.from_numpy(data.image[0].copy()) if data is not None else draw_samples(model, 1)[0]
        return figures.posterior(model, image, names=names, theme=CLEAR)

    source = f"the first image of {data.name}, {data.split}" if data is not None else "a sample of the model"
    caption = f"p(c | x) for {source} (red), the best real slots first; under each bar an image drawn from that slot."
    return picture(draw, "Posterior over slots of one image", caption, scrolls=True)


def neighbour_section(model: GenerativeModel | None, reason: str, data: ImageData | None, held_out: ImageData | None) -> Html:
    """Is the model copying? Each sample beside its nearest training images, and how near samples and held-out images come to them."""
    name = "Nearest training images"
    if model is None:
        return section(name, paragraph(reason, "soft"))
    if data is None:
        return section(name, paragraph("This page was made without the data; memogen neighbours draws the picture that belongs here."))
    part = _first(data, COMPARED)
    among = f"all {len(data):,}" if len(part) == len(data) else f"the first {len(part):,} of {len(data):,}"
    by = "the cosine of their queries" if isinstance(model, MemoryGAN) and model.memory is not None else "their pixels"
    caption = f"Each sample (red) beside its seven nearest among {among} images of {data.name}, {data.split}, by {by}."
    sheet = picture(lambda: figures.neighbours(model, part, theme=CLEAR), "Samples beside their nearest training images", caption, scrolls=True)
    return section(name, element("div", sheet, _copies(model, part, held_out) if held_out is not None else Html(""), style="pair"))


def _copies(model: GenerativeModel, training: ImageData, held_out: ImageData) -> Html:
    """The copy check in pixels; a sentence where the images do not fit each other."""
    try:
        found = copy_check(draw_samples(model, CHECKED).cpu(), _first(held_out, CHECKED), training)
    except InputError as error:
        return paragraph(f"Not drawn: {error}", "soft")
    caption = (
        f"{len(found.samples):,} samples and {len(found.held_out):,} held-out images, each by its distance to the nearest of these training images. "
        f"{found.share(1):.1%} of the samples lie nearer than 99% of the held-out images do; a model that copies has far more than 1%."
    )
    return themed(lambda theme: charts.copies(found, theme=theme), "Distances of samples and held-out images to the training images", caption)


def _first(data: ImageData, num: int) -> ImageData:
    return ImageData(data.image[:num], None, data.classes, data.name, data.split)
