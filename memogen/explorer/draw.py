"""Images that any model draws: samples, points between four corners, and directions of noise in which its images change most."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from memogen.metrics.slot_contents import ShowsSlots
from memogen.report import figures
from memogen.types import GenerativeModel, Latents, to_uint8

from .asked import Refused

DIRECTIONS = 6
_PROBES = 4  # latents at which the change is measured
_STEP = 0.25  # of a standard deviation, to either side
_WIDEST = 128  # dimensions of noise that are tried one by one


def samples(
    model: GenerativeModel, num: int, *, seed: int = 0, start: int = 0, label: int | None = None, without: Collection[int] = ()
) -> UInt8[Tensor, "b c h w"]:
    """Images ``start`` to ``start + num - 1`` of a seed; ``without`` are layers whose trainable memory is replaced by ones."""
    return draw(model, model.latents(num, label=label, seed=seed, start=start), without=without)


def draw(model: GenerativeModel, latents: Latents, *, without: Collection[int] = ()) -> UInt8[Tensor, "b c h w"]:
    """The images of latents, on the CPU."""
    if not without:
        return figures.draw(model, latents).cpu()
    if not isinstance(model, ShowsSlots) or not all(0 <= layer < len(model.slot_counts) for layer in without):
        raise Refused("without: this model has no memory in this layer")
    return to_uint8(model.decode(latents, without_memory=tuple(without)), model.image_range).cpu()


def between(model: Any, corners: Latents, points: Sequence[tuple[float, float]]) -> Latents:
    """The latents at (right, down) of the unit square between four corners: top left, top right, bottom left, bottom right.

    Keys move along great circles of the sphere; without keys, noise moves straight.
    """
    right, down = torch.tensor(points, dtype=torch.float32).reshape(-1, 2).unbind(1)
    weights = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], 1)
    if corners.key is not None:
        return figures.between(model, corners, weights, "keys")
    return Latents(weights.to(corners.noise) @ corners.noise, label=None if corners.label is None else corners.label[weights.argmax(1)])


def varied(noise: Float[Tensor, "b z"], directions: Directions, amounts: Sequence[float]) -> Float[Tensor, "b z"]:
    """Noise moved along directions by ``amounts`` of standard deviations, within the range of drawn noise."""
    moved = noise + directions.scale * torch.tensor(amounts).to(noise) @ directions.rows[: len(amounts)].to(noise)
    return moved.clamp(-directions.bound, directions.bound) if any(amounts) else noise


class Directions:
    """Directions of noise as unit ``rows``; ``scale``: the standard deviation of the noise; ``bound``: its largest drawn number."""

    def __init__(self, model: GenerativeModel) -> None:
        """The :data:`DIRECTIONS` orthogonal directions in which the images change most: the leading eigenvectors of the mean of J^T J.

        J is the derivative of the pixels by the noise at some latents, from central differences. Of more than 128 dimensions of noise, a fixed random
        subspace of 128 dimensions is tried.
        """
        law = model.latents(512, seed=11).noise
        self.scale, self.bound = float(law.std()), float(law.abs().max())
        at, width = model.latents(_PROBES, seed=5), law.shape[1]
        basis = torch.eye(width)
        if width > _WIDEST:
            basis = torch.linalg.qr(torch.randn(width, _WIDEST, generator=torch.Generator().manual_seed(0)))[0].T
        step = _STEP * self.scale * basis.to(law)
        gram = torch.zeros(len(basis), len(basis), dtype=torch.float64)
        for row in range(_PROBES):
            several = at.take(torch.full((len(basis),), row))
            ends = [model.decode(replace(several, noise=several.noise + sign * step)).flatten(1).float().cpu() for sign in (1, -1)]
            changed = (ends[0] - ends[1]) / (2 * _STEP)
            gram += (changed @ changed.T).double()
        vectors = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :DIRECTIONS].T.float()
        rows = vectors @ basis
        self.rows = rows * torch.where(rows.gather(1, rows.abs().argmax(1, keepdim=True)) < 0, -1, 1)
