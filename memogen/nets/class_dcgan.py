"""The three-layer DCGAN of Memory Replay GANs (Wu et al. 2018; layers from the authors' code): 5x5 kernels of stride 2 with SAME padding.

At 32x32 in grey the generator holds 525,569 parameters and the critic 279,563; only 448 of them belong to a class in the generator.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from memogen.nets.class_norm import ClassBatchNorm, Turns, class_code
from memogen.nets.init import scaled_uniform

Conditioning = Literal["norm", "concat", "none"]
"""How a generator learns of the class: gains and shifts of its own, a one-hot code beside the noise, or not at all."""

Judgement = tuple[Tensor, Tensor | None]
"""The critic's scores (b,), and logits (b, classes) where it has a class head."""

LEVELS = 3
_LEAK = 0.2


class DoublingConv(nn.ConvTranspose2d):
    """A transposed 5x5 convolution of stride 2 with TensorFlow's SAME padding: to twice the size.

    Worked as a 3x3 convolution to four times the channels, one for each place in a 2x2 block, of which a pixel shuffle makes the larger image: the
    same numbers, several times faster on a CPU in bfloat16.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 5, 2)

    def forward(self, image: Float[Tensor, "b c h w"], output_size: list[int] | None = None) -> Float[Tensor, "b e g v"]:
        return _doubled(image, self.weight, self.bias)


def _doubled(image: Float[Tensor, "b c h w"], kernel: Float[Tensor, "c e 5 5"], bias: Tensor | None, *, mirrored: bool = False) -> Tensor:
    """The 3x3 convolution and the pixel shuffle. ``mirrored``: the adjoint of a convolution that pads two rows before an image and one after it.

    Row 2 m of the large image sums w1 x_m + w3 x_(m-1), row 2 m + 1 sums w0 x_(m+1) + w2 x_m + w4 x_(m-1); mirrored, w0 x_(m+1) + w2 x_m + w4 x_(m-1)
    and w1 x_(m+1) + w3 x_m.
    """
    into, out = kernel.shape[:2]
    ends = (0, 1) if mirrored else (1, 0)
    paired = F.pad(kernel, (*ends, *ends)).view(into, out, 3, 2, 3, 2)  # (0, w0), (w1, w2), (w3, w4) in both directions; or (w0, w1) to (w4, 0)
    blocks = paired.flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(4 * out, into, 3, 3)
    return F.pixel_shuffle(F.conv2d(image, blocks, None if bias is None else bias.repeat_interleave(4), padding=1), 2)


class ClassDCGANGenerator(nn.Module):
    """Noise (b, z) and classes (b,) to images (b, c, h, w) in [-1, 1]; sides must be multiples of 8."""

    def __init__(
        self, noise_dim: int, image_shape: tuple[int, int, int], num_classes: int, *, width: int = 32, conditioning: Conditioning = "norm"
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        self.num_classes, self.conditioning = num_classes, conditioning
        widths = [width * 2**level for level in range(LEVELS - 1, -1, -1)]
        self.base = (widths[0], height >> LEVELS, breadth >> LEVELS)
        self.foot = nn.Linear(noise_dim + num_classes * (conditioning == "concat"), widths[0] * self.base[1] * self.base[2])
        self.norms = nn.ModuleList(ClassBatchNorm(num_classes, wide, shared=conditioning != "norm") for wide in widths)
        self.convs = nn.ModuleList(DoublingConv(wide, narrow) for wide, narrow in zip(widths, [*widths[1:], channels], strict=True))
        scaled_uniform(self)

    def forward(self, noise: Float[Tensor, "b z"], label: Int[Tensor, " b"], turns: Turns = None) -> Float[Tensor, "b c h w"]:
        """``turns``: whose statistics normalise, see :mod:`memogen.nets.class_norm`."""
        code = torch.cat([noise, class_code(label, self.num_classes, noise)], 1) if self.conditioning == "concat" else noise
        *inner, last = self.convs
        image = self.foot(code).view(-1, *self.base)
        for norm, conv in zip(self.norms, inner, strict=False):
            image = conv(self._laid_out(F.relu(norm(image, label, turns))))
        image = self._laid_out(F.relu(self.norms[-1](image, label, turns)))
        with torch.autocast(image.device.type, enabled=False):  # pixels keep all their digits: alignment compares two images that hardly differ
            return torch.tanh(last(image.to(self.foot.weight.dtype)))

    def _laid_out(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """In the memory format of the kernels, which the noise does not tell and statistics by class lose. Channels last is faster on a CPU."""
        last = cast(DoublingConv, self.convs[0]).weight.is_contiguous(memory_format=torch.channels_last)
        return image.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) if last else image  # torch.func knows no memory formats


class ClassDCGANCritic(nn.Module):
    """Images (b, c, h, w) to scores (b,) and, where ``num_classes`` is positive, class logits; sides must be multiples of 8. No normalisation.

    The convolutions work on mirrored images with mirrored kernels. SAME padding adds one row before an even side and two after it, which torch can
    only do on a padded copy; mirrored it is two before and one after, as ``padding=2`` gives at stride 2. The numbers are the same but for rounding.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, *, width: int = 32) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        widths = [channels, *(width * 2**level for level in range(LEVELS))]
        self.convs = nn.ModuleList(nn.Conv2d(into, out, 5, 2) for into, out in pairwise(widths))
        features = widths[-1] * (height >> LEVELS) * (breadth >> LEVELS)
        self.score = nn.Linear(features, 1)
        self.classes = nn.Linear(features, num_classes) if num_classes else None
        scaled_uniform(self)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Judgement:
        image = _mirrored(image)
        for kernel, bias in self._kernels():
            image = F.leaky_relu(F.conv2d(image, kernel, bias, stride=2, padding=2), _LEAK, inplace=True)
        with torch.autocast(image.device.type, enabled=False):  # scores are compared, and differ little
            feature = _mirrored(image).flatten(1).to(self.score.weight.dtype)
            return self.score(feature)[:, 0], None if self.classes is None else self.classes(feature)

    def input_gradient(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """d score_i / d image_i, differentiable in the weights: the transposed convolutions between the slopes of the rectifiers, written out.

        The slopes are constants almost everywhere, so a second derivative never passes the activations; automatic differentiation sends zeros through
        them, at a third of the whole cost.
        """
        kernels, rectified, before = self._kernels(), list[Tensor](), _mirrored(image.detach())
        with torch.no_grad():
            for kernel, bias in kernels:
                before = F.leaky_relu(F.conv2d(before, kernel, bias, stride=2, padding=2), _LEAK, inplace=True)
                rectified.append(before)
        gradient = _mirrored(self.score.weight.view(1, *before.shape[1:])).expand_as(before)
        for (kernel, _), after in zip(kernels[:0:-1], rectified[:0:-1], strict=True):
            gradient = F.conv_transpose2d(_sloped(gradient, after), kernel, stride=2, padding=2, output_padding=1)
        return _mirrored(_doubled(_sloped(gradient, rectified[0]), kernels[0][0], None, mirrored=True))  # few channels: three times faster so

    def _kernels(self) -> list[tuple[Tensor, Tensor | None]]:
        """The mirrored kernel and the bias of each convolution."""
        return [(_mirrored(conv.weight), conv.bias) for conv in cast(Iterable[nn.Conv2d], self.convs)]


def _sloped(gradient: Tensor, rectified: Tensor) -> Tensor:
    """The gradient before a leaky rectifier, from that behind it and its output."""
    found: Tensor = torch.ops.aten.leaky_relu_backward(gradient, rectified, _LEAK, True)
    return found


def _mirrored(image: Tensor) -> Tensor:
    """Upside down and back to front."""
    return image.flip(2, 3)
