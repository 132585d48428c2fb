"""The prior p(z) of a MEM-VAE: the standard normal, or a mixture that is learned (Tomczak and Welling, "VAE with a VampPrior", AISTATS 2018).

The VampPrior is the mean of the posteriors of K pseudo-inputs, p(z) = 1/K sum_k q(z | u_k) (their Eq. 9): images u_k that are learned with the
networks. They are slots of a memory beside the decoder's: a sample chooses one of them, and the encoder reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...losses import widen

_SLOPE = 16.0  # of the logits of a pseudo-input: learning rates made for weights move a pixel too slowly
_SPREAD = 0.5 / _SLOPE  # of the parameters at first: logits with a standard deviation of 1/2

_LOG_2_PI = math.log(2 * math.pi)


class Prior(Protocol):
    """A density of latents; everything is in float32 at least, all constants kept."""

    def log_prob(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """log p(z), differentiable in z."""

    def divergence(self, z: Float[Tensor, "s b z"], log_variance: Float[Tensor, "*s b z"], eps: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """log q(z | x) - log p(z) of z = mu + sigma eps. On average the KL divergence."""

    def latents(self, eps: Float[Tensor, "*s z"], choice: Callable[[], Float[Tensor, "*s"]]) -> Float[Tensor, "*s z"]:
        """Draws of the prior from standard normal ``eps`` and, of a mixture, numbers of ``choice``, uniform on [0, 1)."""


@dataclass(frozen=True)
class StandardNormal:
    """N(0, I)."""

    def log_prob(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        return -0.5 * (z.square() + _LOG_2_PI).sum(-1)

    def divergence(self, z: Float[Tensor, "s b z"], log_variance: Float[Tensor, "*s b z"], eps: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """The constants cancel."""
        return 0.5 * (z.square() - widen(log_variance) - eps.square()).sum(-1)

    def latents(self, eps: Float[Tensor, "*s z"], choice: Callable[[], Float[Tensor, "*s"]]) -> Float[Tensor, "*s z"]:
        return eps


@dataclass(frozen=True)
class Mixture:
    """1/K sum_k N(mean_k, diag exp(log_variance_k))."""

    mean: Float[Tensor, "k z"]
    log_variance: Float[Tensor, "k z"]

    def log_prob(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        """By two matrix products, so that no distance of a latent to a component is stored by coordinate. In double precision, as the terms of the
        square cancel.
        """
        mean, log_variance, at = self.mean.double(), self.log_variance.double(), z.double().flatten(0, -2)
        precision = torch.exp(-log_variance)
        constant = (mean.square() * precision + log_variance + _LOG_2_PI).sum(1)
        distance = at.square() @ precision.T - 2 * at @ (mean * precision).T + constant
        mixed = torch.logsumexp(-0.5 * distance, 1) - math.log(len(mean))
        return mixed.to(widen(z).dtype).view(z.shape[:-1])

    def divergence(self, z: Float[Tensor, "s b z"], log_variance: Float[Tensor, "*s b z"], eps: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]:
        posterior = -0.5 * (widen(log_variance) + eps.square() + _LOG_2_PI).sum(-1)
        return posterior - self.log_prob(z)

    def latents(self, eps: Float[Tensor, "*s z"], choice: Callable[[], Float[Tensor, "*s"]]) -> Float[Tensor, "*s z"]:
        chosen = (choice() * len(self.mean)).long()
        return self.mean[chosen] + torch.exp(0.5 * self.log_variance[chosen]) * eps


class PseudoInputs(nn.Module):
    """``num`` learned images u = sigmoid(16 a) in (0, 1). They begin as grey noise of torch's global generator, so that they part."""

    # departs: the authors clamp a pixel to [0, 1], outside of which it learns no more; a sigmoid never stops.
    def __init__(self, num: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.raw = nn.Parameter(_SPREAD * torch.randn(num, *image_shape))

    def forward(self) -> Float[Tensor, "k c h w"]:
        """The images."""
        return torch.sigmoid(_SLOPE * self.raw)
