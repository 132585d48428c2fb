"""What images of one slot have in common: how much of colours, pixels and a classifier's features lies between slots, for images and for samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memogen.evaluation.clusters import variance_between
from memogen.evaluation.features import Extractor
from memogen.evaluation.slot_knowledge import BLOCK, Placed
from memogen.evaluation.stream import device_of
from memogen.evaluation.work import Work
from memogen.models import MemoryGAN
from memogen.types import to_uint8

IMAGES = 2000  # and as many samples, at most

Views = dict[str, Tensor]
"""Rows, one for each image, by what they are of."""


@dataclass(frozen=True)
class Contents:
    """The slots of some images, and rows of numbers for each image by what they are of."""

    slot: Int[Tensor, " n"]
    views: Mapping[str, Float[Tensor, "n _"]]

    @property
    def num_slots(self) -> int:
        """How many different slots there are."""
        return len(self.slot.unique())

    def between(self) -> dict[str, float]:
        """The share of the variance of each view that lies between slots."""
        return {name: variance_between(rows, self.slot) for name, rows in self.views.items()}


def image_contents(asked: Placed, *, judge: Extractor | None = None, num: int = IMAGES, work: Work | None = None) -> Contents:
    """The first ``num`` of the images, each with its most probable real slot; ``judge`` adds its features to the views."""
    slot = asked.slot[:num]

    def look(start: int, size: int) -> Views:
        return _views(judge, torch.from_numpy(np.array(asked.images.image[start : start + size])))

    return Contents(slot, _gathered(work or Work(), "images", len(slot), look))


@torch.no_grad()
def sample_contents(
    model: MemoryGAN, *, judge: Extractor | None = None, num: int = IMAGES, seed: int = 0, work: Work | None = None
) -> Contents | None:
    """``num`` samples, each with the slot that it was drawn from; None where the generator reads none."""
    if model.memory is None or not model.config.conditional:
        return None

    def look(start: int, size: int) -> Views:
        latents = model.latents(size, seed=seed, start=start)
        assert latents.slot is not None  # as the generator is conditioned on them
        return {"slot": latents.slot, **_views(judge, to_uint8(model.decode(latents), model.image_range))}

    views = _gathered(work or Work(), "samples", num, look)
    return Contents(views.pop("slot"), views)


def _gathered(work: Work, name: str, num: int, look: Callable[[int, int], Views]) -> Views:
    """All rows of what ``look`` says of the images start to start + size - 1."""
    found = list[Views]()
    for turn in work.rounds(name, num, BLOCK):
        found.append({each: work.processes.gather(rows, turn).cpu() for each, rows in look(turn.start, turn.num).items()})
    return {each: torch.cat([part[each] for part in found]) for each in found[0]}


@torch.no_grad()
def _views(judge: Extractor | None, image: UInt8[Tensor, "b c h w"]) -> Views:
    """The numbers that stand for an image."""
    plain = {"mean colours": image.double().mean((2, 3)), "pixels": image.flatten(1).double()}
    return plain if judge is None else {**plain, "the classifier's features": judge.features(image.to(device_of(judge))).double()}
