"""Charts of a training and of a memory as PIL pictures in the colours of a theme, drawn by matplotlib without its global state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from memogen.memory.inspect import sorted_prior, written
from memogen.memory.protocol import Slots
from memogen.metrics.copies import CopyCheck

from .grid import FAKE, LIGHT, REAL, SERIES, Theme, web
from .history import Entry, series, speed
from .parts import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
PLACE = (0.19, 0.19, 0.78, 0.69)  # of the axes: left, bottom, width, height; fixed, as measuring the text doubles the time
SIZE = (3.4, 2.3)  # inches of one chart
WIDTH = 330  # CSS pixels of one chart on a page
Line = tuple[str, Sequence[float], Sequence[float]]  # label, x, y


@dataclass(frozen=True)
class Panel:
    """A chart over training of the metrics in ``keys``, (label, metric). ``low`` and ``high`` fix the axis; ``reading`` is the caption."""

    title: str
    keys: tuple[tuple[str, str], ...]
    reading: str
    low: float | None = None
    high: float | None = None


PANELS = (
    Panel(
        "Losses",
        (("critic", "critic/loss"), ("critic's distance", "critic/wasserstein"), ("generator", "generator/loss")),
        "Adversarial terms of both networks.",
    ),
    Panel(
        "Judged as real",
        (("D(x), data", "critic/real"), ("D(G), samples", "critic/fake")),
        "Both at 0, or both at 1: the memory answers every query alike.",
        0,
        1,
    ),
    Panel(
        "Slots in use",
        (("real", "critic/effective_real"), ("fake", "critic/effective_fake")),
        "How many slots share the mass: exp of the entropy of the prior.",
        0,
    ),
    Panel("Replaced slots per query", (("all", "critic/replaced"), ("real", "critic/replaced_real")), "High throughout: nothing is kept.", 0),
    Panel("Queries without gradient", (("one class only", "critic/one_class"),), "Share of lookups that found slots of one class.", 0),
    Panel(
        "Bound",
        (("training", "bound/bound"), ("held-out", "eval/held_out/lower_bound"), ("held-out, 10 samples", "eval/held_out/bound_of_10_samples")),
        "Nats an image, higher is better: of training batches under their own statistics, and of held-out images.",
    ),
    Panel(
        "Parts of the bound",
        (("reconstruction", "bound/reconstruction"), ("divergence", "bound/divergence")),
        "log p(x | z) and log q(z | x) - log p(z), nats an image.",
    ),
    Panel("Local reconstruction", (("weighted", "bound/local_reconstruction"),), "Distance of the decoder's layers from the encoder's.", 0),
    Panel("Cosine to the nearest key", (("all queries", "critic/nearest"),), "How well the memory covers what it is shown."),
)


def words_of(name: object) -> str:
    """A name as matplotlib draws it literally: no dollar sign opens a formula, and control characters are escaped."""
    return visible(name).replace("$", r"\$")


def _logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with few ticks as plain numbers: 1, 2 and 5 of every decade, or only the decades if there are many."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log") if which == "y" else axes.set_xscale("log")
    low, high = axes.get_ylim() if which == "y" else axes.get_xlim()
    if high < 2 * low:  # nearly a constant: no ticks of six equal digits
        low, high = low / 2, high * 2
        axes.set_ylim(low, high) if which == "y" else axes.set_xlim(low, high)
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=7))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def drawn(
    draw: Callable[[Axes], None],
    *,
    title: str,
    x: str,
    y: str = "",
    legend: Literal["inside", "beside"] | None = None,
    scale: float = 1.0,
    theme: Theme = LIGHT,
) -> Image.Image:
    """A chart that ``draw`` fills, ``scale`` times as large as usual; a legend "beside" the axes makes the picture wider."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(scale * SIZE[0], scale * SIZE[1]), dpi=DPI)
    figure.patch.set_facecolor(web(theme.ground) if theme.ground else "none")
    axes = figure.add_axes(PLACE)
    axes.set_facecolor("none")
    axes.grid(True, color=web(theme.faint), linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=web(theme.ink), labelsize=8, length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(web(theme.faint))
    draw(axes)
    axes.set_title(words_of(title), color=web(theme.ink), fontsize=9.5, loc="left", fontweight="bold")
    axes.set_xlabel(words_of(x), color=web(theme.ink), fontsize=8)
    axes.set_ylabel(y, color=web(theme.ink), fontsize=8)
    if legend == "inside":
        axes.legend(frameon=False, fontsize=8, labelcolor=web(theme.ink))
    if legend == "beside":
        beside = axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, labelcolor=web(theme.ink))
        _render(figure)
        before, (left, bottom, width, height) = figure.get_figwidth(), PLACE
        after = before + beside.get_window_extent().width / DPI
        figure.set_figwidth(after)
        axes.set_position((left * before / after, bottom, width * before / after, height))
    picture = _render(figure)
    return picture if theme.ground is None else picture.convert("RGB")


def _render(figure: Figure) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()))


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    y: str = "",
    low: float | None = None,
    high: float | None = None,
    theme: Theme = LIGHT,
) -> Image.Image:
    """Lines over training; single points are marked."""

    def draw(axes: Axes) -> None:
        for colour, (label, across, up) in zip(SERIES * len(lines), lines, strict=False):
            axes.plot(across, up, color=colour, label=label, linewidth=1.4, marker="o" if len(across) == 1 else "", markersize=4, clip_on=False)
        axes.set_ylim(low, high)

    return drawn(draw, title=title, x="step", y=y, legend="inside" if len(lines) > 1 else None, theme=theme)


def panel(metrics: tuple[Entry, ...], what: Panel, *, points: int = 1, theme: Theme = LIGHT) -> Image.Image | None:
    """One chart over training from metrics.jsonl; None if each of its metrics has fewer than ``points`` values."""
    lines = [(label, *series(metrics, key)) for label, key in what.keys]
    lines = [line for line in lines if line[1]]
    longest = max((len(line[1]) for line in lines), default=0)
    return line_chart(what.title, lines, low=what.low, high=what.high, theme=theme) if longest >= points else None


def speed_chart(metrics: tuple[Entry, ...], *, theme: Theme = LIGHT) -> Image.Image | None:
    """Images per second over training; None with fewer than two values."""
    steps, rates = speed(metrics)
    return line_chart("Images per second", [("", steps, rates)], low=0, theme=theme) if len(steps) > 1 else None


def likelihood(steps: Sequence[float], values: Sequence[float], *, theme: Theme = LIGHT) -> Image.Image:
    """The biased log-likelihood log p(x | y = 1) of held-out images over training (Fig. 3a)."""
    return line_chart("log p(x | y = 1), held-out images", [("", steps, values)], y="nats", theme=theme)


def priors(states: Sequence[tuple[str, Mapping[int, float]]], *, theme: Theme = LIGHT) -> Image.Image:
    """The sorted prior p(c | v = 1) by rank in several states of a memory, later ones darker (Fig. 3c).

    A state with every rank is a line; one with some of the ranks is points, as nothing is known between them.
    """
    complete = [list(by_rank) == list(range(1, len(by_rank) + 1)) for _, by_rank in states]

    def draw(axes: Axes) -> None:
        for place, (label, by_rank) in enumerate(states):
            strength = 0.3 + 0.7 * (place + 1) / len(states)
            shape = {"linewidth": 1.4} if complete[place] else {"linestyle": "none", "marker": "o", "markersize": 3.5, "markeredgewidth": 0}
            axes.plot(list(by_rank), list(by_rank.values()), color=REAL, alpha=strength, label=label, clip_on=all(complete), **shape)
        _logarithmic(axes, "y")
        if not all(complete):
            _logarithmic(axes, "x")

    legend: Literal["inside"] | None = "inside" if len(states) > 1 else None
    return drawn(draw, title="Prior of the real slots, sorted", x="slot, by rank", y="p(c | v = 1)", legend=legend, theme=theme)


def by_rank(memory: Slots) -> dict[int, float]:
    """The sorted prior of a memory, ranks from 1."""
    return dict(enumerate(sorted_prior(memory).tolist(), start=1))


def masses(memory: Slots, *, theme: Theme = LIGHT) -> Image.Image:
    """Histogram of the mass of the written slots, real and fake apart, on a logarithmic axis."""

    def draw(axes: Axes) -> None:
        _histogram(axes, memory, memory.mass.double().clamp_min(1e-12), lambda every: [10**edge for edge in bin_edges(list(map(math.log10, every)))])
        _logarithmic(axes, "x")

    return drawn(draw, title="Mass of the slots", x="mass h", y="slots", legend="inside", theme=theme)


def ages(memory: Slots, *, theme: Theme = LIGHT) -> Image.Image:
    """Histogram of the age of the written slots, real and fake apart."""

    def draw(axes: Axes) -> None:
        _histogram(axes, memory, memory.age.double(), whole_edges)

    return drawn(draw, title="Age of the slots", x="writes since last touched", y="slots", legend="inside", theme=theme)


def _histogram(axes: Axes, memory: Slots, values: Tensor, edges: Callable[[list[float]], list[float]]) -> None:
    """The values of the written real and of the written fake slots in common bins."""
    used, real = written(memory), memory.values > 0.5
    parts = [values[member].cpu().tolist() for member in (used & real, used & ~real)]
    bins = edges([value for part in parts for value in part])
    axes.locator_params(axis="y", integer=True)
    for name, colour, part in zip(("real", "fake"), (REAL, FAKE), parts, strict=True):
        axes.hist(part, bins=bins, color=colour, alpha=0.6, label=f"{name} ({len(part):,})")


def copies(found: CopyCheck, *, theme: Theme = LIGHT) -> Image.Image:
    """Histogram of the distances of samples and of held-out images to the nearest training image; copies are at the left end."""
    told = found.histogram(32)

    def draw(axes: Axes) -> None:
        for name, colour, shares in (("held-out images", REAL, told.held_out), ("samples", FAKE, told.samples)):
            axes.stairs(shares.tolist(), told.edges.tolist(), fill=True, color=colour, alpha=0.6, label=name)
        axes.set_xlim(0)

    x = "euclidean distance, pixels in [0, 1]"
    return drawn(draw, title="To the nearest training image", x=x, y="share", legend="inside", theme=theme)


def bin_edges(values: Sequence[float], bins: int = 32) -> list[float]:
    """Evenly spaced edges over the values; for a constant, over an interval of length one around it."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, low + 0.5
    return [low + (high - low) * edge / bins for edge in range(bins + 1)]


def whole_edges(values: Sequence[float], bins: int = 32) -> list[float]:
    """Edges for whole numbers, with equally many of them in every bin."""
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    width = math.ceil((high - low + 1) / bins)
    return [low - 0.5 + width * edge for edge in range(math.ceil((high - low + 1) / width) + 1)]
