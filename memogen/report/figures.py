"""Pictures of a model: a function takes the model, draws and returns a PIL picture. The same model and seed give the same pixels.

The pictures are those of Kim, Kim and Kim (ICLR 2018) that need no memory: Fig. 1 :func:`interpolation`, Fig. 4 :func:`sample_grid`, Fig. 5
:func:`neighbours`, Figs. 6-7 :func:`interpolation` in noise. The ways through latent space are :func:`square` and :func:`round_trip`.
Every function leaves the model as it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, cast

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from memogen.memory.functional import slerp
from memogen.memory.inspect import best_slots
from memogen.memory.protocol import MixtureMemory, is_mixture
from memogen.types import GenerativeModel, ImageData, InputError, Latents, SlotModel, as_bytes, to_uint8

from . import grid
from .grid import LIGHT, Theme

BLOCK = 64  # images decoded at once
Where = Literal["keys", "noise"]


class Model(GenerativeModel, Protocol):
    """A model the pictures can show: it draws images, may have a memory, and embeds images as queries."""

    if TYPE_CHECKING:  # a part of the module: see memogen.types.SlotModel

        @property
        def memory(self) -> MixtureMemory | None: ...

    def encode(self, image: Tensor) -> Float[Tensor, "b d"]: ...


def memory_of(model: object) -> MixtureMemory:
    """The model's mixture over slots. Raises InputError for a model without one."""
    memory = getattr(model, "memory", None)
    if not is_mixture(memory):
        raise InputError(f"memory: this {type(model).__name__} was built without a memory of slots to show: choose a model with memory")
    return memory


def with_queries(model: object) -> Model | None:
    """The model where it embeds images as queries of a mixture over slots; None for any other."""
    return cast(Model, model) if is_mixture(getattr(model, "memory", None)) else None


@torch.no_grad()
def draw(model: GenerativeModel, latents: Latents) -> UInt8[Tensor, "b c h w"]:
    """Decode latents block by block."""
    num = len(latents.noise)
    blocks = [model.decode(latents.take(slice(start, start + BLOCK))) for start in range(0, num, BLOCK)]
    return torch.cat([to_uint8(block, model.image_range) for block in blocks])


def draw_samples(
    model: GenerativeModel,
    num: int,
    *,
    seed: int = 0,
    slot: int | None = None,
    label: int | None = None,
    weight: Float[Tensor, " k"] | None = None,
) -> UInt8[Tensor, "b c h w"]:
    """``num`` samples; see :meth:`GenerativeModel.latents`. ``weight`` draws the slots in place of the mass; InputError for a model without slots."""
    if weight is None:
        return draw(model, model.latents(num, label=label, slot=slot, seed=seed))
    if not isinstance(model, SlotModel) or label is not None:
        raise InputError(f"weight: it draws memory slots, which a {type(model).__name__} and a label have none of: leave it out")
    return draw(model, model.latents_at(torch.arange(num, device=weight.device), seed=seed, slot=slot, weight=weight))


def sample_grid(
    model: GenerativeModel,
    num: int = 64,
    *,
    seed: int = 0,
    slot: int | None = None,
    label: int | None = None,
    weight: Float[Tensor, " k"] | None = None,
    columns: int | None = None,
    theme: Theme = LIGHT,
) -> Image.Image:
    """``num`` samples (Fig. 4), from one ``slot``, of one ``label`` or by ``weight`` where given, in a square unless ``columns`` says otherwise."""
    if num < 1:
        raise InputError(f"samples: {num} asked for: ask for at least one")
    images = draw_samples(model, num, seed=seed, slot=slot, label=label, weight=weight)
    return grid.grid(images, columns or math.ceil(math.sqrt(num)), theme=theme)


def neighbours(model: GenerativeModel, data: ImageData, *, num: int = 8, nearest: int = 7, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """Each of ``num`` samples, framed, beside its ``nearest`` images of ``data``: by the cosine of q (Fig. 5), or in pixels without a memory."""
    from memogen.metrics.copies import Embedding, Measure, nearest_images, pixels  # here, since all other pictures do without the metrics

    images = draw_samples(model, num, seed=seed)
    asked = with_queries(model)
    embed: Embedding = asked.encode if asked else pixels
    measure: Measure = "cosine" if asked else "euclidean"
    found = nearest_images(images, data, embed=embed, measure=measure, num=nearest)
    rows = [
        torch.cat([image[None], as_bytes(torch.from_numpy(data.image[near.cpu().numpy()])).to(image)])
        for image, near in zip(images, found.index, strict=True)
    ]
    captions = [f"{measure} {float(value[0]):.3f} to {float(value[-1]):.3f}" for value in found.value]
    return grid.sheet(rows, captions, lead=True, theme=theme)


def interpolation(model: Model, *, where: Where = "keys", slot: int | None = None, side: int = 8, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """``side`` x ``side`` images between four drawn corners, framed: Fig. 1 between keys, Figs. 6-7 in the noise of one slot.

    A model whose generator reads no key is interpolated in noise (the DCGAN panels of Fig. 1).
    """
    points = square(model, where=where, slot=slot, side=side, seed=seed)
    return grid.grid(points.images, side, framed=points.corners, theme=theme)


def interpolation_frames(model: Model, *, where: Where = "keys", slot: int | None = None, frames: int = 48, seed: int = 0) -> list[Image.Image]:
    """A round trip over the four corners of :func:`interpolation`, a picture a frame; :func:`memogen.report.grid.save_gif` writes them."""
    return grid.frames(round_trip(model, where=where, slot=slot, frames=frames, seed=seed)[1])


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
