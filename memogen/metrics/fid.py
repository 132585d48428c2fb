"""The Fréchet distance between two sets of features (Heusel et al. 2017, "GANs trained by a two time-scale update rule", Eq. 6)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memogen.metrics.metric import Asked, Metric, Number, Result, Streamed, needs
from memogen.metrics.samples import Reference
from memogen.types import InputError


class FeatureStatistics:
    """The mean and covariance of features, in float64, updated in batches (Chan et al. 1979)."""

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
            mean, total = x.mean(0), self.count + len(x)
            step, weight = mean - self.mean, math.sqrt(self.count * len(x) / total)
            rows = torch.cat([x - mean, (step * weight)[None]])
            self.count, self.mean = total, self.mean + step * (len(x) / total)
            self.scatter.addmm_(rows.T, rows)

    @property
    def covariance(self) -> Float[Tensor, "f f"]:
        """The unbiased covariance. Raises InputError for too few samples to give it full rank."""
        check_count(self.count, self.dim)
        return self.scatter / (self.count - 1)


def check_count(count: int, dim: int, kind: str = "images") -> None:
    """Raises InputError for fewer images than a covariance of full rank needs; ``kind`` names them."""
    if count <= dim:
        raise InputError(f"Fréchet distance: {count} {kind} cannot give the covariance of {dim} features: use at least {dim + 1}")


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """The squared 2-Wasserstein distance of the two Gaussians with these means and covariances."""
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def expected_self_distance(covariance: Float[Tensor, "f f"], num_a: int, num_b: int) -> tuple[float, float]:
    """(mean, standard deviation) of the distance between two samples of one Gaussian, to first order in 1/n and 1/m: the bias of the distance.

    The squared distance of the means is |N(0, s C)|^2 with s = 1/n + 1/m. A difference D of the covariances, in C's eigenbasis, adds
    1/2 sum_ij D_ij^2 / (l_i + l_j), and for Wishart matrices D_ij is nearly normal with variance l_i l_j (1 + [i = j]) (1/(n-1) + 1/(m-1)).
    """
    values = torch.linalg.eigvalsh(covariance.double()).clamp(min=0)
    sums = values[:, None] + values
    apart = torch.where(sums > 0, torch.outer(values, values) / sums, 0.0).triu()  # each pair once; the diagonal is l_i / 2
    parts = torch.cat([values * (1 / num_a + 1 / num_b), apart.flatten() * (1 / (num_a - 1) + 1 / (num_b - 1))])
    return float(parts.sum()), float((2 * parts.square().sum()).sqrt())  # each part is a chi-square variable of one degree times its mean


def gaussian_distance(
    mean_a: Float[Tensor, " f"], covariance_a: Float[Tensor, "f f"], mean_b: Float[Tensor, " f"], covariance_b: Float[Tensor, "f f"]
) -> float:
    """|m_a - m_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2, at least zero.

    The last trace is the sum of the singular values of K^T L for any roots A = K K^T and B = L L^T, which is real and precise also near a singular
    covariance.
    """
    cross = torch.linalg.svdvals(_root(covariance_a).T @ _root(covariance_b)).sum()
    distance = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(0.0, float(distance))


def moments(rows: Float[Tensor, "n f"], weight: Float[Tensor, " n"]) -> tuple[Float[Tensor, " f"], Float[Tensor, "f f"]]:
    """The weighted mean and the unbiased weighted covariance of rows, float64, on the CPU."""
    x, w = rows.double().cpu(), weight.double().cpu()
    w = w / w.sum()
    mean = w @ x
    return mean, (x - mean).T @ (w[:, None] * (x - mean)) / (1 - w.square().sum())


def _root(covariance: Float[Tensor, "f f"]) -> Float[Tensor, "f f"]:
    """Some L with L L^T = ``covariance``: Cholesky's or, without full rank, by eigenvectors, with negative eigenvalues set to zero."""
    root, failed = torch.linalg.cholesky_ex(covariance.double())
    if not failed:
        return root
    values, vectors = torch.linalg.eigh(covariance.double())
    return vectors * values.clamp(min=0).sqrt()


# --- real images ---


def reference_statistics(reference: Reference) -> FeatureStatistics:
    """Mean and covariance of the features of all the data, from the cache (safetensors, never pickle) if they are there."""
    path = None
    if reference.cache is not None and reference.data.digest:
        about = {"extractor": reference.extractor.version, **reference.protocol, "resize": reference.extractor.resize}
        key = json.dumps({"format": 2, **about}, sort_keys=True)
        path = reference.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    found = _read(path)
    if not reference.work.processes.any(found is None) and found is not None:  # if one process has none, all compute them together
        return found
    found = statistics_of(reference.batches())
    if path is not None:
        part = path.with_name(f"{path.stem}.{uuid4().hex}.part")
        with suppress(OSError, SafetensorError):  # on a full or read-only disk the next score computes them again
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({"count": torch.tensor(found.count), "mean": found.mean, "scatter": found.scatter}, part)
            part.replace(path)
    return found


def _read(path: Path | None) -> FeatureStatistics | None:
    if path is None or not path.is_file():
        return None
    try:
        state = load_file(path)
        statistics = FeatureStatistics(len(state["mean"]))
        statistics.count, statistics.mean, statistics.scatter = int(state["count"]), state["mean"], state["scatter"]
    except (SafetensorError, KeyError, OSError):
        return None  # a damaged file is computed and written anew
    return statistics


def statistics_of(batches: Iterable[Float[Tensor, "b f"]]) -> FeatureStatistics:
    """The statistics of features that come in batches."""
    found: FeatureStatistics | None = None
    for features in batches:
        found = found or FeatureStatistics(features.shape[1])
        found.update(features)
    return found or FeatureStatistics(0)


# --- the metric ---

SCARCE = 5  # samples per feature: with fewer, noise in the covariance alone adds some 5 % of the features' variance to the distance


def check_covariances(asked: Asked, compared: Reference) -> None:
    """Raises InputError for too few samples, or too few real images, for a covariance of full rank."""
    dim = asked.first.features.shape[1]
    check_count(asked.num_samples, dim, "samples")
    check_count(len(compared.data), dim, compared.called)


def scarce(metric: str, asked: Asked, compared: Reference) -> str:
    """A warning if a covariance of full rank is mostly noise, else an empty text."""
    dim, real = asked.first.features.shape[1], len(compared.data)
    few, kind = (asked.num_samples, "samples") if asked.num_samples <= real else (real, "real images")
    if few >= SCARCE * dim:
        return ""
    mend = f"use {SCARCE * dim:,}, or compare equal numbers only"
    return f"{metric}: {few:,} {kind} are few for {dim:,} features and make the distance too large: {mend}"


def frechet(asked: Asked) -> Streamed:
    """The Fréchet distance to all images of the reference."""
    real, protocol = reference_statistics(asked.reference), asked.reference.protocol
    fake = FeatureStatistics(real.dim)

    def results() -> list[Result]:
        return [Result("fid", frechet_distance(fake, real), None, {"reference": protocol})]

    return Streamed(asked.num_samples, lambda seen: fake.update(seen.features), results)


FID = Metric(
    "fid",
    "Fréchet distance",
    (Number("fid", "Fréchet distance", "lower"),),
    needs("samples", "extractor"),
    frechet,
    lambda asked: check_covariances(asked, asked.reference),
    lambda asked: scarce("fid", asked, asked.reference),
)
