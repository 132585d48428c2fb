"""Fully connected layers with batch norm, and their initial weights (Li, Zhu and Zhang, ICML 2016, section 5)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memogen.nets.norm import FullDataNorm


def glorot_linear(in_dim: int, out_dim: int, *, heads: int = 1) -> nn.Linear:
    """A linear layer of uniform Glorot weights and zero biases; its outputs are ``heads`` equal parts, each drawn as a layer of its own."""
    layer = nn.Linear(in_dim, heads * out_dim)
    for part in layer.weight.data.chunk(heads):
        nn.init.xavier_uniform_(part)
    nn.init.zeros_(layer.bias)
    return layer


class Dense(nn.Module):
    """Linear, batch norm, ReLU. The linear layer's bias, which the norm takes out again, is kept: the paper's Table 3 counts it."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = glorot_linear(in_dim, out_dim)
        self.norm = FullDataNorm(out_dim)

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        return self.norm(self.linear(x)).relu_()

    def parts(self, x: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b e"]]:
        """The linear output, normalised without gain and shift; and what ``forward`` gives."""
        normalised, shifted = self.norm.parts(self.linear(x))
        return normalised, shifted.relu_()

    def beside(self, x: Float[Tensor, "n d"], given: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "n e"], Float[Tensor, "b e"]]:
        """The outputs of ``x``, normalised as ``given`` is, and of ``given``."""
        linear, other = self.linear(x), self.linear(given)
        return self.norm.beside(linear, other).relu_(), self.norm(other).relu_()

    @torch.no_grad()
    def calibrate(self, chunks: Iterable[Float[Tensor, "_ d"]]) -> list[Float[Tensor, "_ e"]]:
        """Set the norm's statistics to those of all chunks; returns the outputs under them. The layer must be in evaluation mode."""
        linear = [self.linear(chunk) for chunk in chunks]
        self.norm.store(linear)
        return [self.norm(chunk).relu_() for chunk in linear]
