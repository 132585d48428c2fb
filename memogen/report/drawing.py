"""What the pictures ask of a model, and images drawn from it in fixed blocks as uint8."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from memogen.memory.vmf import VMFMemory
from memogen.types import GenerativeModel, InputError, Latents, to_uint8

BLOCK = 64  # images decoded at once


class Model(GenerativeModel, Protocol):
    """A model the pictures can show: it draws images, may have a memory, and embeds images as queries."""

    memory: VMFMemory | None

    def encode(self, image: Tensor) -> Float[Tensor, "b d"]: ...


def memory_of(model: Model) -> VMFMemory:
    """The model's memory. Raises InputError for a model without one."""
    if model.memory is None:
        raise InputError("memory: this model was built without a memory, so there are no slots to show: choose a model with memory")
    return model.memory


@torch.no_grad()
def draw(model: GenerativeModel, latents: Latents) -> UInt8[Tensor, "b c h w"]:
    """Decode latents block by block."""
    num = len(latents.noise)
    blocks = [model.decode(latents.take(slice(start, start + BLOCK))) for start in range(0, num, BLOCK)]
    return torch.cat([to_uint8(block, model.image_range) for block in blocks])


def draw_samples(model: GenerativeModel, num: int, *, seed: int = 0, slot: int | None = None, label: int | None = None) -> UInt8[Tensor, "b c h w"]:
    """``num`` samples; see :meth:`GenerativeModel.latents`."""
    return draw(model, model.latents(num, label=label, slot=slot, seed=seed))
