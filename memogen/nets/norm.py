"""Normalisation by name, and the output that a generator's image range asks for."""

from __future__ import annotations

from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

NormKind = Literal["batch", "layer", "none"]


def norm_layer(kind: NormKind, channels: int, *, flat: bool = False) -> nn.Module:
    """Normalisation of (b, channels, h, w), or of (b, channels) where ``flat``.

    "layer" is layer normalisation over (c, h, w) with a gain and a shift per channel; GroupNorm of one group is the same function with a
    fast kernel in both memory formats.
    """
    match kind:
        case "batch":
            # departs: the authors' layer has no gain (the ReLU after it makes one redundant) and averages over 1,000 steps, longer than a short run
            return nn.BatchNorm1d(channels, eps=1e-3) if flat else nn.BatchNorm2d(channels, eps=1e-3)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "none":
            return nn.Identity()
        case _:
            assert_never(kind)


class ToRange(nn.Module):
    """Any number into ``image_range``: tanh for (-1, 1), else a sigmoid stretched over the range."""

    def __init__(self, image_range: tuple[float, float]) -> None:
        super().__init__()
        low, high = image_range
        if not low < high:
            raise ValueError(f"image_range is {image_range}; the first number must be the smaller")
        self.low, self.high = low, high

    def forward(self, value: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if (self.low, self.high) == (-1, 1):
            return torch.tanh(value)
        unit = torch.sigmoid(value)
        return unit if (self.low, self.high) == (0, 1) else self.low + (self.high - self.low) * unit
