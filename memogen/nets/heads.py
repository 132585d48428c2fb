"""What a critic says beside its verdict."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class PooledHead(nn.Linear):
    """A linear map of the means over space: maps (b, c, h, w) to (b, out). It has few parameters, so critics of equal size have like bodies."""

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out"]:
        return super().forward(maps.mean((2, 3)))
