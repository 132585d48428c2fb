"""The results of the demo in sentences; the numbers and their standard errors choose the ending of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..metrics.slots import Estimate

Verdict = Literal["larger", "alike", "smaller"]
TIGHT = "\u00a0"  # a space at which no line breaks
CERTAIN = 2.0  # standard errors of a difference that counts


@dataclass(frozen=True)
class Comparison:
    """A number of this run, the one it is compared with, and how much larger the first is; each with its standard error."""

    here: Estimate
    beside: Estimate
    difference: Estimate

    @property
    def verdict(self) -> Verdict:
        """Larger or smaller by more than :data:`CERTAIN` standard errors of the difference, else alike; also alike if an error is unknown."""
        if not abs(self.difference.value) > CERTAIN * self.difference.error:
            return "alike"
        return "larger" if self.difference.value > 0 else "smaller"


def apart(here: Estimate, beside: Estimate) -> Comparison:
    """Two numbers from different samples: the squares of their errors add."""
    return Comparison(here, beside, Estimate(here.value - beside.value, math.hypot(here.error, beside.error)))


@dataclass(frozen=True)
class Question:
    """``measured`` names the number, ``here`` and ``beside`` name its two sources. The answer is ``begins`` and one of the three endings.

    ``begins`` may use {here}, {beside} and the keywords of :meth:`answer`. ``form`` is the format of the numbers.
    """

    measured: str
    here: str
    beside: str
    begins: str
    larger: str
    alike: str
    smaller: str
    form: Literal["percent", "score", "error"] = "percent"

    def answer(self, found: Comparison, **about: object) -> str:
        """The sentence."""
        begins = self.begins.format(here=self.number(found.here), beside=self.number(found.beside), **about)
        endings: dict[Verdict, str] = {"larger": self.larger, "alike": self.alike, "smaller": self.smaller}
        return f"{begins}: {endings[found.verdict]}"

    def number(self, found: Estimate, *, signed: bool = False) -> str:
        """A number with its standard error, if that is known."""
        scale, digits = {"percent": (100, 1), "score": (1, 2), "error": (1, 4)}[self.form]
        value, unit = f"{scale * found.value:{'+' if signed else ''}.{digits}f}", f"{TIGHT}%" if self.form == "percent" else ""
        return f"{value}{unit}" if math.isnan(found.error) else f"{value}{TIGHT}±{TIGHT}{scale * found.error:.{digits}f}{unit}"


KEPT = Question(
    "samples of an earlier digit",
    "with replay",
    "without replay",
    "After the last pair of digits, a classifier takes {here} of the samples with replay for one of the {earlier} earlier digits, "
    "and {beside} of those without",
    larger="with replay, more of the past is left.",
    alike="these samples show no difference.",
    smaller="with replay, less of the past is left.",
)
VARIED = Question(
    "inception score",
    "with replay",
    "without replay",
    "The inception score, {most} at most, is {here} with replay and {beside} without",
    larger="with replay, the samples are clearer or more varied.",
    alike="these samples show no difference.",
    smaller="with replay, the samples are less clear or less varied.",
    form="score",
)
NAMED = Question(
    "held-out digits named rightly",
    "by the slot",
    "by one fixed answer",
    "Of {asked} held-out digits, {here} are the digit that their slot mostly holds, and {beside} are the digit that is commonest in training",
    larger="the slots tell digits apart, though training saw no label.",
    alike="these digits do not show that the slots tell digits apart.",
    smaller="the slots do worse than the commonest digit.",
)
CLUSTERED = Question(
    "held-out digits named rightly",
    "by the slot",
    "by k-means on pixels",
    "K-means on pixels, with {clusters} clusters, as many as slots are in use, names {beside} of them rightly, and the slots {here}",
    larger="the slots know more of digits.",
    alike="these digits show no difference.",
    smaller="k-means on pixels knows more of digits.",
)
FILLED = Question(
    "error of hidden pixels",
    "of the model",
    "of the mean picture",
    "In {asked} held-out pictures with a part hidden, the mean squared error of the hidden pixels is {here} as the model fills them in, "
    "and {beside} with the mean of the other pictures",
    larger="the mean picture comes closer.",
    alike="these pictures show no difference.",
    smaller="the model comes closer.",
    form="error",
)
