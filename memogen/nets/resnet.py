"""The paper's residual stacks for colour images: layer normalisation and ELU (Kim et al. 2018; after Gulrajani et al. 2017, appendix).

A WGAN-GP network with layer for batch normalisation and ELU for ReLU. At 32x32, width 128, keys of 512 and noise of 16 the two nets hold
4,128,259 parameters, the 4,128K of the paper.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from memogen.nets.conv import PooledHead
from memogen.nets.init import truncated_normal
from memogen.nets.norm import NormKind, ToRange, norm_layer
from memogen.nets.same import SameConv2d, Size, pyramid


def shrink(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c g v"]:
    """Means of 2x2 pixels; at an odd edge, of the pixels there are."""
    return F.avg_pool2d(image, 2, ceil_mode=True)


def grow(image: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b c g v"]:
    """Every pixel twice in both directions, cut to ``size``."""
    return F.interpolate(image, scale_factor=2.0, mode="nearest")[:, :, : size[0], : size[1]]


def spread(weight: Float[Tensor, "e c 3 3"]) -> Float[Tensor, "e c 4 4"]:
    """A 3x3 kernel summed over the four places of a 2x2 box: the kernel of the convolution of both."""
    wide = F.pad(weight, (0, 1)) + F.pad(weight, (1, 0))
    return F.pad(wide, (0, 0, 0, 1)) + F.pad(wide, (0, 0, 1, 0))


def shrunk_conv(conv: SameConv2d, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e g v"]:
    """``shrink(conv(image))`` for a 3x3 convolution; at even sizes as one 4x4 convolution of stride 2, for less than half the work."""
    if image.shape[2] % 2 or image.shape[3] % 2:
        return shrink(conv(image))
    return F.conv2d(image, spread(conv.weight) / 4, conv.bias, stride=2, padding=1)


def grown_conv(conv: SameConv2d, image: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b e g v"]:
    """``conv(grow(image, size))`` for a 3x3 convolution; where nothing is cut, as one transposed 4x4 convolution."""
    if size != (2 * image.shape[2], 2 * image.shape[3]):
        return conv(grow(image, size))
    return F.conv_transpose2d(image, spread(conv.weight.flip(2, 3)).transpose(0, 1), conv.bias, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """conv, norm, ELU, conv, plus the shortcut; norm, ELU. Shapes stay."""

    def __init__(self, width: int, norm: NormKind = "layer") -> None:
        super().__init__()
        self.first = SameConv2d(width, width, 3)
        self.inner_norm = norm_layer(norm, width)
        self.second = SameConv2d(width, width, 3)
        self.outer_norm = norm_layer(norm, width)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        inner = F.elu(self.inner_norm(self.first(image)), inplace=True)
        return F.elu(self.outer_norm(self.second(inner) + image), inplace=True)


class DownBlock(nn.Module):
    """A residual block to half the size (rounded up). The first block of a critic, ``stem``, has no norm inside.

    The 1x1 shortcut is taken after the pooling: both are linear and a pooling keeps constants, so the order does not change the result, and
    this one costs a quarter.
    """

    def __init__(self, in_channels: int, width: int, norm: NormKind = "layer", *, stem: bool = False) -> None:
        super().__init__()
        self.first = SameConv2d(in_channels, width, 3)
        self.inner_norm = norm_layer("none" if stem else norm, width)
        self.second = SameConv2d(width, width, 3)
        self.shortcut = SameConv2d(in_channels, width, 1)
        self.outer_norm = norm_layer(norm, width)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e g v"]:
        inner = F.elu(self.inner_norm(self.first(image)), inplace=True)
        return F.elu(self.outer_norm(shrunk_conv(self.second, inner) + self.shortcut(shrink(image))), inplace=True)


class UpBlock(nn.Module):
    """A residual block to twice the size, cut to ``size``. The 1x1 shortcut is taken before the growing, at a quarter of the cost."""

    def __init__(self, width: int, size: Size, norm: NormKind = "layer") -> None:
        super().__init__()
        self.size = size
        self.first = SameConv2d(width, width, 3)
        self.inner_norm = norm_layer(norm, width)
        self.second = SameConv2d(width, width, 3)
        self.shortcut = SameConv2d(width, width, 1)
        self.outer_norm = norm_layer(norm, width)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c g v"]:
        inner = F.elu(self.inner_norm(grown_conv(self.first, image, self.size)), inplace=True)
        return F.elu(self.outer_norm(self.second(inner) + grow(self.shortcut(image), self.size)), inplace=True)


class ResNetCritic(nn.Module):
    """Images (b, c, h, w) to raw features (b, pooled_dim + out_dim): halve to 8x8 or less, two blocks, then conv(out_dim,4,2) and its mean.

    ``pooled_dim``: numbers that come before the head's, a linear map of each channel's mean over space.
    """

    def __init__(self, image_shape: tuple[int, int, int], out_dim: int, *, pooled_dim: int = 0, width: int = 128, norm: NormKind = "layer") -> None:
        super().__init__()
        levels = len(pyramid(image_shape[1:], largest=8, fewest=1)) - 1
        downs = [DownBlock(image_shape[0], width, norm, stem=True), *(DownBlock(width, width, norm) for _ in range(levels - 1))]
        self.body = nn.Sequential(*downs, ResidualBlock(width, norm), ResidualBlock(width, norm))
        self.head = SameConv2d(width, out_dim, 4, 2)
        self.pooled = PooledHead(width, pooled_dim) if pooled_dim else None
        truncated_normal(self)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out"]:
        found = self.body(image)
        features: Tensor = self.head(found).mean((2, 3))
        return features if self.pooled is None else torch.cat([self.pooled(found), features], 1)


class ResNetGenerator(nn.Module):
    """Codes (b, code_dim) to images (b, c, h, w) in ``image_range``: a 4x4 map (or less), then one block up per doubling, conv(c,3,1)."""

    def __init__(
        self,
        code_dim: int,
        image_shape: tuple[int, int, int],
        *,
        width: int = 128,
        norm: NormKind = "layer",
        image_range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        self.image_range = image_range
        base, *sizes = pyramid(image_shape[1:], largest=4, fewest=1)[::-1]
        self.foot = nn.Sequential(
            nn.Linear(code_dim, width * base[0] * base[1]), nn.Unflatten(1, (width, *base)), norm_layer(norm, width), nn.ELU(inplace=True)
        )
        self.body = nn.Sequential(*(UpBlock(width, size, norm) for size in sizes))
        self.head = nn.Sequential(SameConv2d(width, image_shape[0], 3), ToRange(image_range))
        truncated_normal(self)

    def forward(self, code: Float[Tensor, "b code"]) -> Float[Tensor, "b c h w"]:
        image: Tensor = self.head(self.body(self.foot(code)))
        return image
