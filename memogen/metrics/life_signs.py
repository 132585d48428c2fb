"""Whether a memory lives, judged from the metrics that its training logged: a dead memory trains without complaint.

These signs compare the last tenth of the run with its middle third. An evaluation that comes more rarely than that is judged by its newest value.
One more asks the finished memory whether its slots tell classes apart (:func:`knowing`): a memory can live and sort by what nobody needs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from memogen.metrics.slots import Placed, lead, slots_beside_pixels
from memogen.types import InputError

HELD_OUT = "eval/held_out/"
"""How the metrics of the held-out images begin."""

RISE = 0.05  # less does not count as rising: cosines of a few hundred images, and shares over 25 steps, scatter by 0.02 from line to line
ALIKE = 0.9  # a mean cosine that no living memory reaches: a dead encoder's is 1
OVERWRITING = 0.5  # with every second real image overwriting a slot, nothing is kept
FADED = 0.01  # a gradient this far below the run's own has died: between a slow phase and a fast one there is a factor of ten
NO_GRADIENT = 1e-7  # rounding: in a run without any gradient there is nothing to compare with
STILL = 1e-6  # 1 - cos of equal keys is rounded to some 1e-7; slots that learn turn by 1e-4 and more a write


@dataclass(frozen=True)
class LifeSign:
    """A number over training that must stay on one side of a limit.

    ``earlier`` is its mean over the middle third of the run, ``last`` over the last tenth (medians for the gradient); nan where one of them was
    not finite. Of what is asked of the finished memory alone, ``earlier`` is None. ``rule`` says the limit in words.
    """

    name: str
    rule: str
    earlier: float | None
    last: float
    bound: Literal["at least", "at most"]
    limit: float

    @property
    def alive(self) -> bool:
        """Whether ``last`` keeps the limit; nan does not."""
        return self.last >= self.limit if self.bound == "at least" else self.last <= self.limit


def life_signs(lines: Sequence[Mapping[str, object]], *, real_slots: int) -> tuple[LifeSign, ...]:
    """The signs of the memory whose training wrote ``lines`` (those of metrics.jsonl) and which holds ``real_slots`` real slots.

    Raises InputError where a metric is missing that a sign needs.
    """
    placed = [(_number(line.get("step")), line) for line in lines]
    course = _Course(tuple((step, line) for step, line in placed if step > 0))
    return (
        _reached(course, real_slots),
        _not_rising(course, "cosine of real keys", f"{HELD_OUT}key_cosine", ALIKE),
        _not_rising(course, "cosine of held-out queries", f"{HELD_OUT}query_cosine", ALIKE),
        _gradient(course),
        _bounded(course, "queries that found one class", "critic/one_class", "at most", 0.0, "at most 0"),
        _not_rising(course, "real queries that overwrite", "critic/replaced_real", OVERWRITING),
        _bounded(course, "movement of a key", "critic/movement", "at least", STILL, f"at least {STILL:g}"),
    )


def knowing(known: Placed, asked: Placed) -> LifeSign | None:
    """Slots tell the class of test images, ``asked``, no worse than as many clusters by k-means on pixels, which take no training.

    ``known`` are training images that say which class a slot holds. None where one of the two has no labels.
    """
    if known.images.label is None or asked.images.label is None:
        return None
    slots, pixels = slots_beside_pixels(known, asked)
    rule = "at least what k-means on pixels tells with as many clusters, less two standard errors of the difference"
    limit = pixels.told.value - 2 * lead(slots, pixels).error
    return LifeSign("test images whose slot tells the class", rule, None, slots.told.value, "at least", limit)


@dataclass(frozen=True)
class _Course:
    """The lines of a run with their steps, asked by metric."""

    lines: tuple[tuple[float, Mapping[str, object]], ...]

    def values(self, key: str) -> list[tuple[float, float]]:
        """(step, value) of every line that has the metric; nan where it was not finite. Raises InputError where none has it."""
        found = [(step, _number(line[key])) for step, line in self.lines if key in line]
        if not found:
            raise InputError(f"life signs: {key} is in no line of metrics.jsonl: {_remedy(key)}")
        return found

    def middle(self, key: str) -> list[float]:
        """The values between one and two thirds of the run. Raises InputError where there are none."""
        values, end = self.values(key), self._end
        found = [value for step, value in values if end / 3 < step <= 2 * end / 3]
        if not found:
            where = f"between the steps {end / 3:,.0f} and {2 * end / 3:,.0f} of {end:,.0f}"
            mend = f"train longer, or measure more often with a smaller {_interval(key)}"
            raise InputError(f"too short a training for life signs, which compare its end with its middle: {where} nothing was measured: {mend}")
        return found

    def last(self, key: str) -> list[float]:
        """The values in the last tenth of the run, or the newest one."""
        values, begin = self.values(key), 0.9 * self._end
        return [value for step, value in values if step > begin] or [values[-1][1]]

    def tenths(self, key: str) -> list[list[float]]:
        """The finite values of every tenth of the run that has some."""
        end = self._end
        parts: list[list[float]] = [[] for _ in range(10)]
        for step, value in self.values(key):
            if math.isfinite(value):
                parts[math.ceil(10 * step / end) - 1].append(value)
        return [part for part in parts if part]

    @property
    def _end(self) -> float:
        return max(step for step, _ in self.lines)


def _reached(course: _Course, real_slots: int) -> LifeSign:
    """How many slots the held-out images reach. Fewer images than slots cannot reach them all."""
    reachable = min(float(real_slots), course.last(f"{HELD_OUT}images")[-1])
    rule = "at least a quarter of the real slots, or of the images where these are fewer"
    return _bounded(course, "distinct best slots of held-out images", f"{HELD_OUT}best_slots", "at least", reachable / 4, rule)


def _gradient(course: _Course) -> LifeSign:
    """Medians, since one spike does not revive a dead encoder; compared with the best tenth, since a run may be dead for most of its time."""
    key = "critic/query_gradient"
    best = max((statistics.median(part) for part in course.tenths(key)), default=0.0)
    rule = f"at least {FADED:.0%} of the median in the run's best tenth"
    limit = max(FADED * best, NO_GRADIENT)
    return LifeSign("gradient that reaches a query", rule, _median(course.middle(key)), _median(course.last(key)), "at least", limit)


def _not_rising(course: _Course, name: str, key: str, ceiling: float) -> LifeSign:
    earlier, last = statistics.fmean(course.middle(key)), statistics.fmean(course.last(key))
    rule = f"at most {ceiling:g}, and at most {RISE:g} above the middle of the run"
    limit = ceiling if math.isnan(earlier) else min(ceiling, earlier + RISE)
    return LifeSign(name, rule, earlier, last, "at most", limit)


def _bounded(course: _Course, name: str, key: str, bound: Literal["at least", "at most"], limit: float, rule: str) -> LifeSign:
    return LifeSign(name, rule, statistics.fmean(course.middle(key)), statistics.fmean(course.last(key)), bound, limit)


def _median(values: Sequence[float]) -> float:
    """nan where one of them is."""
    return statistics.median(values) if all(map(math.isfinite, values)) else math.nan


def _number(value: object) -> float:
    """What was logged as a number; a null stands for one that was not finite."""
    return float(value) if isinstance(value, int | float) else math.nan


def _remedy(key: str) -> str:
    if key.startswith(HELD_OUT):
        return "train with --scoring.likelihood_every 500 on data that have a test split"
    return "name a run of a model with memory"


def _interval(key: str) -> str:
    return "--scoring.likelihood_every" if key.startswith(HELD_OUT) else "--training.log_every"
