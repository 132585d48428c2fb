"""Precision and recall (Kynkäänniemi et al. 2019) and density and coverage (Naeem et al. 2020) from balls around k-th nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from statistics import fmean, stdev

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memogen.metrics.metric import PAIR_IMAGES, PRDC_NEIGHBOURS, Asked, Kept, Metric, Number, Result, needs
from memogen.metrics.samples import Seen
from memogen.types import InputError


@dataclass(frozen=True)
class Prdc:
    """Shares in [0, 1], but for ``density``, which may pass 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Float[Tensor, "r f"], fake: Float[Tensor, "s f"], *, k: int = 5, chunk: int = 1024) -> Prdc:
    """Compare two sets of features; distances are taken in float64, ``chunk`` rows at a time.

    With B(x) the ball around x that reaches its k-th nearest neighbour in its own set: precision is the share of fakes inside some B(real),
    recall the share of reals inside some B(fake), density the mean number of B(real) around a fake divided by k, and coverage the share of
    B(real) that hold a fake.
    """
    real, fake = real.double(), fake.double()
    _check(real, fake, k)
    real_radius, fake_radius = radii(real, k=k, chunk=chunk), radii(fake, k=k, chunk=chunk)
    balls_around = torch.zeros(len(fake), dtype=torch.float64, device=fake.device)
    recalled, covered = [], []
    for rows, radius in zip(real.split(chunk), real_radius.split(chunk), strict=True):
        distance = distances(rows, fake)
        inside = distance <= radius[:, None]
        balls_around += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distance <= fake_radius).any(1))
    return Prdc(
        precision=float((balls_around > 0).double().mean()),
        recall=float(torch.cat(recalled).double().mean()),
        density=float(balls_around.mean() / k),
        coverage=float(torch.cat(covered).double().mean()),
    )


@dataclass(frozen=True)
class Manifold:
    """The union of the balls around ``rows`` that reach each one's k-th nearest other row (Kynkäänniemi et al. 2019, Eq. 1)."""

    rows: Float[Tensor, "n f"]
    radius: Float[Tensor, " n"]

    @classmethod
    def of(cls, rows: Float[Tensor, "n f"], *, k: int = 5, chunk: int = 1024) -> Manifold:
        """Distances are taken in float64, ``chunk`` rows at a time. Raises InputError for fewer than k + 1 rows."""
        check_counts(len(rows), len(rows), k)
        return cls(rows.double(), radii(rows.double(), k=k, chunk=chunk))

    def holds(self, points: Float[Tensor, "p f"], *, chunk: int = 1024) -> Bool[Tensor, " p"]:
        """Which points lie inside some ball. Of real rows and generated points the mean is the precision, the other way round the recall."""
        return torch.cat([(distances(part, self.rows) <= self.radius).any(1) for part in points.double().split(chunk)])

    def covered(self, points: Float[Tensor, "p f"], *, chunk: int = 1024) -> Bool[Tensor, " n"]:
        """Which balls hold some of the points (Naeem et al. 2020, Eq. 5)."""
        parts = zip(self.rows.split(chunk), self.radius.split(chunk), strict=True)
        return torch.cat([(distances(rows, points.double()) <= radius[:, None]).any(1) for rows, radius in parts])


def radii(features: Float[Tensor, "n f"], *, k: int, chunk: int = 1024) -> Float[Tensor, " n"]:
    """The distance of each row to its k-th nearest other row."""
    return torch.cat([distance.kthvalue(k, dim=1).values for distance in distances_to_others(features, chunk)])


def distances_to_others(features: Float[Tensor, "n f"], chunk: int) -> Iterator[Float[Tensor, "c n"]]:
    """From each row to all rows, ``chunk`` rows at a time; to itself it is infinitely far."""
    for start in range(0, len(features), chunk):
        distance = distances(features[start : start + chunk], features)
        own = torch.arange(len(distance), device=features.device)
        distance[own, own + start] = torch.inf
        yield distance


def distances(a: Float[Tensor, "p f"], b: Float[Tensor, "q f"]) -> Float[Tensor, "p q"]:
    """Euclidean distances of all pairs."""
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")


def _check(real: Tensor, fake: Tensor, k: int) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise InputError(f"precision and recall: features are {tuple(real.shape)} and {tuple(fake.shape)}: use one extractor for both")
    check_counts(len(real), len(fake), k)


def check_counts(real: int, fake: int, k: int) -> None:
    """Refuse fewer images than have a k-th neighbour among the others."""
    if min(real, fake) <= k:
        raise InputError(f"precision and recall: {real} real and {fake} generated images: k = {k} needs at least {k + 1} of each")


# --- the metric ---


class Neighbourhoods:
    """Precision, recall, density and coverage of samples against as many real images: means over blocks of samples, each as large as the reference.

    Unequal numbers would say more of the numbers than of the images: samples that are many cover everything.
    """

    def __init__(self, asked: Asked) -> None:
        self.needed, self.real = min(asked.num_samples, PAIR_IMAGES), asked.reference.features(PAIR_IMAGES)
        self.fake = Kept(self.needed)
        self.reference = {**asked.reference.protocol, "num": len(self.real)}

    @staticmethod
    def check(asked: Asked) -> None:
        check_counts(len(asked.reference.data), asked.num_samples, PRDC_NEIGHBOURS)

    def update(self, seen: Seen) -> None:
        self.fake.add(seen.features)

    def results(self) -> list[Result]:
        size = min(len(self.real), len(self.fake.rows))
        blocks = self.fake.rows[: len(self.fake.rows) // size * size].split(size)
        found = [prdc(self.real, block, k=PRDC_NEIGHBOURS) for block in blocks]
        protocol = {"reference": self.reference, "neighbours": PRDC_NEIGHBOURS, "num_samples": size * len(blocks), "block": size}
        shares = {field.name: [getattr(each, field.name) for each in found] for field in fields(Prdc)}
        return [Result(name, fmean(values), stdev(values) if len(values) > 1 else None, protocol) for name, values in shares.items()]


PRDC = Metric(
    "prdc",
    "precision, recall, density, coverage",
    tuple(Number(name, name, "higher") for name in ("precision", "recall", "density", "coverage")),
    needs("samples", "extractor"),
    Neighbourhoods,
    Neighbourhoods.check,
)
