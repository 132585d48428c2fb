"""Charts over training and of a memory, drawn by matplotlib without its global state, as PIL pictures in the colours of a theme."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from memogen.memory.inspect import Slots, sorted_prior, written

from .history import Row, series, speed
from .theme import FAKE, LIGHT, REAL, SERIES, Theme, web

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
SIZE = (4.2, 2.6)  # inches of one chart
Line = tuple[str, Sequence[float], Sequence[float]]  # label, x, y


@dataclass(frozen=True)
class Panel:
    """One chart over training: ``keys`` maps labels to metrics. ``low`` and ``high`` fix the axis; ``reading`` says what to see in it."""

    title: str
    keys: tuple[tuple[str, str], ...]
    reading: str
    low: float | None = None
    high: float | None = None


PANELS = (
    Panel("Losses", (("critic", "critic/loss"), ("generator", "generator/loss")), "adversarial terms of both networks"),
    Panel("Judged as real", (("D(x), data", "critic/real"), ("D(G), samples", "critic/fake")), "apart is alive; both at 0 or at 1 is dead", 0, 1),
    Panel(
        "Slots in use",
        (("real", "critic/effective_real"), ("fake", "critic/effective_fake")),
        "exp(entropy) of the prior: how many slots share the mass",
        0,
    ),
    Panel("Replaced slots per query", (("all", "critic/replaced"), ("real", "critic/replaced_real")), "high throughout: nothing is kept", 0),
    Panel("Queries without gradient", (("one class only", "critic/one_class"),), "share of lookups that found slots of one class", 0),
    Panel("Cosine to the nearest key", (("all queries", "critic/nearest"),), "how well the memory covers what it is shown"),
)


def _chart(theme: Theme, size: tuple[float, float] = SIZE, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure with ``columns`` axes side by side, in the theme's colours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1]), dpi=DPI, layout="constrained")
    figure.patch.set_facecolor(web(theme.ground) if theme.ground else "none")
    axes = [figure.add_subplot(1, columns, place + 1) for place in range(columns)]
    for each in axes:
        each.set_facecolor("none")
        each.grid(True, color=web(theme.faint), linewidth=0.6)
        each.set_axisbelow(True)
        each.tick_params(which="both", colors=web(theme.ink), labelsize=8, length=0)
        for name, spine in each.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(web(theme.faint))
    return figure, axes


def _words(axes: Axes, theme: Theme, *, title: str, x: str, y: str = "", legend: bool = False) -> None:
    axes.set_title(title, color=web(theme.ink), fontsize=9.5, loc="left", fontweight="bold")
    axes.set_xlabel(x, color=web(theme.ink), fontsize=8)
    axes.set_ylabel(y, color=web(theme.ink), fontsize=8)
    if legend:
        axes.legend(frameon=False, fontsize=8, labelcolor=web(theme.ink))


def _picture(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image.open(buffer).copy()


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: str = "step",
    y: str = "",
    low: float | None = None,
    high: float | None = None,
    theme: Theme = LIGHT,
) -> Image.Image:
    """Lines over training; single points are marked."""
    figure, (axes,) = _chart(theme)
    for colour, (label, across, up) in zip(SERIES * len(lines), lines, strict=False):
        axes.plot(across, up, color=colour, label=label, linewidth=1.4, marker="o" if len(across) == 1 else "", markersize=4)
    axes.set_ylim(low, high)
    _words(axes, theme, title=title, x=x, y=y, legend=len(lines) > 1)
    return _picture(figure)


def panel(metrics: tuple[Row, ...], what: Panel, *, theme: Theme = LIGHT) -> Image.Image | None:
    """One chart over training from metrics.jsonl; None where none of its metrics was written."""
    lines = [(label, *series(metrics, key)) for label, key in what.keys]
    lines = [line for line in lines if line[1]]
    return line_chart(what.title, lines, low=what.low, high=what.high, theme=theme) if lines else None


def speed_chart(metrics: tuple[Row, ...], *, theme: Theme = LIGHT) -> Image.Image | None:
    """Images per second over training; None with fewer than two lines of metrics."""
    steps, rates = speed(metrics)
    return line_chart("Images per second", [("", steps, rates)], low=0, theme=theme) if steps else None


def likelihood(steps: Sequence[float], values: Sequence[float], *, theme: Theme = LIGHT) -> Image.Image:
    """The biased log-likelihood log p(x | y = 1) of held-out images over training (Fig. 3a)."""
    return line_chart("log p(x | y = 1), held-out images", [("", steps, values)], y="nats", theme=theme)


def priors(memories: Sequence[tuple[str, Slots]], *, theme: Theme = LIGHT) -> Image.Image:
    """The sorted prior p(c | v = 1) of several states of a memory, later ones darker (Fig. 3c)."""
    figure, (axes,) = _chart(theme)
    for place, (label, memory) in enumerate(memories):
        ordered = sorted_prior(memory).cpu()
        strength = 0.3 + 0.7 * (place + 1) / len(memories)
        axes.plot(range(1, len(ordered) + 1), ordered.tolist(), color=REAL, alpha=strength, label=label, linewidth=1.4)
    axes.set_yscale("log")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(lambda share, _: f"{share:.1g}")
    _words(axes, theme, title="Prior of the real slots, sorted", x="slot, by rank", y="p(c | v = 1)", legend=len(memories) > 1)
    return _picture(figure)


def usage(memory: Slots, *, theme: Theme = LIGHT) -> Image.Image:
    """Histograms of mass (on a logarithmic axis) and of age, the written real and fake slots apart."""
    figure, (left, right) = _chart(theme, columns=2)
    used, real = written(memory), memory.values > 0.5
    groups = [("real", REAL, used & real), ("fake", FAKE, used & ~real)]
    masses = [memory.mass[member].double().clamp_min(1e-12).log10().cpu().tolist() for _, _, member in groups]
    ages = [memory.age[member].double().cpu().tolist() for _, _, member in groups]
    for axes, values in ((left, masses), (right, ages)):
        edges = bin_edges([value for part in values for value in part])
        axes.locator_params(axis="y", integer=True)
        for (label, colour, _), part in zip(groups, values, strict=True):
            axes.hist(part, bins=edges, color=colour, alpha=0.6, label=f"{label} ({len(part):,})")
    left.xaxis.set_major_formatter(lambda power, _: f"{10**power:.2g}")
    _words(left, theme, title="Mass", x="mass h of a slot", y="slots", legend=True)
    _words(right, theme, title="Age", x="writes since last touched", y="slots")
    return _picture(figure)


def bin_edges(values: Sequence[float], bins: int = 32) -> list[float]:
    """Evenly spaced edges over the values, at least one apart in all, so that a constant is one bar."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if not math.isfinite(high - low) or high - low < 1e-9:
        low, high = low - 0.5, low + 0.5
    return [low + (high - low) * edge / bins for edge in range(bins + 1)]
