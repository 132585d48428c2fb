"""The authors' initial weights."""

from __future__ import annotations

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
