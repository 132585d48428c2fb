"""A MEM-VAE beside data, as annealed importance sampling asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...nets.norm import evaluating

if TYPE_CHECKING:
    from .model import MemVAE


@dataclass(frozen=True)
class Beside:
    """p(x, z) of b given images ``x`` under ``model``, differentiable in z; see :class:`memogen.metrics.ais.Latent`."""

    model: MemVAE
    x: Float[Tensor, "b c h w"]
    condition: Float[Tensor, "b classes"] | None = None

    def draw_prior(self, num_chains: int, *, generator: torch.Generator) -> Float[Tensor, "s b z"]:
        """z ~ N(0, I), for each image and chain."""
        z = torch.randn(num_chains, len(self.x), self.model.config.latent_dim, generator=generator, dtype=self.x.dtype)
        return z.to(self.x.device)

    def log_prior(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """log N(z; 0, I)."""
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def log_likelihood(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """log p(x | z)."""
        condition = None if self.condition is None else self.condition.repeat(len(z), 1)
        with evaluating(self.model):
            return self.model.log_prob(self.x, self.model.decoder(z.flatten(0, 1), condition).raw, len(z))
