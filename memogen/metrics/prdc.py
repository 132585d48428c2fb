"""Precision and recall (Kynkäänniemi et al. 2019) and density and coverage (Naeem et al. 2020) from balls around k-th nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass, fields
from statistics import fmean, stdev

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memogen.metrics.metric import PAIR_IMAGES, PRDC_NEIGHBOURS, Asked, Metric, Number, Result, Streamed, collected, features, needs
from memogen.types import InputError


@dataclass(frozen=True)
class Prdc:
    """Each in [0, 1], except ``density``, which may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Float[Tensor, "r f"], fake: Float[Tensor, "s f"], *, k: int = 5, chunk: int = 1024) -> Prdc:
    """Compare two sets of features; distances are in float64, for ``chunk`` rows at a time.

    B(x) is the ball around x that reaches its k-th nearest neighbour in its own set. Precision is the share of fakes inside some B(real), recall the
    share of reals inside some B(fake), density the mean number of B(real) around a fake divided by k, coverage the share of B(real) that hold a
    fake. Raises InputError for features of different size and for fewer than k + 1 images.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise InputError(f"precision and recall: features are {tuple(real.shape)} and {tuple(fake.shape)}: use one extractor for both")
    check_counts(len(real), len(fake), k)
    real, fake = real.double(), fake.double()
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
    """The union of the balls around ``rows``, each of which reaches its row's k-th nearest other row (Kynkäänniemi et al. 2019, Eq. 1)."""

    rows: Float[Tensor, "n f"]
    radius: Float[Tensor, " n"]

    @classmethod
    def of(cls, rows: Float[Tensor, "n f"], *, k: int = 5, chunk: int = 1024) -> Manifold:
        """Distances are in float64, for ``chunk`` rows at a time. Raises InputError for fewer than k + 1 rows."""
        check_counts(len(rows), len(rows), k)
        return cls(rows.double(), radii(rows.double(), k=k, chunk=chunk))

    def holds(self, points: Float[Tensor, "p f"], *, chunk: int = 1024) -> Bool[Tensor, " p"]:
        """Which points lie inside some ball. The mean is the precision for real rows and generated points, and the recall the other way round."""
        return torch.cat([(distances(part, self.rows) <= self.radius).any(1) for part in points.double().split(chunk)])

    def covered(self, points: Float[Tensor, "p f"], *, chunk: int = 1024) -> Bool[Tensor, " n"]:
        """Which balls hold at least one of the points (Naeem et al. 2020, Eq. 5)."""
        parts = zip(self.rows.split(chunk), self.radius.split(chunk), strict=True)
        return torch.cat([(distances(rows, points.double()) <= radius[:, None]).any(1) for rows, radius in parts])


def radii(features: Float[Tensor, "n f"], *, k: int, chunk: int = 1024) -> Float[Tensor, " n"]:
    """The distance of each row to its k-th nearest other row. Each pair is computed once, and serves both rows."""
    nearest = features.new_full((len(features), k), torch.inf)
    for start in range(0, len(features), chunk):
        distance = distances(features[start : start + chunk], features[start:])
        distance.diagonal().fill_(torch.inf)
        here, later = nearest[start : start + chunk], nearest[start + chunk :]
        here.copy_(_smallest(torch.cat([here, distance], 1), k))
        later.copy_(_smallest(torch.cat([later.T, distance[:, chunk:]]).T, k))
    return nearest.amax(1)


def _smallest(values: Float[Tensor, "n m"], k: int) -> Float[Tensor, "n k"]:
    """The k smallest of each row."""
    return values.topk(k, dim=1, largest=False, sorted=False).values


def distances(a: Float[Tensor, "p f"], b: Float[Tensor, "q f"]) -> Float[Tensor, "p q"]:
    """Euclidean distances of all pairs."""
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")


def check_counts(real: int, fake: int, k: int) -> None:
    """Raises InputError for fewer than k + 1 images of either kind."""
    if min(real, fake) <= k:
        raise InputError(f"precision and recall: {real} real and {fake} generated images: k = {k} needs at least {k + 1} of each")


# --- the metric ---


def check(asked: Asked) -> None:
    check_counts(len(asked.reference.data), asked.num_samples, PRDC_NEIGHBOURS)


def neighbourhoods(asked: Asked) -> Streamed:
    """Means over blocks of samples, each as large as the set of real images, as the results depend on both numbers: many samples cover everything."""
    real = asked.reference.features(PAIR_IMAGES)
    reference = {**asked.reference.protocol, "num": len(real)}

    def results(fake: Tensor) -> list[Result]:
        size = min(len(real), len(fake))
        blocks = fake[: len(fake) // size * size].split(size)
        found = [prdc(real, block, k=PRDC_NEIGHBOURS) for block in blocks]
        protocol = {"reference": reference, "neighbours": PRDC_NEIGHBOURS, "num_samples": size * len(blocks), "block": size}
        shares = {field.name: [getattr(each, field.name) for each in found] for field in fields(Prdc)}
        return [Result(name, fmean(values), stdev(values) if len(values) > 1 else None, protocol) for name, values in shares.items()]

    return collected(min(asked.num_samples, PAIR_IMAGES), results, features)


PRDC = Metric(
    "prdc",
    "precision, recall, density, coverage",
    tuple(Number(name, name, "higher") for name in ("precision", "recall", "density", "coverage")),
    needs("samples", "extractor"),
    neighbourhoods,
    check,
)
