"""Is the model copying? Distances of samples to their nearest training images, beside those of held-out images, which cannot be copies.

The two-sample view of Meehan, Chaudhuri and Dasgupta 2020 ("A non-parametric test to detect data-copying in generative models", section 3):
samples of an honest model lie about as far from the training images as held-out images do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from memogen.types import ImageData, InputError, as_bytes

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 100)
Embedding = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Histogram:
    """Shares of the samples and of the held-out images between ``edges``: each adds up to one."""

    edges: Float[Tensor, " e"]
    samples: Float[Tensor, " bins"]
    held_out: Float[Tensor, " bins"]


@dataclass(frozen=True)
class CopyCheck:
    """The euclidean distance of each sample, and of each held-out image, to the nearest training image."""

    samples: Float[Tensor, " s"]
    held_out: Float[Tensor, " r"]

    def threshold(self, percentile: float = 1) -> float:
        """The distance that so many percent of the held-out images do not reach."""
        return float(self.held_out.quantile(percentile / 100))

    def share(self, percentile: float = 1) -> float:
        """The share of samples nearer to a training image than that percentile of held-out images: percentile / 100 for fresh real images."""
        return float((self.samples < self.threshold(percentile)).double().mean())

    def held_out_share(self, percentile: float = 1) -> float:
        """The share of held-out images below the same threshold: percentile / 100, but for ties and rounding."""
        return float((self.held_out < self.threshold(percentile)).double().mean())

    def error(self, percentile: float = 1) -> float:
        """The standard error of :meth:`share` less :meth:`held_out_share` where both sets are alike, from the share of both together."""
        below = torch.cat([self.samples, self.held_out]) < self.threshold(percentile)
        p = float(below.double().mean())
        return math.sqrt(p * (1 - p) * (1 / len(self.samples) + 1 / len(self.held_out)))

    def copies_more(self, percentile: float = 1) -> bool:
        """Whether samples lie so near to training images more often than held-out images do, by more than two standard errors."""
        return self.share(percentile) - self.held_out_share(percentile) > 2 * self.error(percentile)

    def quantiles(self) -> dict[str, dict[str, float]]:
        """The distances at :data:`PERCENTILES`, by percentile, of both sets."""
        at = torch.tensor(PERCENTILES, dtype=torch.float64) / 100
        sets = {"samples": self.samples, "held_out": self.held_out}
        return {name: dict(zip(map(str, PERCENTILES), rows.quantile(at).tolist(), strict=True)) for name, rows in sets.items()}

    def histogram(self, bins: int = 50) -> Histogram:
        """Both distributions over the same equal bins, from zero to the largest distance."""
        top = max(float(self.samples.max()), float(self.held_out.max())) or 1.0
        edges = np.linspace(0, top, bins + 1)
        counts = [torch.from_numpy(np.histogram(rows.numpy(), edges)[0] / len(rows)) for rows in (self.samples, self.held_out)]
        return Histogram(torch.from_numpy(edges), *counts)


@torch.no_grad()
def copy_check(
    image: UInt8[Tensor, "b c h w"], held_out: ImageData, training: ImageData, *, embed: Embedding | None = None, chunk: int = 1000
) -> CopyCheck:
    """Compare ``image`` and all of ``held_out`` with the training images, by pixels in [0, 1] or by ``embed`` of uint8 images (an extractor's
    ``features``, a model's ``encode``)."""
    check_alike(tuple(image.shape[1:]), held_out, training)
    if embed is None:
        return pixel_check(image, torch.cat(list(image_chunks(held_out, chunk))), training, chunk=chunk)
    samples, real = (torch.cat([embed(part) for part in parts]) for parts in (image.split(chunk), image_chunks(held_out, chunk)))
    return distance_check(samples, real, (embed(part) for part in image_chunks(training, chunk)))


def pixel_check(
    image: UInt8[Tensor, "b c h w"],
    held_out: UInt8[Tensor, "r c h w"],
    training: ImageData,
    *,
    chunk: int = 1000,
    advance: Callable[[int], None] | None = None,
) -> CopyCheck:
    """By pixels in [0, 1]. The squares are taken of whole numbers and are exact, so a copied image has distance zero."""
    rows = (part.flatten(1) for part in image_chunks(training, chunk))
    found = distance_check(image.flatten(1), held_out.flatten(1), rows, advance=advance)
    return CopyCheck(found.samples / 255, found.held_out / 255)


def distance_check(
    samples: Float[Tensor, "s f"] | UInt8[Tensor, "s f"],
    held_out: Float[Tensor, "r f"] | UInt8[Tensor, "r f"],
    training: Iterable[Tensor],
    *,
    advance: Callable[[int], None] | None = None,
) -> CopyCheck:
    """By rows of any kind; ``training`` comes in parts, read once, and ``advance`` is told how many rows are done."""
    query = torch.cat([samples, held_out]).cpu().double()
    square = query.square().sum(1)
    nearest = torch.full((len(query),), torch.inf, dtype=torch.float64)
    for part in training:
        rows = part.cpu().double()
        nearest = torch.minimum(nearest, torch.addmm(rows.square().sum(1), query, rows.T, alpha=-2).amin(1) + square)
        if advance is not None:
            advance(len(rows))
    distance = nearest.clamp(min=0).sqrt()
    return CopyCheck(distance[: len(samples)], distance[len(samples) :])


def image_chunks(data: ImageData, chunk: int = 1000) -> Iterator[UInt8[Tensor, "b c h w"]]:
    """All images of ``data`` in their order, ``chunk`` at a time; real vectors in bytes, as samples are."""
    for start in range(0, len(data), chunk):
        yield as_bytes(torch.from_numpy(np.array(data.image[start : start + chunk])))


def check_alike(shape: tuple[int, ...], held_out: ImageData, training: ImageData) -> None:
    """Refuse training images as held-out ones, whose distances are all zero, and images of several shapes."""
    if held_out.digest and held_out.digest == training.digest:
        raise InputError(f"copies: {held_out.name} {held_out.split}: held-out and training images are the same: compare with the test split")
    if not len(held_out) or not len(training) or not shape == held_out.image_shape == training.image_shape:
        shapes = f"samples are {shape}, held-out images {held_out.image_shape}, training images {training.image_shape}"
        raise InputError(f"copies: {shapes}: all three must be of one shape, and none may be empty")
