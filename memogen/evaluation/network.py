"""The small residual network behind the data-set classifiers: trained with batch norm, shipped with the batch norm folded into its convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Unit(nn.Module):
    """3x3 convolution, batch norm (identity once folded), ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, folded: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=folded)
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """x plus two units of x."""

    def __init__(self, width: int, *, folded: bool = False) -> None:
        super().__init__()
        self.first = Unit(width, width, folded=folded)
        self.second = Unit(width, width, folded=folded)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x))
        return out


class SmallResNet(nn.Module):
    """A stem at full size, two halvings, each followed by a residual block, then the mean over space: the features, and a linear head.

    The number of features is the last of the three ``widths``. Any image of at least 4x4 pixels will do.
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int], *, folded: bool = False) -> None:
        super().__init__()
        stem, middle, last = widths
        self.body = nn.Sequential(
            Unit(channels, stem, folded=folded),
            Unit(stem, middle, stride=2, folded=folded),
            Residual(middle, folded=folded),
            Unit(middle, last, stride=2, folded=folded),
            Residual(last, folded=folded),
        )
        self.head = nn.Linear(last, classes)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """The mean over space of the last block."""
        out: Tensor = self.body(image).mean(dim=(2, 3))
        return out

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        out: Tensor = self.head(self.features(image))
        return out


def fold(network: SmallResNet, *, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """The state of the same network with its batch norms in evaluation mode folded in, rounded to ``dtype``: loads into ``folded=True``."""
    state = {f"head.{name}": value for name, value in network.head.state_dict().items()}
    for name, unit in network.named_modules():
        if isinstance(unit, Unit) and isinstance(unit.norm, nn.BatchNorm2d):
            conv = fuse_conv_bn_eval(unit.conv.eval(), unit.norm.eval())
            state |= {f"{name}.conv.{key}": value for key, value in conv.state_dict().items()}
    return {name: value.detach().to(dtype).contiguous() for name, value in state.items()}
