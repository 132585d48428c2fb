"""The teacher: a frozen copy of the generator, and for weight consolidation the Fisher information of its weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from ...noise import Stream
from ...types import Latents
from .drawing import known_classes
from .model import ReplayGAN


@dataclass(frozen=True)
class ConsolidationConfig:
    """Elastic weight consolidation on the generator: ``weight`` / 2 sum_i F_i (theta_i - theta*_i)^2 (Wu et al. 2018, Eq. 9, after Seff et al. 2017).

    The paper prints 1e9 and nothing else of F; what follows is ours. F_i is the mean of (d s / d theta_i)^2 over ``num_samples`` latents of the
    classes learned so far, in turn, each squared by itself and with the stored statistics of batch norm, since a batch would couple them. s is the
    critic's ``score``, or with "log_sigmoid" the log probability of being real that the score would be the logit of. ``accumulation`` over tasks:
    the "last" F, which covers all earlier classes already; the "sum"; or "online", ``decay`` times the former plus the new. ``normalise``: F as it
    is ("none"), or over its largest ("max") or mean ("mean") entry, without which ``weight`` has no scale of its own.
    """

    weight: float = 1e9
    num_samples: int = 1024
    source: Literal["score", "log_sigmoid"] = "score"
    accumulation: Literal["last", "sum", "online"] = "last"
    normalise: Literal["none", "max", "mean"] = "none"
    decay: float = 0.9

    def __post_init__(self) -> None:
        if self.weight < 0 or self.num_samples < 1 or not 0 <= self.decay <= 1:
            raise ValueError(f"weight {self.weight} must not be negative, num_samples {self.num_samples} positive, decay {self.decay} in [0, 1]")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}")


_CHOICES = {"source": ("score", "log_sigmoid"), "accumulation": ("last", "sum", "online"), "normalise": ("none", "max", "mean")}


class Teacher(nn.Module):
    """The ``generator`` (and ``solver``) of a model as they were when ``learned`` was learned; nothing yet when it is made.

    ``importance`` is shaped like the generator and holds F in the places of its parameters, where they are consolidated.
    """

    learned: Tensor

    def __init__(self, model: ReplayGAN, *, estimates_fisher: bool = False) -> None:
        super().__init__()
        self.generator, self.solver = deepcopy(model.generator), deepcopy(model.solver)
        self.importance = deepcopy(model.generator) if estimates_fisher else None
        self.register_buffer("learned", torch.full_like(model.learned, -1))
        self.requires_grad_(False)
        for value in self.importance.parameters() if self.importance is not None else ():
            value.zero_()

    @property
    def known(self) -> tuple[int, ...]:
        """The classes that it can replay. Reads device memory."""
        return known_classes(self.learned)

    @torch.no_grad()
    def follow(self, model: ReplayGAN) -> None:
        """Copy ``model``, and store the batch statistics of its own images."""
        self.generator.load_state_dict(model.generator.state_dict())
        if self.solver is not None and model.solver is not None:
            self.solver.load_state_dict(model.solver.state_dict())
        self.learned.copy_(model.learned)
        model.store_statistics(self.generator, self.known)

    @torch.no_grad()
    def weigh(self, model: ReplayGAN, config: ConsolidationConfig) -> None:
        """Estimate F for its generator by the critic of ``model``, and add it to the former as ``config`` says."""
        if self.importance is None or not self.known:
            return
        each = -(-config.num_samples // len(self.known))
        latents = model.in_turns(torch.arange(each, device=model.device), torch.tensor(self.known, device=model.device), seed=0, stream=Stream.FISHER)
        found = importance(self.generator, model.critic, latents, source=config.source)
        scale = _scale(found, config.normalise)
        kept = {"last": 0.0, "sum": 1.0, "online": config.decay}[config.accumulation]
        for name, former in self.importance.named_parameters():
            former.mul_(kept).add_(found[name] / scale)


def importance(
    generator: nn.Module, critic: nn.Module, latents: Latents, *, source: Literal["score", "log_sigmoid"] = "score", at_once: int = 32
) -> dict[str, Float[Tensor, "*shape"]]:
    """The mean square of d s(G(z, c)) / d theta over the latents, one gradient for each, by parameter name."""
    assert latents.label is not None
    weights = {name: value.detach() for name, value in generator.named_parameters()}

    def judged(weights: dict[str, Tensor], noise: Tensor, label: Tensor) -> Tensor:
        score: Tensor = critic(functional_call(generator, weights, (noise[None], label[None], None)))[0][0]
        return score if source == "score" else F.logsigmoid(score)

    each = vmap(grad(judged), (None, 0, 0))
    squares = {name: torch.zeros_like(value) for name, value in weights.items()}
    for noise, label in zip(latents.noise.split(at_once), latents.label.split(at_once), strict=True):
        for name, gradient in each(weights, noise, label).items():
            squares[name] += gradient.square().sum(0)
    return {name: square / len(latents.noise) for name, square in squares.items()}


def _scale(found: dict[str, Tensor], normalise: Literal["none", "max", "mean"]) -> Tensor | float:
    """The divisor of F."""
    if normalise == "none":
        return 1.0
    every = torch.cat([value.flatten() for value in found.values()])
    return (every.max() if normalise == "max" else every.mean()).clamp_min(torch.finfo(every.dtype).tiny)
