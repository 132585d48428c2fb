"""What any model draws: samples, points between four corners, and directions of noise in which its pictures change most."""

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
_WIDEST = 128  # numbers of noise that are tried one by one


def samples(
    model: GenerativeModel, num: int, *, seed: int = 0, start: int = 0, label: int | None = None, without: Collection[int] = ()
) -> UInt8[Tensor, "b c h w"]:
    """Images ``start`` .. ``start + num - 1`` of a seed; ``without`` names layers whose trainable memory is taken away."""
    return draw(model, model.latents(num, label=label, seed=seed, start=start), without=without)


def draw(model: GenerativeModel, latents: Latents, *, without: Collection[int] = ()) -> UInt8[Tensor, "b c h w"]:
    """The images of latents, on the CPU."""
    if not without:
        return figures.draw(model, latents).cpu()
    if not isinstance(model, ShowsSlots) or not all(0 <= layer < len(model.slot_counts) for layer in without):
        raise Refused("without: this model has no memory in this layer")
    return to_uint8(model.decode(latents, without_memory=tuple(without)), model.image_range).cpu()


def corners(model: GenerativeModel, seeds: Sequence[int], *, label: int | None) -> Latents:
    """The first latents of four seeds, of one class where a model is told classes."""
    parts = [model.latents(1, label=label, seed=seed) for seed in seeds]
    return Latents(torch.cat([part.noise for part in parts]), label=_joined([part.label for part in parts]))


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    return None if any(part is None for part in parts) else torch.cat([part for part in parts if part is not None])


def weights_at(points: Sequence[tuple[float, float]]) -> Float[Tensor, "points 4"]:
    """Bilinear weights of the corners (top left, top right, bottom left, bottom right) at (right, down) of the unit square."""
    right, down = torch.tensor(points, dtype=torch.float32).reshape(-1, 2).unbind(1)
    return torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], 1)


def between(model: Any, drawn: Latents, points: Sequence[tuple[float, float]]) -> Latents:
    """The latents at points of the square: along great circles of the sphere of keys, or in noise where there are none."""
    weights = weights_at(points)
    if drawn.key is not None:
        return figures.between(model, drawn, weights, "keys")
    return Latents(weights.to(drawn.noise) @ drawn.noise, label=None if drawn.label is None else drawn.label[weights.argmax(1)])


def varied(noise: Float[Tensor, "b z"], directions: Directions, amounts: Sequence[float]) -> Float[Tensor, "b z"]:
    """Noise moved along directions by so many standard deviations, within what the model knows."""
    moved = noise + directions.scale * torch.tensor(amounts).to(noise) @ directions.rows[: len(amounts)].to(noise)
    return moved.clamp(-directions.bound, directions.bound) if any(amounts) else noise


class Directions:
    """Directions of noise, as rows; the standard deviation of its numbers, and the largest that is drawn."""

    def __init__(self, model: GenerativeModel, num: int = DIRECTIONS) -> None:
        """The ``num`` orthogonal directions in which the images change most: the leading eigenvectors of the mean of J^T J over some latents, J being
        the derivative of the pixels by the noise, by differences. Of more than 128 numbers of noise a fixed random 128 dimensions are tried.
        """
        law = model.latents(512, seed=11).noise
        self.scale, self.bound = float(law.std()), float(law.abs().max())
        at, width = model.latents(_PROBES, seed=5), law.shape[1]
        basis = torch.eye(width)
        if width > _WIDEST:
            basis = torch.linalg.qr(torch.randn(width, _WIDEST, generator=torch.Generator().manual_seed(0)))[0].T
        gram = torch.zeros(len(basis), len(basis), dtype=torch.float64)
        for row in range(_PROBES):
            one = at.take(slice(row, row + 1))
            changed = self._changes(model, one, basis.to(law))
            gram += (changed @ changed.T).double()
        vectors = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :num].T.float()
        rows = vectors @ basis
        self.rows = rows * torch.where(rows.gather(1, rows.abs().argmax(1, keepdim=True)) < 0, -1, 1)

    def _changes(self, model: GenerativeModel, one: Latents, basis: Float[Tensor, "d z"]) -> Float[Tensor, "d p"]:
        step, several = _STEP * self.scale * basis, one.take(torch.zeros(len(basis), dtype=torch.long))
        ends = [model.decode(replace(several, noise=several.noise + sign * step)).flatten(1).float().cpu() for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * _STEP)
