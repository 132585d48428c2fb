"""Pictures of a model: a function takes the model, draws and returns a PIL picture. The same model and seed give the same pixels.

The pictures are those of Kim, Kim and Kim (ICLR 2018): Fig. 1 :func:`interpolation`, Fig. 3b :func:`posterior`, Fig. 4 :func:`sample_grid`,
Fig. 5 :func:`neighbours`, Figs. 6-7 :func:`interpolation` in noise. The charts over training are in :mod:`memogen.report.charts`.
Every function leaves the model as it was; those about slots raise InputError for a model without memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from memogen.memory.inspect import SlotRow, prior, slot_posterior, spread_slots
from memogen.memory.vmf import VMFMemory
from memogen.metrics.copies import Embedding, Measure, nearest_images, pixels
from memogen.metrics.slots import SlotNames
from memogen.models import MemoryGAN
from memogen.types import GenerativeModel, ImageData, InputError, as_bytes

from . import grid
from .drawing import Model, draw_samples, memory_of
from .interpolation import Where, round_trip, square
from .theme import LIGHT, Theme
from .wall import by_meaning


def sample_grid(
    model: GenerativeModel,
    num: int = 64,
    *,
    seed: int = 0,
    slot: int | None = None,
    label: int | None = None,
    columns: int | None = None,
    theme: Theme = LIGHT,
) -> Image.Image:
    """``num`` samples (Fig. 4), from one ``slot`` or of one ``label`` where given, in a square unless ``columns`` says otherwise."""
    if num < 1:
        raise InputError(f"samples: {num} asked for: ask for at least one")
    images = draw_samples(model, num, seed=seed, slot=slot, label=label)
    return grid.grid(images, columns or math.ceil(math.sqrt(num)), theme=theme)


def slot_sheet(
    model: Model,
    slots: Sequence[int] | None = None,
    *,
    names: SlotNames | None = None,
    num_slots: int = 10,
    num_noises: int = 8,
    seed: int = 0,
    theme: Theme = LIGHT,
) -> Image.Image:
    """Each row one slot, each column one noise: does the slot fix what is drawn, and the noise how?

    Without ``slots``, ``num_slots`` real ones evenly spaced from the heaviest to the lightest, in their order by meaning. Captions: number, name of
    ``names``, mass, age in writes, share of the prior.
    """
    memory = memory_of(model)
    rows = _by_meaning(spread_slots(memory, num_slots), memory, names) if slots is None else tuple(_row(model, slot) for slot in slots)
    if not rows:
        raise InputError("slot sheet: the memory holds no real slot: train the model first")
    images = [draw_samples(model, num_noises, seed=seed, slot=row.slot) for row in rows]
    return grid.sheet(images, [_caption(row, names) for row in rows], theme=theme)


def interpolation(model: Model, *, where: Where = "keys", slot: int | None = None, side: int = 8, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """``side`` x ``side`` images between four drawn corners, framed: Fig. 1 between keys, Figs. 6-7 in the noise of one slot.

    A model whose generator reads no key is interpolated in noise (the DCGAN panels of Fig. 1).
    """
    points = square(model, where=where, slot=slot, side=side, seed=seed)
    return grid.grid(points.images, side, framed=points.corners, theme=theme)


def interpolation_frames(model: Model, *, where: Where = "keys", slot: int | None = None, frames: int = 48, seed: int = 0) -> list[Image.Image]:
    """A round trip over the four corners of :func:`interpolation`, a picture a frame; :func:`memogen.report.grid.save_gif` writes them."""
    return grid.frames(round_trip(model, where=where, slot=slot, frames=frames, seed=seed)[1])


@torch.no_grad()
def posterior(
    model: Model, image: UInt8[Tensor, "c h w"], *, names: SlotNames | None = None, num: int = 9, seed: int = 0, theme: Theme = LIGHT
) -> Image.Image:
    """p(c | image) of the ``num`` best real slots as bars, each over an image drawn from its slot and its name (Fig. 3b); one noise for all."""
    memory = memory_of(model)
    found = slot_posterior(memory, model.encode(image[None].to(memory.keys.device)), num)
    if not found.slots:
        raise InputError("posterior: the memory holds no real slot: train the model first")
    images = torch.cat([draw_samples(model, 1, seed=seed, slot=slot) for slot in found.slots])
    notes = (f"other real slots {found.other_real:.1%}", f"fake slots {found.fake:.1%}")
    captions = [f"slot {slot}\n{names[slot]}" if names else f"slot {slot}" for slot in found.slots]
    return grid.bars(images, found.probability, captions, lead=image, notes=notes, theme=theme)


def neighbours(model: GenerativeModel, data: ImageData, *, num: int = 8, nearest: int = 7, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """Each of ``num`` samples, framed, beside its ``nearest`` images of ``data``: by the cosine of q (Fig. 5), or in pixels without a memory."""
    images = draw_samples(model, num, seed=seed)
    embed, measure = _embedding(model)
    found = nearest_images(images, data, embed=embed, measure=measure, num=nearest)
    rows = [
        torch.cat([image[None], as_bytes(torch.from_numpy(data.image[near.cpu().numpy()])).to(image)])
        for image, near in zip(images, found.index, strict=True)
    ]
    captions = [f"{measure} {float(value[0]):.3f} to {float(value[-1]):.3f}" for value in found.value]
    return grid.sheet(rows, captions, lead=True, theme=theme)


def _embedding(model: GenerativeModel) -> tuple[Embedding, Measure]:
    """The queries of a model with a memory, else the pixels."""
    if isinstance(model, MemoryGAN) and model.memory is not None:
        return model.encode, "cosine"
    return pixels, "euclidean"


def _row(model: Model, slot: int) -> SlotRow:
    memory = memory_of(model)
    if not 0 <= slot < len(memory.values):
        raise InputError(f"slot {slot}: the memory has {len(memory.values)} slots: name one of 0 to {len(memory.values) - 1}")
    value = int(memory.values[slot] > 0.5)
    return SlotRow(slot, value, float(memory.mass[slot]), int(memory.age[slot]), float(prior(memory, value=value)[slot]))


def _by_meaning(rows: Sequence[SlotRow], memory: VMFMemory, names: SlotNames | None) -> tuple[SlotRow, ...]:
    slots = torch.tensor([row.slot for row in rows], dtype=torch.long)
    label = torch.zeros_like(slots) if names is None else names.label[slots]
    return tuple(rows[place] for place in by_meaning(memory.keys.cpu()[slots], label).tolist())


def _caption(row: SlotRow, names: SlotNames | None) -> str:
    kind = "" if row.value else " (fake)"
    name = f"   {names[row.slot]}" if names and names[row.slot] else ""
    return f"slot {row.slot}{kind}{name}   mass {row.mass:.3g}   age {row.age}   prior {row.prior:.2%}"
