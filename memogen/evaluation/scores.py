"""The scores that share one stream of images: each takes (features, probabilities) batch by batch and ends with its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.evaluation.fid import FeatureStatistics, check_count, frechet_distance
from memogen.evaluation.inception_score import InceptionScore
from memogen.evaluation.prdc import prdc
from memogen.evaluation.reference import Reference
from memogen.types import InputError

PRDC_IMAGES = 5000  # of each side at most: its cost grows with the square
PRDC_NEIGHBOURS = 5


@dataclass(frozen=True)
class Result:
    """One number, its spread where it has one, and what it adds to the protocol."""

    metric: str
    value: float
    spread: float | None = None
    protocol: dict[str, object] = field(default_factory=dict)


@runtime_checkable
class Score(Protocol):
    """A score under way."""

    def update(self, features: Float[Tensor, "b f"], probabilities: Float[Tensor, "b classes"]) -> None: ...
    def results(self) -> list[Result]: ...


class Inception:
    """The inception score: no real data needed."""

    def __init__(self, num_samples: int, reference: Reference) -> None:
        self.score = InceptionScore(num_samples, splits=splits_for(num_samples))

    def update(self, features: Tensor, probabilities: Tensor) -> None:
        self.score.update(probabilities)

    def results(self) -> list[Result]:
        mean, spread = self.score.compute()
        splits = self.score.splits
        return [Result("inception_score", mean, spread if splits > 1 else None, {"splits": splits})]


class Frechet:
    """The Fréchet distance to all of the reference."""

    def __init__(self, num_samples: int, reference: Reference) -> None:
        self.real = reference.statistics()
        self.fake = FeatureStatistics(self.real.dim)
        self.protocol: dict[str, object] = {"reference": reference.protocol}
        for count in (self.real.count, num_samples):
            check_count(count, self.real.dim)

    def update(self, features: Tensor, probabilities: Tensor) -> None:
        self.fake.update(features)

    def results(self) -> list[Result]:
        return [Result("fid", frechet_distance(self.fake, self.real), None, self.protocol)]


class Neighbourhoods:
    """Precision, recall, density and coverage of the first samples against as many real images."""

    def __init__(self, num_samples: int, reference: Reference) -> None:
        self.real = reference.features(PRDC_IMAGES)
        self.fake: list[Tensor] = []
        self.room = min(num_samples, PRDC_IMAGES)
        self.protocol: dict[str, object] = {
            "reference": {**reference.protocol, "num": len(self.real)},
            "neighbours": PRDC_NEIGHBOURS,
            "num_samples": self.room,
        }

    def update(self, features: Tensor, probabilities: Tensor) -> None:
        kept = features[: self.room].cpu()
        self.room -= len(kept)
        self.fake.append(kept)

    def results(self) -> list[Result]:
        found = prdc(self.real, torch.cat(self.fake), k=PRDC_NEIGHBOURS)
        shares = {"precision": found.precision, "recall": found.recall, "density": found.density, "coverage": found.coverage}
        return [Result(name, value, None, self.protocol) for name, value in shares.items()]


def splits_for(num_samples: int) -> int:
    """Ten splits as the papers use, fewer where a split would hold under 500 images: c classes lower its score by a factor near 1 - c / (2 n)."""
    return max(1, min(10, num_samples // 500))


def start_scores(names: tuple[str, ...], num_samples: int, reference: Reference) -> list[Score]:
    """The scores of those names, ready for the first batch; an unknown name is an InputError."""
    for name in names:
        if name not in SCORES:
            raise InputError(f"metric {name!r}: unknown: choose from {', '.join(SCORES)}")
    return [SCORES[name](num_samples, reference) for name in names]


SCORES: dict[str, Callable[[int, Reference], Score]] = {"is": Inception, "fid": Frechet, "prdc": Neighbourhoods}
