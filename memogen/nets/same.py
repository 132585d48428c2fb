"""Convolutions with TensorFlow's SAME padding, which the authors' stacks rely on: the output has ceil(size / stride) rows.

The padding is asymmetric where the sizes ask for it, the odd row going to the end. The transposed convolution is the exact adjoint, so a
generator can mirror a critic at every image size.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows to add before and after so that a convolution gives ceil(size / stride)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pyramid(size: Size, *, largest: int, fewest: int) -> list[Size]:
    """Sizes from ``size`` down by halving (rounded up): at least ``fewest`` halvings, then on until no side exceeds ``largest``."""
    sizes = [size]
    while len(sizes) <= fewest or max(sizes[-1]) > largest:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


class SameConv2d(nn.Conv2d):
    """Conv2d with SAME padding for any input size."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=bias)
        self.kernel, self.step = kernel, stride

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e g v"]:
        top, bottom = same_padding(image.shape[2], self.kernel, self.step)
        left, right = same_padding(image.shape[3], self.kernel, self.step)
        if (top, left) != (bottom, right):
            image = F.pad(image, (0, right - left, 0, bottom - top))  # the convolution itself pads evenly; only the odd rows are copied in
        return F.conv2d(image, self.weight, self.bias, self.step, (top, left))


class SameConvTranspose2d(nn.ConvTranspose2d):
    """The adjoint of :class:`SameConv2d`: from ceil(size / stride) rows back to ``size``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, *, size: Size, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=bias)
        self.size, self.step = size, stride
        self.pads = (same_padding(size[0], kernel, stride)[0], same_padding(size[1], kernel, stride)[0])

    def forward(self, image: Float[Tensor, "b c h w"], output_size: list[int] | None = None) -> Float[Tensor, "b e g v"]:
        whole = F.conv_transpose2d(image, self.weight, self.bias, self.step, self.pads)
        return whole[:, :, : self.size[0], : self.size[1]]
