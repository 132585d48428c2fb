"""The authors' initial weights."""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import nn


def truncated_normal(module: nn.Module, std: float = 0.02) -> None:
    """N(0, std^2) cut at two standard deviations for convolutions and linear layers, biases 0 (Kim et al. 2018, the authors' code).

    Normalisation layers keep gain 1 and shift 0.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def scaled_uniform(module: nn.Module, *, glorot: Collection[nn.Module] = ()) -> None:
    """Uniform of variance 4 / (fan in + fan out) for convolutions, 2 / (fan in + fan out) for linear layers and those in ``glorot``; biases 0.

    A stride divides the fan of the side that has the more pixels, in whole numbers (Wu et al. 2018, the authors' code, after Gulrajani et al. 2017).
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            gain = 2 if isinstance(part, nn.Linear) or part in glorot else 4
            bound = math.sqrt(3 * gain / sum(fans(part)))
            nn.init.uniform_(part.weight, -bound, bound)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def fans(part: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> tuple[int, int]:
    """(fan in, fan out)."""
    if isinstance(part, nn.Linear):
        return part.in_features, part.out_features
    area, step = math.prod(part.kernel_size), math.prod(part.stride)
    into, out = part.in_channels * area, part.out_channels * area
    return (into // step, out) if isinstance(part, nn.ConvTranspose2d) else (into, out // step)
