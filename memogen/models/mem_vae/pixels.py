"""From a data set's images to what the networks see: numbers, or black and white drawn anew for every epoch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ... import noise
from ...types import Pixels


def values(image: Pixels, levels: int) -> Float[Tensor, "b c h w"]:
    """A byte v is v / ``levels``; floats stay what they are."""
    return image.to(torch.get_default_dtype()) / levels if image.dtype == torch.uint8 else image


def binarised(image: Pixels, index: Int[Tensor, " b"], *, levels: int, seed: int, stream: int) -> Float[Tensor, "b c h w"]:
    """Black and white (0 and 1), a pixel being white with the probability that its value is, by noise addressed by (seed, stream, index, pixel).

    As the global number of an image in training counts epochs too, every epoch is binarised anew (Li et al. 2016, section 5.1).
    """
    flat = image.flatten(1)
    if image.dtype == torch.uint8 and levels == 256:
        drawn = noise.bits(index, -(-flat.shape[1] // 8), seed=seed, stream=stream).view(torch.uint8)  # a byte is below v with probability v / 256
        white = drawn[:, : flat.shape[1]] < flat
    else:
        white = noise.uniform(index, flat.shape[1], seed=seed, stream=stream, dtype=torch.float32) < values(flat, levels)
    return white.to(torch.get_default_dtype()).view(image.shape)
