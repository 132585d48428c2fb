"""Does a memory still hold what it was shown long ago? Asked with held-out images, class by class, by a model that was never told the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from memogen.evaluation.features import Extractor
from memogen.evaluation.stream import device_of
from memogen.types import ImageData, InputError, SlotModel, to_uint8

_BLOCK = 250


@dataclass(frozen=True)
class SlotRecall:
    """Of the images of one class: the share ``recalled`` whose most probable real slot draws an image of their class, and the share ``recognised``
    whose most probable slot of all is a real one.
    """

    label: int
    recalled: float
    recognised: float


@torch.no_grad()
def slot_recall(model: SlotModel, data: ImageData, extractor: Extractor, *, seed: int = 0) -> list[SlotRecall]:
    """For every class in ``data``; image i is drawn with noise i of ``seed``. Raises InputError for a generator that reads no slot."""
    if model.memory is None or model.latents(1).slot is None:
        raise InputError("slot recall: the generator of this model reads no memory slot: use a model with memory")
    assert data.label is not None, "held-out images come with labels"
    recalled, recognised = list[Tensor](), list[Tensor]()
    for start in range(0, len(data), _BLOCK):
        image = torch.from_numpy(np.array(data.image[start : start + _BLOCK])).to(model.memory.keys.device)
        posterior = model.memory.posterior(model.encode(image))
        real = model.memory.values > 0.5
        recognised.append(real[posterior.argmax(1)].cpu())
        index = torch.arange(start, start + len(image), device=model.memory.keys.device)
        drawn = _drawn(model, posterior.masked_fill(~real, -1).argmax(1), index, seed)
        recalled.append(extractor(drawn.to(device_of(extractor))).argmax(1).cpu())
    right, known = torch.cat(recalled).numpy() == data.label, torch.cat(recognised).numpy()
    return [
        SlotRecall(int(label), float(right[data.label == label].mean()), float(known[data.label == label].mean())) for label in np.unique(data.label)
    ]


def _drawn(model: SlotModel, slots: Int[Tensor, " b"], index: Int[Tensor, " b"], seed: int) -> Tensor:
    """An image from each of the slots, as uint8."""
    return to_uint8(model.decode(model.latents_at(index, seed=seed, slot=slots)), model.image_range)
