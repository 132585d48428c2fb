"""Is a memory alive? Signs from the metrics that its training logged, since a dead memory trains without complaint.

The signs compare the last tenth of the run with its middle third; an evaluation that is rarer is judged by its newest value. One more sign asks the
finished memory whether its slots tell classes apart (:func:`knowing`), which a living memory may fail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from memogen.metrics.slots import Placed, lead, slots_beside_pixels
from memogen.types import InputError

HELD_OUT = "eval/held_out/"
"""The prefix of the metrics on held-out images."""

RISE = 0.05  # the least rise that counts: cosines of a few hundred images, and shares over 25 steps, vary by 0.02 between lines
ALIKE = 0.9  # a mean cosine that no living memory reaches; a dead encoder's is 1
OVERWRITING = 0.5  # if every second real image overwrites a slot, nothing is kept
FADED = 0.01  # a gradient this far below the run's best has died; between slow and fast phases there is a factor of ten
NO_GRADIENT = 1e-7  # rounding error: the limit of a run without any gradient
STILL = 1e-6  # 1 - cos of equal keys is rounded to about 1e-7; slots that learn turn by 1e-4 and more per write


@dataclass(frozen=True)
class LifeSign:
    """A number over training that must stay on one side of a limit; ``rule`` states the limit in words.

    ``earlier`` is its mean over the middle third of the run, ``last`` over the last tenth (medians for the gradient); nan if a value was not
    finite. ``earlier`` is None for a sign of the finished memory.
    """

    name: str
    rule: str
    earlier: float | None
    last: float
    bound: Literal["at least", "at most"]
    limit: float

    @property
    def alive(self) -> bool:
        """Whether ``last`` keeps the limit; False for nan."""
        return self.last >= self.limit if self.bound == "at least" else self.last <= self.limit


def life_signs(lines: Sequence[Mapping[str, object]], *, real_slots: int) -> tuple[LifeSign, ...]:
    """The signs of a memory with ``real_slots`` real slots, whose training wrote ``lines`` to metrics.jsonl.

    Raises InputError for a metric that is missing.
    """
    course = _Course([(step, line) for line in lines if (step := _number(line.get("step"))) > 0])
    reachable = min(float(real_slots), course.last(f"{HELD_OUT}images")[-1])  # fewer images than slots cannot reach all slots
    reached = "at least a quarter of the real slots, or of the images where these are fewer"
    return (
        _bounded(course, "distinct best slots of held-out images", f"{HELD_OUT}best_slots", "at least", reachable / 4, reached),
        _not_rising(course, "cosine of real keys", f"{HELD_OUT}key_cosine", ALIKE),
        _not_rising(course, "cosine of held-out queries", f"{HELD_OUT}query_cosine", ALIKE),
        _gradient(course),
        _bounded(course, "queries that found one class", "critic/one_class", "at most", 0.0, "at most 0"),
        _not_rising(course, "real queries that overwrite", "critic/replaced_real", OVERWRITING),
        _bounded(course, "movement of a key", "critic/movement", "at least", STILL, f"at least {STILL:g}"),
    )


def knowing(known: Placed, asked: Placed) -> LifeSign | None:
    """Whether slots tell the class of test images, ``asked``, at least as well as an equal number of k-means clusters on pixels.

    The training images, ``known``, give each slot its class. None if one of the two has no labels.
    """
    if known.images.label is None or asked.images.label is None:
        return None
    slots, pixels = slots_beside_pixels(known, asked)
    rule = "at least what k-means on pixels tells with as many clusters, less two standard errors of the difference"
    limit = pixels.told.value - 2 * lead(slots, pixels).error
    return LifeSign("test images whose slot tells the class", rule, None, slots.told.value, "at least", limit)


class _Course:
    """The logged values of a run, by metric."""

    def __init__(self, lines: list[tuple[float, Mapping[str, object]]]) -> None:
        self.lines, self.end = lines, max((step for step, _ in lines), default=0.0)

    def values(self, key: str) -> list[tuple[float, float]]:
        """(step, value) of every line that has the metric; nan for a value that was not finite. Raises InputError if no line has it."""
        found = [(step, _number(line[key])) for step, line in self.lines if key in line]
        if not found:
            evaluated = "train with --scoring.likelihood_every 500 on data that have a test split"
            remedy = evaluated if key.startswith(HELD_OUT) else "name a run of a model with memory"
            raise InputError(f"life signs: {key} is in no line of metrics.jsonl: {remedy}")
        return found

    def middle(self, key: str) -> list[float]:
        """The values between one and two thirds of the run. Raises InputError if there are none."""
        found = [value for step, value in self.values(key) if self.end / 3 < step <= 2 * self.end / 3]
        if not found:
            where = f"between the steps {self.end / 3:,.0f} and {2 * self.end / 3:,.0f} of {self.end:,.0f}"
            option = "--scoring.likelihood_every" if key.startswith(HELD_OUT) else "--training.log_every"
            mend = f"train longer, or measure more often with a smaller {option}"
            raise InputError(f"too short a training for life signs, which compare its end with its middle: {where} nothing was measured: {mend}")
        return found

    def last(self, key: str) -> list[float]:
        """The values in the last tenth of the run, or the newest one."""
        values = self.values(key)
        return [value for step, value in values if step > 0.9 * self.end] or [values[-1][1]]

    def tenths(self, key: str) -> list[list[float]]:
        """The finite values of every tenth of the run that has some."""
        parts: list[list[float]] = [[] for _ in range(10)]
        for step, value in self.values(key):
            if math.isfinite(value):
                parts[math.ceil(10 * step / self.end) - 1].append(value)
        return [part for part in parts if part]


def _gradient(course: _Course) -> LifeSign:
    """Medians, since one spike does not revive a dead encoder; against the best tenth, since a run may be dead for most of its time."""
    key = "critic/query_gradient"
    best = max((median(part) for part in course.tenths(key)), default=0.0)
    rule = f"at least {FADED:.0%} of the median in the run's best tenth"
    limit = max(FADED * best, NO_GRADIENT)
    return LifeSign("gradient that reaches a query", rule, _median(course.middle(key)), _median(course.last(key)), "at least", limit)


def _not_rising(course: _Course, name: str, key: str, ceiling: float) -> LifeSign:
    earlier, last = fmean(course.middle(key)), fmean(course.last(key))
    rule = f"at most {ceiling:g}, and at most {RISE:g} above the middle of the run"
    limit = ceiling if math.isnan(earlier) else min(ceiling, earlier + RISE)
    return LifeSign(name, rule, earlier, last, "at most", limit)


def _bounded(course: _Course, name: str, key: str, bound: Literal["at least", "at most"], limit: float, rule: str) -> LifeSign:
    return LifeSign(name, rule, fmean(course.middle(key)), fmean(course.last(key)), bound, limit)


def _median(values: Sequence[float]) -> float:
    """nan if a value is not finite."""
    return median(values) if all(map(math.isfinite, values)) else math.nan


def _number(value: object) -> float:
    """A logged number; null stands for one that was not finite."""
    return float(value) if isinstance(value, int | float) else math.nan
