"""The kernel distance between two sets of features: unbiased, unlike the Fréchet distance (Binkowski et al. 2018, "Demystifying MMD GANs")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.metrics.metric import Asked, Metric, Number, Result, Streamed, collected, features, needs
from memogen.types import InputError

SUBSETS = 100
SUBSET_SIZE = 1000
_SMALL = 256  # rows; halving fewer saves nothing
_PAIRS = 1 << 22  # kernel values in memory at once


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over ``subsets`` random subsets of ``subset_size`` images of each set (spread 0 for a single one)."""

    mean: float
    spread: float
    subsets: int
    subset_size: int


def kernel_distance(
    real: Float[Tensor, "r f"], fake: Float[Tensor, "s f"], *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> KernelDistance:
    """The unbiased squared maximum mean discrepancy under k(x, y) = (x . y / f + 1)^3, over random subsets drawn by ``seed``.

    A set with fewer than ``subset_size`` images limits the size of the subsets; if both sets have just that size, there is one subset, all images.
    Sums are in float64. Raises InputError for features of different size and for fewer than two images.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise InputError(f"kernel distance: features are {tuple(real.shape)} and {tuple(fake.shape)}: use one extractor for both")
    check_pairs(min(len(real), len(fake)))
    size = min(subset_size, len(real), len(fake))
    num = 1 if size == max(len(real), len(fake)) else subsets
    random = np.random.default_rng(seed)
    chosen = [[torch.from_numpy(random.choice(len(rows), size, replace=False, shuffle=False)) for rows in (real, fake)] for _ in range(num)]
    of_all = (len(real) ** 2 + len(fake) ** 2) / 2 + len(real) * len(fake)
    if of_all * (real.shape[1] + 2 * num) <= 2 * num * size**2 * real.shape[1]:  # multiplications for the kernels and for their sums
        found = _of_all(real, fake, *map(torch.stack, zip(*chosen, strict=True)))
    else:
        found = [squared_discrepancy(real[x], fake[y]) for x, y in chosen]
    return KernelDistance(float(np.mean(found)), float(np.std(found)), num, size)


def _of_all(x: Float[Tensor, "r f"], y: Float[Tensor, "s f"], of_x: Int[Tensor, "n m"], of_y: Int[Tensor, "n m"]) -> list[float]:
    """:func:`squared_discrepancy` of n subsets of each set. The kernel of each pair is computed once for all subsets."""
    size = of_x.shape[1]
    member_x, member_y = (
        torch.zeros(len(chosen), len(rows), dtype=torch.float64, device=rows.device).scatter_(1, chosen.to(rows.device), 1.0)
        for rows, chosen in ((x, of_x), (y, of_y))
    )
    within = _sums(x, x, member_x, member_x) + _sums(y, y, member_y, member_y)
    return (within / (size * (size - 1)) - 2 * _sums(x, y, member_x, member_y) / size**2).tolist()


def _sums(x: Float[Tensor, "r f"], y: Float[Tensor, "s f"], of_x: Float[Tensor, "n r"], of_y: Float[Tensor, "n s"]) -> Float[Tensor, " n"]:
    """The sum of k over the pairs of each subset; if ``x`` is ``y``, without the pairs of an image with itself."""
    one, block = x.new_ones(1), max(1, _PAIRS // len(y))
    total = torch.zeros_like(of_y)
    for start in range(0, len(x), block):
        first = start if x is y else 0  # a pair and its mirror image have one kernel, and count twice
        kernel = torch.addmm(one, x[start : start + block], y[first:].T, alpha=1 / x.shape[1]).pow_(3).double()
        if x is y:
            kernel.diagonal().zero_()
            kernel[:, len(kernel) :].mul_(2)
        total[:, first:].addmm_(of_x[:, start : start + block], kernel)
    return (total * of_y).sum(1)


def squared_discrepancy(x: Float[Tensor, "r f"], y: Float[Tensor, "s f"]) -> float:
    """Eq. 4 of the paper: the mean kernel within x and within y, over pairs of different images, less twice the mean between x and y."""
    within = []
    for rows in (x, y):
        with_itself = float((rows.double().square().sum(1) / rows.shape[1] + 1).pow(3).sum())
        within.append((_within(rows) - with_itself) / (len(rows) * (len(rows) - 1)))
    return within[0] + within[1] - 2 * _between(x, y) / (len(x) * len(y))


def check_pairs(count: int, kind: str = "images") -> None:
    """Raises InputError for fewer than two images; ``kind`` names them."""
    if count < 2:
        raise InputError(f"kernel distance: {count} {kind} make no pair: use at least 2, and {SUBSET_SIZE} for subsets of full size")


def _between(x: Tensor, y: Tensor) -> float:
    """The sum of k over all pairs. Products have the features' type, sums are in float64."""
    one, total = x.new_ones(1), 0.0
    for rows in x.split(max(1, _PAIRS // len(y))):
        base = torch.addmm(one, rows, y.T, alpha=1 / x.shape[1])
        total += float(base.pow(3).sum(1).double().sum())
    return total


def _within(x: Tensor) -> float:
    """The sum of k over all pairs of x with itself; pairs of different halves are computed once."""
    if len(x) <= _SMALL:
        return _between(x, x)
    first, second = x.tensor_split(2)
    return _within(first) + _within(second) + 2 * _between(first, second)


# --- the metric ---


def check(asked: Asked) -> None:
    check_pairs(asked.num_samples, "samples")
    check_pairs(len(asked.reference.data), asked.reference.called)


def kernel(asked: Asked) -> Streamed:
    """The kernel distance to the reference, over random subsets of both."""
    real, reference = asked.reference.features(), asked.reference.protocol

    def results(fake: Tensor) -> list[Result]:
        found = kernel_distance(real, fake, seed=asked.seed)
        protocol = {"reference": reference, "subsets": found.subsets, "subset_size": found.subset_size, "subset_seed": asked.seed}
        return [Result("kid", found.mean, found.spread if found.subsets > 1 else None, protocol)]

    return collected(asked.num_samples, results, features)


KID = Metric("kid", "kernel distance", (Number("kid", "KID", "lower"),), needs("samples", "extractor"), kernel, check)
