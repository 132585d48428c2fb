"""The Fréchet distance between two sets of features (Heusel et al. 2017, "GANs trained by a two time-scale update rule", Eq. 6)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.types import InputError


class FeatureStatistics:
    """The mean and covariance of features seen in batches: float64, and two halves merge into the whole (Chan et al. 1979)."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean: Float[Tensor, " f"] = torch.zeros(dim, dtype=torch.float64)
        self.scatter: Float[Tensor, "f f"] = torch.zeros(dim, dim, dtype=torch.float64)  # sum of (x - mean)(x - mean)^T

    @property
    def dim(self) -> int:
        return len(self.mean)

    def update(self, features: Float[Tensor, "b f"]) -> None:
        """Add a batch of features."""
        x = features.detach().to("cpu", torch.float64)
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise InputError(f"feature statistics: features are {tuple(x.shape)}: give (batch, {self.dim})")
        if len(x):
            mean = x.mean(0)
            self._add(len(x), mean, (x - mean).T @ (x - mean))

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """The statistics of both sets together; neither is changed."""
        if self.dim != other.dim:
            raise InputError(f"feature statistics: {self.dim} features here and {other.dim} there: use one extractor for both")
        merged = FeatureStatistics(self.dim)
        for part in (self, other):
            merged._add(part.count, part.mean, part.scatter)
        return merged

    @property
    def covariance(self) -> Float[Tensor, "f f"]:
        """The unbiased covariance; an InputError where the samples are too few to give it full rank."""
        check_count(self.count, self.dim)
        return self.scatter / (self.count - 1)

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if count == 0:
            return
        total = self.count + count
        step = mean - self.mean
        self.scatter = self.scatter + scatter + torch.outer(step, step) * (self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total


def check_count(count: int, dim: int, kind: str = "images") -> None:
    """Refuse fewer images than a covariance of full rank needs; ``kind`` says which they are."""
    if count <= dim:
        raise InputError(f"Fréchet distance: {count} {kind} cannot give the covariance of {dim} features: use at least {dim + 1}")


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """The squared 2-Wasserstein distance of the two Gaussians with these means and covariances."""
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def expected_self_distance(covariance: Float[Tensor, "f f"], num_a: int, num_b: int) -> tuple[float, float]:
    """(mean, standard deviation) of the distance between two samples of one Gaussian: its bias, to first order in one over their numbers.

    The means differ by |N(0, s C)|^2 with s = 1/n + 1/m. A difference D of covariances, in C's eigenbasis, costs 1/2 sum_ij D_ij^2 / (l_i + l_j),
    and for Wishart matrices D_ij is nearly normal with variance l_i l_j (1 + [i = j]) (1/(n-1) + 1/(m-1)).
    """
    values = torch.linalg.eigvalsh(covariance.double()).clamp(min=0)
    sums = values[:, None] + values
    apart = torch.where(sums > 0, torch.outer(values, values) / sums, 0.0).triu()  # each pair once; the diagonal is l_i / 2
    parts = torch.cat([values * (1 / num_a + 1 / num_b), apart.flatten() * (1 / (num_a - 1) + 1 / (num_b - 1))])
    return float(parts.sum()), float((2 * parts.square().sum()).sqrt())  # each part is a chi-square variable of one degree times its mean


def gaussian_distance(
    mean_a: Float[Tensor, " f"], covariance_a: Float[Tensor, "f f"], mean_b: Float[Tensor, " f"], covariance_b: Float[Tensor, "f f"]
) -> float:
    """|m_a - m_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2, never below zero.

    The last trace is the sum of the singular values of A^1/2 B^1/2: real, and as precise near a singular covariance as elsewhere.
    """
    cross = torch.linalg.svdvals(_root(covariance_a) @ _root(covariance_b)).sum()
    distance = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(0.0, float(distance))


def _root(covariance: Float[Tensor, "f f"]) -> Float[Tensor, "f f"]:
    """The symmetric square root, rounding errors below zero set to zero."""
    values, vectors = torch.linalg.eigh(covariance.double())
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
