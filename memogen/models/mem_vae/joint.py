"""The joint density p(x, z) of a MEM-VAE as a function of z, for annealed importance sampling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...nets.norm import evaluating
from .prior import Prior, StandardNormal

if TYPE_CHECKING:
    from .model import MemVAE


@dataclass(frozen=True)
class Beside:
    """p(x, z) of ``model`` for b fixed images ``x``, differentiable in z, as annealed importance sampling needs it
    (:class:`memogen.metrics.ais.Latent`).
    """

    model: MemVAE
    x: Float[Tensor, "b c h w"]
    condition: Float[Tensor, "b classes"] | None = None
    prior: Prior = field(default_factory=StandardNormal)

    def draw_prior(self, num_chains: int, *, generator: torch.Generator) -> Float[Tensor, "s b z"]:
        """z ~ p(z), for each image and chain."""
        shape = num_chains, len(self.x)
        eps = torch.randn(*shape, self.model.config.latent_dim, generator=generator, dtype=self.x.dtype).to(self.x.device)
        return self.prior.latents(eps, lambda: torch.rand(shape, generator=generator, dtype=torch.float64).to(self.x.device))

    def log_prior(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """log p(z)."""
        return self.prior.log_prob(z)

    def log_likelihood(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """log p(x | z)."""
        condition = None if self.condition is None else self.condition.repeat(len(z), 1)
        with evaluating(self.model):
            return self.model.log_prob(self.x, self.model.decoder(z.flatten(0, 1), condition).raw, len(z))
