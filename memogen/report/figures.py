"""Pictures of a model, as PIL pictures. The same model and seed give the same pixels, and the model stays unchanged.

Of Kim, Kim and Kim (ICLR 2018): Fig. 1 :func:`interpolation`, Fig. 4 :func:`sample_grid`, Fig. 5 :func:`neighbours`, Figs. 6-7
:func:`interpolation` in noise. :func:`square` and :func:`round_trip` are paths through latent space, :func:`by_meaning` is an order of slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from memogen.memory.functional import slerp
from memogen.memory.inspect import best_slots
from memogen.memory.protocol import MixtureMemory, is_mixture
from memogen.types import GenerativeModel, ImageData, InputError, Latents, SlotModel, as_bytes, to_uint8

from . import grid
from .grid import LIGHT, Theme

if TYPE_CHECKING:
    from memogen.metrics.novelty import NoveltyScore

TURNED = 600  # rows of a tree whose leaves are put in the best order, which takes cubic time
BLOCK = 64  # images decoded at once
Where = Literal["keys", "noise"]


class Model(GenerativeModel, Protocol):
    """A model that draws images, may have a memory, and encodes images as queries."""

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
    """The model if it encodes images as queries of a mixture over slots, else None."""
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
    """``num`` samples; see :meth:`GenerativeModel.latents`. ``weight`` replaces the mass of the slots; InputError for a model without slots."""
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
    """``num`` samples (Fig. 4), in a square unless ``columns`` is given; ``slot``, ``label`` and ``weight`` as in :func:`draw_samples`."""
    if num < 1:
        raise InputError(f"samples: {num} asked for: ask for at least one")
    images = draw_samples(model, num, seed=seed, slot=slot, label=label, weight=weight)
    return grid.grid(images, columns or math.ceil(math.sqrt(num)), theme=theme)


def neighbours(model: GenerativeModel, data: ImageData, *, num: int = 8, nearest: int = 7, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """Each of ``num`` samples, framed, beside its ``nearest`` images of ``data``: by the cosine of queries (Fig. 5), or without memory in pixels."""
    from memogen.metrics.copies import Embedding, Measure, nearest_images, pixels  # here, as no other picture needs the metrics

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


def novelty_sheet(score: NoveltyScore, known: ImageData, others: ImageData, *, num: int = 10, theme: Theme = LIGHT) -> Image.Image:
    """Three rows of at most ``num`` images: the known ones with the lowest scores, and the others with the lowest and with the highest scores."""
    rows = []
    for data, scores in ((known, score.known), (others, score.others), (others, -score.others)):
        order = scores.sort(stable=True).indices[:num].numpy()
        rows.append(as_bytes(torch.from_numpy(np.array(data.image[order]))))
    captions = [f"{known.name} {known.split}: the strangest", f"{others.name}: the strangest", f"{others.name}: the most like {known.name}"]
    return grid.sheet(rows, captions, theme=theme)


def interpolation(model: Model, *, where: Where = "keys", slot: int | None = None, side: int = 8, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """``side`` x ``side`` images between four drawn corners, framed: Fig. 1 between keys, Figs. 6-7 in the noise of one slot.

    A model whose generator reads no key is interpolated in noise (the DCGAN panels of Fig. 1).
    """
    points = square(model, where=where, slot=slot, side=side, seed=seed)
    return grid.grid(points.images, side, framed=points.corners, theme=theme)


def interpolation_frames(model: Model, *, where: Where = "keys", slot: int | None = None, frames: int = 48, seed: int = 0) -> list[Image.Image]:
    """A round trip over the four corners of :func:`interpolation`, enlarged; :func:`memogen.report.grid.save_gif` writes the frames."""
    images = round_trip(model, where=where, slot=slot, frames=frames, seed=seed)[1]
    return [grid.tile(image, 3 * grid.scale_for(*images.shape[-2:])) for image in images]


@dataclass(frozen=True)
class Square:
    """``latents`` and uint8 ``images`` of side * side points, row by row; the points at ``corners`` are the drawn latents themselves.

    ``where`` is what was interpolated: always noise for a model that reads no key.
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
    """The latents at points of the square, given by their bilinear weights.

    Noise is mixed linearly. Keys move on the sphere, along the upper and the lower side and then between these. In "keys" a point has the real slot
    with the highest posterior at its key; in "noise", the slot of the nearest corner. The label is that of the nearest corner.
    """
    weights = weights.to(corners.noise)
    nearest = weights.argmax(-1)
    noise = weights @ corners.noise
    slot = None if corners.slot is None else corners.slot[nearest]
    key = None
    if corners.key is not None:
        top_left, top_right, bottom_left, bottom_right = (corner.expand(len(weights), -1) for corner in corners.key)
        right, down = (weights.to(corners.key)[:, places].sum(1) for places in ([1, 3], [2, 3]))
        key = slerp(slerp(top_left, top_right, right), slerp(bottom_left, bottom_right, right), down)
    if where == "keys":
        assert model.memory is not None and key is not None
        slot = best_slots(model.memory, key)
    return Latents(noise, key, slot, None if corners.label is None else corners.label[nearest])


def square(model: Model, *, where: Where = "keys", slot: int | None = None, side: int = 8, seed: int = 0) -> Square:
    """``side`` x ``side`` points between four drawn corners (Fig. 1; in "noise" inside one slot, Figs. 6-7)."""
    if side < 2:
        raise InputError(f"interpolate: the side is {side}: a square between four corners needs at least 2")
    drawn, where = corner_latents(model, where=where, slot=slot, seed=seed)
    at = (0, side - 1, side * (side - 1), side * side - 1)

    def put(mixed: Tensor, corner: Tensor) -> Tensor:
        mixed = mixed.clone()
        mixed[list(at)] = corner
        return mixed

    points = between(model, drawn, corner_weights(side), where)
    key = put(points.key, drawn.key) if points.key is not None and drawn.key is not None else points.key
    slots = put(points.slot, drawn.slot) if points.slot is not None and drawn.slot is not None else points.slot
    # The drawn latents stand at the corners: a key may lie closer to a heavier slot than to its own.
    points = replace(points, noise=put(points.noise, drawn.noise), key=key, slot=slots)
    images = draw(model, points)
    images[list(at)] = draw(model, drawn)  # bit for bit what the corner gives by itself, whatever the batch
    return Square(points, images, side, at, where)


def round_trip(model: Model, *, where: Where = "keys", slot: int | None = None, frames: int = 48, seed: int = 0) -> tuple[Latents, Tensor]:
    """Latents and uint8 images of a closed walk over the four corners of :func:`square`."""
    drawn, where = corner_latents(model, where=where, slot=slot, seed=seed)
    points = between(model, drawn, loop_weights(frames), where)
    return points, draw(model, points)


def by_likeness(keys: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """An order of the rows in which neighbours are alike: the leaves of an average-linkage tree, in the order with the shortest path along them.

    After Bar-Joseph, Gifford and Jaakkola 2001, "Fast optimal leaf ordering for hierarchical clustering"; with more than :data:`TURNED` rows the
    leaves keep the order of the tree.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(keys) < 3:
        return torch.arange(len(keys))
    return torch.from_numpy(leaves_list(linkage(keys.double().cpu().numpy(), method="average", optimal_ordering=len(keys) <= TURNED))).long()


def by_meaning(keys: Float[Tensor, "n d"], label: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """An order of the rows: class after class, classes that are alike side by side, and within a class :func:`by_likeness`."""
    classes = label.unique()
    members = [(label == each).nonzero()[:, 0] for each in classes]
    middle = torch.stack([keys[rows].double().mean(0) for rows in members]) if members else keys[:0]
    return torch.cat([members[place][by_likeness(keys[members[place]])] for place in by_likeness(middle).tolist()] or [torch.arange(0)])
