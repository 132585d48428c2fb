"""Where convolutions meet flat features: images to vectors, vectors to maps of an image's size, and maps to a few numbers."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from memogen.nets.norm import norm_layer
from memogen.nets.same import SameConv2d, SameConvTranspose2d, pyramid

_SMALLEST = 7  # sides are halved until none is longer


class ConvStem(nn.Module):
    """Images (b, c, h, w) to vectors (b, ``out_dim``): convolutions that halve the sides, the channels doubling from ``width``, layer norm, ReLU."""

    def __init__(self, image_shape: tuple[int, int, int], *, width: int) -> None:
        super().__init__()
        channels, *size = image_shape
        sizes = pyramid((size[0], size[1]), largest=_SMALLEST, fewest=1)
        layers: list[nn.Module] = []
        for level in range(len(sizes) - 1):
            wide = width * 2**level
            layers += [SameConv2d(channels, wide, 4, 2), norm_layer("layer", wide), nn.ReLU(inplace=True)]
            channels = wide
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.out_dim = channels * math.prod(sizes[-1])

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        flat: Tensor = self.body(image)
        return flat


class ConvTail(nn.Module):
    """Vectors (b, in_dim) to maps (b, c, h, w) of any numbers: the mirror image of :class:`ConvStem`."""

    def __init__(self, in_dim: int, map_shape: tuple[int, int, int], *, width: int) -> None:
        super().__init__()
        channels, *size = map_shape
        sizes = pyramid((size[0], size[1]), largest=_SMALLEST, fewest=1)[::-1]
        wide = width * 2 ** (len(sizes) - 2)
        layers: list[nn.Module] = [nn.Linear(in_dim, wide * math.prod(sizes[0])), nn.Unflatten(1, (wide, *sizes[0]))]
        for larger in sizes[1:-1]:
            layers += [norm_layer("layer", wide), nn.ReLU(inplace=True), SameConvTranspose2d(wide, wide // 2, 4, 2, size=larger)]
            wide //= 2
        self.body = nn.Sequential(
            *layers, norm_layer("layer", wide), nn.ReLU(inplace=True), SameConvTranspose2d(wide, channels, 4, 2, size=sizes[-1])
        )

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        maps: Tensor = self.body(x)
        return maps


class PooledHead(nn.Linear):
    """A linear map of the means over space: maps (b, c, h, w) to (b, out). It has few parameters, so critics of equal size have like bodies."""

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out"]:
        return super().forward(maps.mean((2, 3)))
