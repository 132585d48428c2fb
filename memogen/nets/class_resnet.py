"""The 64x64 residual networks of Memory Replay GANs (Wu et al. 2018; layers from the authors' code, after Gulrajani et al. 2017).

At 64x64 in colour with ten classes as a one-hot code the generator holds 8,622,403 parameters and the critic 7,573,771.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from memogen.losses import input_gradient
from memogen.nets.class_dcgan import Conditioning, Judgement
from memogen.nets.class_norm import ClassBatchNorm, Turns, class_code
from memogen.nets.init import scaled_uniform
from memogen.nets.resnet import grow, grown_conv, shrink, shrunk_conv
from memogen.nets.same import SameConv2d

LEVELS = 4


class ClassUpBlock(nn.Module):
    """Norm, ReLU, conv at twice the size, norm, ReLU, conv; plus the 1x1 shortcut, taken before the growing at a quarter of the cost."""

    def __init__(self, wide: int, narrow: int, num_classes: int, *, shared: bool) -> None:
        super().__init__()
        self.outer_norm = ClassBatchNorm(num_classes, wide, shared=shared)
        self.first = SameConv2d(wide, narrow, 3, bias=False)
        self.inner_norm = ClassBatchNorm(num_classes, narrow, shared=shared)
        self.second = SameConv2d(narrow, narrow, 3)
        self.shortcut = SameConv2d(wide, narrow, 1)

    def forward(self, image: Float[Tensor, "b c h w"], label: Int[Tensor, " b"], turns: Turns) -> Float[Tensor, "b e g v"]:
        size = (2 * image.shape[2], 2 * image.shape[3])
        inner = grown_conv(self.first, F.relu(self.outer_norm(image, label, turns)), size)
        return self.second(F.relu(self.inner_norm(inner, label, turns))) + grow(self.shortcut(image), size)


class ClassDownBlock(nn.Module):
    """Layer norm, ReLU, conv, layer norm, ReLU, conv, 2x2 means; plus the shortcut of the means through a 1x1 convolution."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.outer_norm, self.inner_norm = (nn.GroupNorm(1, narrow, eps=1e-5) for _ in range(2))
        self.first = SameConv2d(narrow, narrow, 3, bias=False)
        self.second = SameConv2d(narrow, wide, 3)
        self.shortcut = SameConv2d(narrow, wide, 1)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e g v"]:
        inner = F.relu(self.inner_norm(self.first(F.relu(self.outer_norm(image)))))
        return shrunk_conv(self.second, inner) + self.shortcut(shrink(image))


class ClassResNetGenerator(nn.Module):
    """Noise (b, z) and classes (b,) to images (b, c, h, w) in [-1, 1]; sides must be multiples of 16."""

    def __init__(
        self, noise_dim: int, image_shape: tuple[int, int, int], num_classes: int, *, width: int = 64, conditioning: Conditioning = "concat"
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        self.num_classes, self.conditioning = num_classes, conditioning
        shared, widths = conditioning != "norm", [8 * width, 8 * width, 4 * width, 2 * width, width]
        self.base = (widths[0], height >> LEVELS, breadth >> LEVELS)
        self.foot = nn.Linear(noise_dim + num_classes * (conditioning == "concat"), widths[0] * self.base[1] * self.base[2])
        self.body = nn.ModuleList(ClassUpBlock(*pair, num_classes, shared=shared) for pair in pairwise(widths))
        self.norm = ClassBatchNorm(num_classes, width, shared=shared)
        self.head = SameConv2d(width, channels, 3)
        scaled_uniform(self, glorot=_shortcuts(self))

    def forward(self, noise: Float[Tensor, "b z"], label: Int[Tensor, " b"], turns: Turns = None) -> Float[Tensor, "b c h w"]:
        """``turns``: whose statistics normalise, see :mod:`memogen.nets.class_norm`."""
        code = torch.cat([noise, class_code(label, self.num_classes, noise)], 1) if self.conditioning == "concat" else noise
        image = self.foot(code).view(-1, *self.base)
        for block in self.body:
            image = block(image, label, turns)
        image = F.relu(self.norm(image, label, turns))
        with torch.autocast(image.device.type, enabled=False):  # pixels keep all their digits: alignment compares two images that hardly differ
            return torch.tanh(self.head(image.to(self.head.weight.dtype)))


class ClassResNetCritic(nn.Module):
    """Images (b, c, h, w) to scores (b,) and, where ``num_classes`` is positive, class logits; sides must be multiples of 16.

    Layer norm, since the gradient penalty forbids statistics over the batch; nothing after the last block.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, *, width: int = 64) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.stem = SameConv2d(channels, width, 3)
        self.body = nn.Sequential(*(ClassDownBlock(*pair) for pair in pairwise(widths)))
        features = widths[-1] * (height >> LEVELS) * (breadth >> LEVELS)
        self.score = nn.Linear(features, 1)
        self.classes = nn.Linear(features, num_classes) if num_classes else None
        scaled_uniform(self, glorot=[self.stem, *_shortcuts(self)])

    def forward(self, image: Float[Tensor, "b c h w"]) -> Judgement:
        image = self.body(self.stem(image))
        with torch.autocast(image.device.type, enabled=False):  # scores are compared, and differ little
            feature = image.flatten(1).to(self.score.weight.dtype)
            return self.score(feature)[:, 0], None if self.classes is None else self.classes(feature)

    def input_gradient(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """d score_i / d image_i, differentiable in the weights."""
        image = image.detach().requires_grad_(True)
        return input_gradient(self(image)[0], image)


def _shortcuts(net: nn.Module) -> list[SameConv2d]:
    """The 1x1 convolutions."""
    return [part for part in net.modules() if isinstance(part, SameConv2d) and part.kernel == 1]
