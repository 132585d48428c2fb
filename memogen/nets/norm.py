"""Normalisation by name, evaluation for a moment, and the output that a generator's image range asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from memogen.losses import widen

NormKind = Literal["batch", "layer", "none"]


def norm_layer(kind: NormKind, channels: int, *, flat: bool = False) -> nn.Module:
    """Normalisation of (b, channels, h, w), or of (b, channels) where ``flat``.

    "layer" is layer normalisation over (c, h, w) with a gain and a shift per channel; GroupNorm of one group is the same function with a
    fast kernel in both memory formats.
    """
    match kind:
        case "batch":
            # departs: the authors' layer has no gain (the ReLU after it makes one redundant) and averages over 1,000 steps, longer than a short run
            return nn.BatchNorm1d(channels, eps=1e-3) if flat else nn.BatchNorm2d(channels, eps=1e-3)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "none":
            return nn.Identity()
        case _:
            assert_never(kind)


def shifted_norm(channels: int) -> nn.BatchNorm1d:
    """Batch norm of (b, channels) with a shift that learns and a gain that stays one: the authors' layer, where no ReLU makes a gain redundant."""
    norm = nn.BatchNorm1d(channels, eps=1e-3)
    norm.weight.requires_grad_(False)
    return norm


def standardise(x: Float[Tensor, "b d"], eps: float = 1e-10) -> Float[Tensor, "b d"]:
    """Every column less its mean and over its (biased) standard deviation; a column that is constant becomes 0."""
    return F.batch_norm(x, None, None, training=True, eps=eps)


class FullDataNorm(nn.Module):
    """Batch norm of (b, channels) without a running average: by the batch in training, by stored statistics of the whole data in evaluation.

    ``store`` sets the statistics (Li et al. 2016, the authors' code: one pass over the training set before each evaluation); until then they are
    mean 0 and variance 1. Variances are biased, and taken of differences from the mean, as so small an ``eps`` needs in single precision. Among
    several processes each normalises by its own share of the batch, whatever ``training.sync_batch_norm`` says.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-10) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return self._normalised(x, self.weight, self.bias)

    def parts(self, x: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """The input normalised, and that with gain and shift, which is what ``forward`` gives."""
        normalised = self._normalised(x, None, None)
        return normalised, torch.addcmul(self.bias, normalised, self.weight)

    def beside(self, x: Float[Tensor, "n d"], given: Float[Tensor, "b d"]) -> Float[Tensor, "n d"]:
        """``x`` normalised as ``given`` is: in training by the statistics of ``given``, through which gradients flow; else by the stored ones."""
        if not self.training:
            return self(x)
        wide = widen(given)
        variance, mean = torch.var_mean(wide, 0, correction=0)
        return (torch.addcmul(self.bias, widen(x) - mean, self.weight * torch.rsqrt(variance + self.eps))).to(x.dtype)

    @torch.no_grad()
    def store(self, chunks: Sequence[Float[Tensor, "_ d"]]) -> None:
        """Keep the statistics of all rows of the chunks together, worked in double precision."""
        rows = sum(len(chunk) for chunk in chunks)
        mean = torch.stack([chunk.double().sum(0) for chunk in chunks]).sum(0) / rows
        self.mean.copy_(mean)
        self.variance.copy_(torch.stack([(chunk - mean).square().sum(0) for chunk in chunks]).sum(0) / rows)

    def _normalised(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        mean, variance = (None, None) if self.training else (self.mean, self.variance)
        return F.batch_norm(x, mean, variance, weight, bias, self.training, eps=self.eps)


class ToRange(nn.Module):
    """Any number into ``image_range``: tanh for (-1, 1), else a sigmoid stretched over the range."""

    def __init__(self, image_range: tuple[float, float]) -> None:
        super().__init__()
        low, high = image_range
        if not low < high:
            raise ValueError(f"image_range is {image_range}; the first number must be the smaller")
        self.low, self.high = low, high

    def forward(self, value: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if (self.low, self.high) == (-1, 1):
            return torch.tanh(value)
        unit = torch.sigmoid(value)
        return unit if (self.low, self.high) == (0, 1) else self.low + (self.high - self.low) * unit


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, ``module`` is in evaluation mode; afterwards each of its parts is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
