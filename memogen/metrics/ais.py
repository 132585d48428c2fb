"""Annealed importance sampling of log p(x) (Neal 2001) with Hamiltonian transitions, as Wu et al. 2017 use it to check decoder-based models.

From the prior to the posterior through p_t(z) = p(z) p(x | z)^beta_t. Forwards the estimate is on average below log p(x); backwards, from an exact
draw of the posterior, above it (Grosse et al. 2015, bidirectional Monte Carlo). For simulated data the truth lies between the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.progress import Bar
from memogen.types import InputError


class Latent(Protocol):
    """A latent-variable model with its data, b images. Log densities (s, b) of z (s, b, z) include all constants and are differentiable in z."""

    def draw_prior(self, num_chains: int, *, generator: torch.Generator) -> Float[Tensor, "s b z"]: ...
    def log_prior(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]: ...
    def log_likelihood(self, z: Float[Tensor, "s b z"]) -> Float[Tensor, "s b"]: ...


@dataclass(frozen=True)
class Annealing:
    """``temperatures`` between prior and posterior, ``chains`` for each image, ``leapfrog`` steps in a transition.

    A pilot run adapts the step sizes, one per temperature and image, to ``acceptance``; then they are fixed, since adapting would bias the weights.
    """

    temperatures: int = 500
    chains: int = 16
    leapfrog: int = 10
    schedule: Literal["sigmoid", "linear"] = "sigmoid"
    step_size: float = 0.1
    acceptance: float = 0.65

    def __post_init__(self) -> None:
        if min(self.temperatures, self.chains, self.leapfrog) < 1 or not self.step_size > 0 or not 0 < self.acceptance < 1:
            raise InputError(f"annealing: {self}: counts must be at least 1, the step size above 0, the acceptance between 0 and 1")

    def betas(self) -> Float[Tensor, " t"]:
        """From 0 to 1 in ``temperatures`` steps; the sigmoid has small ones at both ends (Wu et al. 2017, appendix)."""
        even = torch.linspace(0, 1, self.temperatures + 1, dtype=torch.float64)
        if self.schedule == "linear":
            return even
        curve = torch.sigmoid(8 * even - 4)
        return (curve - curve[0]) / (curve[-1] - curve[0])


@dataclass(frozen=True)
class Annealed:
    """``log_weights`` (chains, images), step sizes (temperatures, images), and the share of accepted proposals."""

    log_weights: Float[Tensor, "s b"]
    steps: Float[Tensor, "t b"]
    accepted: float

    @property
    def log_likelihood(self) -> Float[Tensor, " b"]:
        """The estimate of log p(x) of a forward run, on average below it. For a backward run take ``-log_likelihood``, on average above it."""
        return self.log_weights.logsumexp(0) - math.log(len(self.log_weights))


def anneal(model: Latent, config: Annealing = Annealing(), *, seed: int = 0, progress: bool = False) -> Annealed:
    """Estimate log p(x) of each of the model's images, from the prior to the posterior."""
    generator = torch.Generator().manual_seed(seed)
    with Bar(shown=progress) as bar:
        bar.stage("annealing", 2 * config.temperatures)
        pilot = model.draw_prior(config.chains, generator=generator)
        steps = _annealed(model, pilot, config, generator, bar, None).steps
        return _annealed(model, model.draw_prior(config.chains, generator=generator), config, generator, bar, steps)


def anneal_back(model: Latent, posterior: Float[Tensor, "b z"], config: Annealing = Annealing(), *, seed: int = 0) -> Annealed:
    """From exact draws of the posterior to the prior. For images drawn from the model, these are the latents that they were drawn with."""
    generator = torch.Generator().manual_seed(seed)
    bar = Bar(shown=False)
    steps = _annealed(model, model.draw_prior(config.chains, generator=generator), config, generator, bar, None).steps
    start = posterior.expand(config.chains, *posterior.shape).clone()
    return _annealed(model, start, config, generator, bar, steps, backwards=True)


def _annealed(
    model: Latent, z: Tensor, config: Annealing, generator: torch.Generator, bar: Bar, steps: Tensor | None, *, backwards: bool = False
) -> Annealed:
    """All temperatures in turn. ``steps`` None adapts the step sizes, for the pilot run only."""
    betas = config.betas()
    log_weights, accepted = torch.zeros(z.shape[:2], dtype=torch.float64), 0.0
    step = torch.full(z.shape[1:2], config.step_size, dtype=torch.float64)
    used = torch.empty(config.temperatures, z.shape[1], dtype=torch.float64)
    for turn in range(config.temperatures):
        t = config.temperatures - turn if backwards else turn + 1  # the transition at beta_t leaves p_t as it is
        step = step if steps is None else steps[t - 1]
        used[t - 1] = step
        if not backwards:
            log_weights += _gain(model, z, float(betas[t] - betas[t - 1]))
        z, share = _transition(model, z, float(betas[t]), step, config.leapfrog, generator)
        if backwards:
            log_weights += _gain(model, z, float(betas[t - 1] - betas[t]))
        step = step * torch.where(share > config.acceptance, 1.05, 1 / 1.05)
        accepted += float(share.mean()) / config.temperatures
        bar.advance(1)
    return Annealed(log_weights, used, accepted)


@torch.no_grad()
def _gain(model: Latent, z: Tensor, rise: float) -> Float[Tensor, "s b"]:
    return rise * model.log_likelihood(z).double().cpu()


def _transition(model: Latent, z: Tensor, beta: float, step: Tensor, leapfrog: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A Hamiltonian proposal and its Metropolis test: (z, share of accepted chains for each image). Neal 2011, Figure 2."""
    size = step[None, :, None].to(z)
    momentum = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    energy, slope = _energy(model, z, beta)
    at, p = z, momentum - size / 2 * slope
    for number in range(leapfrog):
        at = at + size * p
        new_energy, slope = _energy(model, at, beta)
        p = p - size * slope / (2 if number == leapfrog - 1 else 1)
    change = energy - new_energy + (momentum.double().square().sum(-1) - p.double().square().sum(-1)) / 2
    accept = torch.rand(change.shape, generator=generator, dtype=torch.float64).log().to(z.device) < change  # False for nan, a proposal that diverged
    return torch.where(accept[..., None], at, z), accept.double().mean(0).cpu()


def _energy(model: Latent, z: Tensor, beta: float) -> tuple[Float[Tensor, "s b"], Float[Tensor, "s b z"]]:
    """-log p_t up to a constant, and its gradient."""
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        energy = -(model.log_prior(z).double() + beta * model.log_likelihood(z).double())
        (slope,) = torch.autograd.grad(energy.sum(), z)
    return energy.detach(), slope
