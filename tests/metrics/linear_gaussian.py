"""A latent-variable model whose likelihood has a closed form: z ~ N(0, 1), x = W z + mean + noise, all normal, float64."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from memogen.types import ImageData

DIM, LATENT, NOISE = 6, 3, 0.3


class LinearGaussian:
    """``log_weights`` proposes from the exact posterior, ``width`` times as wide: 1 makes every weight p(x)."""

    def __init__(self, *, width: float = 1.5) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(DIM, LATENT, generator=generator, dtype=torch.float64) * 0.3
        self.mean = torch.full((DIM,), 0.5, dtype=torch.float64)
        precision = torch.eye(LATENT, dtype=torch.float64) + self.weight.T @ self.weight / NOISE**2
        self.covariance = torch.linalg.inv(precision)
        self.width = width
        self.asked: list[int] = []

    def exact(self, x: Tensor) -> Tensor:
        """log p(x)."""
        covariance = self.weight @ self.weight.T + NOISE**2 * torch.eye(DIM, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.mean, covariance).log_prob(x)

    def posterior_mean(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.weight @ self.covariance / NOISE**2

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return normal(z, 1.0) + normal(x - self.mean - z @ self.weight.T, NOISE)

    def log_weights(self, image: Tensor, *, num_samples: int) -> Tensor:
        self.asked.append(num_samples)
        x = floats(image)
        proposal = torch.distributions.MultivariateNormal(self.posterior_mean(x), self.covariance * self.width**2)
        z = proposal.sample((num_samples,))
        return self.log_joint(x, z) - proposal.log_prob(z)

    def draw(self, num: int) -> tuple[Tensor, Tensor]:
        """Data from the model, with the latents they were drawn with."""
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(num, LATENT, generator=generator, dtype=torch.float64)
        return z @ self.weight.T + self.mean + NOISE * torch.randn(num, DIM, generator=generator, dtype=torch.float64), z


class Beside:
    """The model beside data x, as annealing wants it."""

    def __init__(self, model: LinearGaussian, x: Tensor) -> None:
        self.model, self.x = model, x

    def draw_prior(self, num_chains: int, *, generator: torch.Generator) -> Tensor:
        return torch.randn(num_chains, len(self.x), LATENT, generator=generator, dtype=torch.float64)

    def log_prior(self, z: Tensor) -> Tensor:
        return normal(z, 1.0)

    def log_likelihood(self, z: Tensor) -> Tensor:
        return normal(self.x - self.model.mean - z @ self.model.weight.T, NOISE)


def normal(x: Tensor, deviation: float) -> Tensor:
    """The log density of independent centred normals, summed over the last axis."""
    return (-0.5 * (x / deviation).square() - math.log(deviation) - 0.5 * math.log(2 * math.pi)).sum(-1)


def floats(image: Tensor) -> Tensor:
    return image.flatten(1).double() / 255


def pictures(num: int) -> ImageData:
    """Random pictures of the right size."""
    return ImageData(np.random.default_rng(3).integers(60, 200, (num, 1, 2, 3)).astype(np.uint8), name="grey")
