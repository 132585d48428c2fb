"""From a data set's images to what the networks see: numbers, or black and white drawn anew for every epoch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ... import noise
from ...types import Pixels


def values(image: Pixels, levels: int, dtype: torch.dtype) -> Float[Tensor, "b c h w"]:
    """A byte v is v / ``levels``; floats stay what they are."""
    return image.to(dtype) / levels if image.dtype == torch.uint8 else image.to(dtype)


def binarised(image: Pixels, index: Int[Tensor, " b"], *, levels: int, seed: int, stream: int) -> Bool[Tensor, "b c h w"]:
    """Black and white (True), a pixel being white with the probability that its value is, by noise addressed by (seed, stream, index, pixel).

    As the global number of an image in training counts epochs too, every epoch is binarised anew (Li et al. 2016, section 5.1).
    """
    size = image[0].numel()
    if image.dtype == torch.uint8 and levels == 256:
        drawn = noise.bits(index, -(-size // 8), seed=seed, stream=stream).view(torch.uint8)  # a byte is below v with probability v / 256
        return drawn[:, :size].view(image.shape) < image
    return noise.uniform(index, size, seed=seed, stream=stream, dtype=torch.float32).view(image.shape) < values(image, levels, torch.float32)
