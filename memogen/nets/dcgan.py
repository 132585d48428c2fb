"""The paper's convolutional stacks, sized from the data (Kim et al. 2018, appendix and the authors' code; after Radford et al. 2016).

Sizes halve with SAME padding (28, 14, 7, 4), so any image size works and the generator mirrors the critic exactly. ``pointwise`` gives the
affine-MNIST stack, with a 1x1 convolution after every level and no hidden layer before the generator's first map.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memogen.nets.conv import PooledHead
from memogen.nets.init import truncated_normal
from memogen.nets.norm import NormKind, ToRange, norm_layer, shifted_norm
from memogen.nets.same import SameConv2d, SameConvTranspose2d, pyramid


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int, norm: NormKind) -> list[nn.Module]:
    layer = SameConv2d(in_channels, out_channels, kernel, stride, bias=norm != "batch")
    return [layer, norm_layer(norm, out_channels), _leaky()]


class DCGANCritic(nn.Module):
    """Images (b, c, h, w) to raw features (b, pooled_dim + out_dim).

    28x28: conv(64,4,2) conv(128,4,2) conv(256,4,2), then the head conv(out_dim,4,4) over the whole map, at the default width; normalised from the
    second level on. ``pooled_dim``: numbers that come before the head's, a linear map of each channel's mean over space. ``head_norm``: batch norm of
    the head's numbers, which takes the place of their bias.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        out_dim: int,
        *,
        pooled_dim: int = 0,
        width: int = 64,
        norm: NormKind = "batch",
        pointwise: bool = False,
        head_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        sizes = pyramid((height, breadth), largest=5, fewest=2)
        layers = _conv(channels, width, 4, 2, "none")
        for level in range(1, len(sizes) - 1):
            wide = width * 2**level
            layers += _conv(wide // 2, wide, 4, 2, norm)
            layers += _conv(wide, wide, 1, 1, norm) if pointwise else []
        self.body = nn.Sequential(*layers)
        last = width * 2 ** (len(sizes) - 2)
        # a convolution over the whole map, several times faster as a matrix product
        linear = nn.Linear(last * sizes[-1][0] * sizes[-1][1], out_dim, bias=not head_norm)
        self.head = nn.Sequential(nn.Flatten(), linear, *([shifted_norm(out_dim)] if head_norm else []))
        self.pooled = PooledHead(last, pooled_dim) if pooled_dim else None
        truncated_normal(self)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out"]:
        found = self.body(image)
        features: Tensor = self.head(found)
        return features if self.pooled is None else torch.cat([self.pooled(found), features], 1)


class DCGANGenerator(nn.Module):
    """Codes (b, code_dim) to images (b, c, h, w) in ``image_range``.

    28x28: fc 1024, fc 128*7*7, deconv(128,4,2), deconv(c,4,2) at the default width. ``hidden`` None: sixteen times the width, or no hidden
    layer where ``pointwise``.
    """

    def __init__(
        self,
        code_dim: int,
        image_shape: tuple[int, int, int],
        *,
        width: int = 64,
        norm: NormKind = "batch",
        pointwise: bool = False,
        hidden: int | None = None,
        image_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        self.image_range = image_range
        sizes = pyramid((height, breadth), largest=7, fewest=1)[::-1]
        wide = width * 2 ** (len(sizes) - 2)
        self.foot = _foot(code_dim, (wide, *sizes[0]), 16 * width * (not pointwise) if hidden is None else hidden, norm, leaky=pointwise)
        layers: list[nn.Module] = []
        for size in sizes[1:-1]:
            narrow = wide // 2 if pointwise else max(wide // 2, 2 * width)
            layers += _grow(wide, narrow, size, norm, pointwise)
            wide = narrow
        self.body = nn.Sequential(*layers, SameConvTranspose2d(wide, channels, 4, 2, size=sizes[-1]), ToRange(image_range))
        truncated_normal(self)

    def forward(self, code: Float[Tensor, "b code"]) -> Float[Tensor, "b c h w"]:
        image: Tensor = self.body(self.foot(code))
        return image


def _foot(code_dim: int, shape: tuple[int, int, int], hidden: int, norm: NormKind, *, leaky: bool) -> nn.Sequential:
    """The code to the generator's first map, by way of a hidden layer where ``hidden`` is positive."""
    channels, height, breadth = shape
    bias = norm != "batch"
    first = [nn.Linear(code_dim, hidden, bias=bias), norm_layer(norm, hidden, flat=True), _leaky()] if hidden else []
    second = nn.Linear(hidden or code_dim, channels * height * breadth, bias=bias)
    normed = [norm_layer(norm, second.out_features, flat=True), nn.Unflatten(1, shape)]  # every unit by itself, as a fully connected layer has it
    return nn.Sequential(*first, second, *normed, _leaky() if leaky else nn.ReLU(inplace=True))


def _grow(wide: int, narrow: int, size: tuple[int, int], norm: NormKind, pointwise: bool) -> list[nn.Module]:
    """One level up to ``size``."""
    bias = norm != "batch"
    layers: list[nn.Module] = [
        SameConvTranspose2d(wide, narrow, 4, 2, size=size, bias=bias),
        norm_layer(norm, narrow),
        nn.ReLU(inplace=True),
    ]
    if pointwise:
        layers += [SameConv2d(narrow, narrow, 1, bias=bias), norm_layer(norm, narrow), nn.ReLU(inplace=True)]
    return layers
