"""The slots of a memory by meaning: an order in which neighbours on the sphere stand side by side, and a wall with an image of each slot in it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from memogen.memory.inspect import prior, written
from memogen.metrics.slots import SlotNames
from memogen.types import InputError, Latents

from . import grid
from .drawing import Model, draw, memory_of
from .theme import LIGHT, Theme

COLUMNS = 16
ROWS = 12


def by_likeness(keys: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """An order of the rows in which neighbours are alike: the leaves of an average-linkage tree, turned so that the way along them is shortest.

    After Bar-Joseph, Gifford and Jaakkola 2001, "Fast optimal leaf ordering for hierarchical clustering".
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(keys) < 3:
        return torch.arange(len(keys))
    return torch.from_numpy(leaves_list(linkage(keys.double().cpu().numpy(), method="average", optimal_ordering=True))).long()


def by_meaning(keys: Float[Tensor, "n d"], label: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Class after class, classes that are alike side by side, and within a class :func:`by_likeness`."""
    classes = label.unique()
    members = [(label == each).nonzero()[:, 0] for each in classes]
    middle = torch.stack([keys[rows].double().mean(0) for rows in members]) if members else keys[:0]
    return torch.cat([members[place][by_likeness(keys[members[place]])] for place in by_likeness(middle).tolist()] or [torch.arange(0)])


def slot_wall(model: Model, names: SlotNames | None = None, *, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """An image from the key of each of the heaviest real slots, all with the same noise, in their order by meaning.

    With ``names`` a row holds the :data:`COLUMNS` heaviest slots of a class, under its name, their number and their share of the prior: for the
    :data:`ROWS` heaviest classes. Slots without a name are left out. Raises InputError for a memory without real slots.
    """
    memory = memory_of(model)
    weight = prior(memory).cpu()
    real = ((memory.values > 0.5) & written(memory)).cpu()
    heavy = weight.masked_fill(~real, -1.0).sort(descending=True, stable=True).indices[: int(real.sum())]
    if not len(heavy):
        raise InputError("slot wall: the memory holds no real slot: train the model first")
    keys, noise = memory.keys.cpu(), model.latents(1, seed=seed).noise

    def images(slots: Int[Tensor, " n"]) -> Tensor:
        slots = slots[by_likeness(keys[slots])].to(noise.device)
        return draw(model, Latents(noise.expand(len(slots), -1), memory.keys[slots], slots))

    label = names.label[heavy] if names else torch.full_like(heavy, -1)
    rows = [heavy[label == each] for each in label.unique() if each >= 0]
    if not names or not rows:
        return grid.grid(images(heavy[: COLUMNS * ROWS]), COLUMNS, theme=theme)
    rows = sorted(rows, key=lambda slots: -float(weight[slots].sum()))[:ROWS]
    middle = torch.stack([keys[slots].mean(0) for slots in rows])
    rows = [rows[place] for place in by_likeness(middle).tolist()]
    captions = [f"{names.class_name(int(names.label[slots[0]]))}   slots {len(slots):,}   prior {float(weight[slots].sum()):.1%}" for slots in rows]
    return grid.sheet([images(slots[:COLUMNS]) for slots in rows], captions, theme=theme)
