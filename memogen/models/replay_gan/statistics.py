"""Whose statistics normalise the images that a generator draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...nets.class_norm import ClassBatchNorm, Turns
from ...types import Latents


def known_classes(learned: Int[Tensor, " classes"]) -> tuple[int, ...]:
    """The slots that hold a class. Reads device memory."""
    return tuple((learned >= 0).nonzero()[:, 0].tolist())


def generate(generator: nn.Module, latents: Latents, turns: Turns) -> Float[Tensor, "b c h w"]:
    """Images of latents with or without classes; without, all are of one."""
    if latents.label is not None:
        image: Tensor = generator(latents.noise, latents.label, turns)
        return image
    nothing = torch.zeros_like(latents.noise[:, 0], dtype=torch.long)  # len() would fix the size of the batch in an exported graph
    return generator(latents.noise, nothing, None if turns is None else 1)


@contextmanager
def storing(generator: nn.Module, number: int) -> Iterator[None]:
    """Within, batch ``number``, counted from 0, joins the mean of the statistics that ``generator`` stores."""
    norms = [part for part in generator.modules() if isinstance(part, ClassBatchNorm)]
    for norm in norms:
        norm.momentum = 1 / (number + 1)
    try:
        yield
    finally:
        for norm in norms:
            norm.momentum = 0.0
