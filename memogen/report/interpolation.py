"""Walking through a model's latent space (Kim et al. 2018, Figs. 1, 6 and 7): the latents of a square between four corners, and of a round trip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.memory.functional import slerp
from memogen.memory.inspect import best_slots
from memogen.types import InputError, Latents

from .drawing import Model, draw

Where = Literal["keys", "noise"]


@dataclass(frozen=True)
class Square:
    """``latents`` and uint8 ``images`` of side * side points, row by row; the points at ``corners`` are the drawn latents themselves.

    ``where`` says what was interpolated in the end: a model that reads no key is interpolated in noise whatever was asked.
    """

    latents: Latents
    images: Tensor
    side: int
    corners: tuple[int, int, int, int]
    where: Where


def corner_weights(side: int) -> Float[Tensor, "points 4"]:
    """Bilinear weights of the corners (top left, top right, bottom left, bottom right), row by row."""
    step = torch.linspace(0, 1, side)
    down, right = torch.meshgrid(step, step, indexing="ij")
    return torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], -1).flatten(0, 1)


def loop_weights(frames: int) -> Float[Tensor, "frames 4"]:
    """Weights of a round trip over the four corners and back to the first, ``frames`` // 4 at each side."""
    side = max(1, frames // 4)
    share = torch.arange(side)[:, None] / side
    stay = torch.eye(4)[[0, 1, 3, 2]]  # around the square, not across it
    return torch.cat([(1 - share) * stay[i] + share * stay[(i + 1) % 4] for i in range(4)])


def corner_latents(model: Model, *, where: Where, slot: int | None, seed: int) -> tuple[Latents, Where]:
    """Four drawn latents, and what can be interpolated between them: keys need a model with a memory whose generator reads them."""
    latents = model.latents(4, slot=slot, seed=seed)
    if where == "keys" and slot is not None:
        raise InputError(f"interpolate: slot {slot} was given for a walk between keys: a slot fixes the key; choose the walk in noise")
    if model.memory is None or latents.key is None:
        return latents, "noise"
    if where == "noise" and slot is None:
        assert latents.slot is not None
        latents = model.latents(4, slot=int(latents.slot[0]), seed=seed)
    return latents, where


def between(model: Model, corners: Latents, weights: Float[Tensor, "points 4"], where: Where) -> Latents:
    """The latents at the points of the square whose bilinear weights are given. Noise is mixed as it is; keys move on the sphere, along the upper and
    the lower side and then from one to the other, and in "keys" each point is given to the real slot with the highest posterior at its key. A label,
    and in "noise" the slot, stay those of the nearest corner."""
    weights = weights.to(corners.noise)
    nearest = weights.argmax(-1)
    noise = weights @ corners.noise
    slot = None if corners.slot is None else corners.slot[nearest]
    key = None if corners.key is None else _on_sphere(corners.key, weights.to(corners.key))
    if where == "keys":
        assert model.memory is not None and key is not None
        slot = best_slots(model.memory, key)
    return Latents(noise, key, slot, None if corners.label is None else corners.label[nearest])


def _on_sphere(corners: Float[Tensor, "4 d"], weights: Float[Tensor, "points 4"]) -> Float[Tensor, "points d"]:
    """Where :func:`slerp` leads, first to the right and then down."""
    top_left, top_right, bottom_left, bottom_right = (key.expand(len(weights), -1) for key in corners)
    right, down = weights[:, [1, 3]].sum(1), weights[:, [2, 3]].sum(1)
    return slerp(slerp(top_left, top_right, right), slerp(bottom_left, bottom_right, right), down)


def _with_corners(points: Latents, corners: Latents, at: tuple[int, ...]) -> Latents:
    """Put the drawn latents back at the corners: a key may lie closer to a heavier slot than to its own."""

    def put(mixed: Tensor | None, drawn: Tensor | None) -> Tensor | None:
        if mixed is None or drawn is None:
            return mixed
        mixed = mixed.clone()
        mixed[list(at)] = drawn
        return mixed

    noise = put(points.noise, corners.noise)
    assert noise is not None
    return replace(points, noise=noise, key=put(points.key, corners.key), slot=put(points.slot, corners.slot))


def square(model: Model, *, where: Where = "keys", slot: int | None = None, side: int = 8, seed: int = 0) -> Square:
    """``side`` x ``side`` points between four drawn corners (Fig. 1; in "noise" inside one slot, Figs. 6-7)."""
    if side < 2:
        raise InputError(f"interpolate: the side is {side}: a square between four corners needs at least 2")
    drawn, where = corner_latents(model, where=where, slot=slot, seed=seed)
    at = (0, side - 1, side * (side - 1), side * side - 1)
    points = _with_corners(between(model, drawn, corner_weights(side), where), drawn, at)
    images = draw(model, points)
    images[list(at)] = draw(model, drawn)  # bit for bit what the corner gives by itself, whatever the batch
    return Square(points, images, side, at, where)


def round_trip(model: Model, *, where: Where = "keys", slot: int | None = None, frames: int = 48, seed: int = 0) -> tuple[Latents, Tensor]:
    """Latents and uint8 images of a closed walk over the four corners of :func:`square`."""
    drawn, where = corner_latents(model, where=where, slot=slot, seed=seed)
    points = between(model, drawn, loop_weights(frames), where)
    return points, draw(model, points)
