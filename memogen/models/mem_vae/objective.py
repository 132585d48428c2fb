"""What a MEM-VAE is trained by: the importance bound and the local reconstruction term (Li, Zhu and Zhang, ICML 2016, section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...losses import importance_bound, local_reconstruction, widen
from ...nets.norm import standardise
from ...types import Batch, DecayConfig, InputError, Loss, OptimiserConfig, Phase
from .model import MemVAE
from .networks import Decoded, Encoded, Layer

_BINARY, _SECOND = 1 << 21, 1 << 22  # keep the draw of black and white, and a second z, apart from the draw of z

ADAM = OptimiserConfig(
    learning_rate=1e-3,
    betas=(0.9, 0.999),
    eps=1e-4,
    eps_form="uncorrected",
    clip_norm=5.0,
    clip_value=1.0,
    schedule="decay",
    decay=DecayConfig(stages=3000, hold=1000, factor=0.998),
)
"""Section 5, with the two clips and the place of eps of the authors' code."""


@dataclass(frozen=True)
class MemVAEObjective:
    """Minimises -L_k + sum_i lambda_i R_i, with k = ``num_samples`` importance samples (1: the evidence lower bound, a VAE).

    ``local_reconstruction``: lambda of each hidden layer, from the data up, or () for none. R is a "mean" over features, as in the authors' code, or
    as printed their "sum". ``features``: "mixed" compares the encoder's normalised linear output with the decoder's normalised output after the
    memory, as their code does; "pre" takes both before, "post" both after the non-linearity. The decoder's come from the z of the bound ("shared"),
    or from another draw ("independent", their code). ``divergence`` "analytic" takes the KL divergence of q(z | x) and p(z) in closed form, which
    the bound of one sample alone allows.
    """

    # departs: the authors' code draws a second z for the features; that of the bound has the same expectation at half the decoder's cost.
    # departs: the paper prints a sum of the bound and R to be minimised, which would lower the likelihood; its code has the sign of this one.
    num_samples: int = 1
    local_reconstruction: tuple[float, ...] = (0.1, 0.1)
    form: Literal["mean", "sum"] = "mean"
    features: Literal["mixed", "pre", "post"] = "mixed"
    latents: Literal["shared", "independent"] = "shared"
    divergence: Literal["sampled", "analytic"] = "sampled"
    optimiser: OptimiserConfig = ADAM

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples is {self.num_samples}; it must be positive")
        if not all(0 <= weight < math.inf for weight in self.local_reconstruction):
            raise ValueError(f"local_reconstruction is {self.local_reconstruction}; every number must be finite and not negative")
        for name, known in (
            ("form", ("mean", "sum")),
            ("features", ("mixed", "pre", "post")),
            ("latents", ("shared", "independent")),
            ("divergence", ("sampled", "analytic")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        if self.divergence == "analytic" and self.num_samples > 1:
            raise ValueError(f"divergence is 'analytic' with num_samples {self.num_samples}; a bound of several samples has no closed part")

    def phases(self, model: MemVAE, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        """One phase; ``teacher`` is not used. Raises InputError where lambda has not one number for each layer."""
        depth = len(model.config.hidden)
        if self.local_reconstruction and len(self.local_reconstruction) != depth:
            raise InputError(
                f"objective.local_reconstruction: {list(self.local_reconstruction)}: give one number for each of the {depth} hidden layers, or none"
            )
        return (Phase("bound", (model,), _Step(self, model).loss, optimiser=self.optimiser),)


@dataclass(frozen=True)
class _Step:
    """The loss, bound to a model."""

    objective: MemVAEObjective
    model: MemVAE

    def loss(self, batch: Batch) -> Loss:
        """-L_k + R of a batch."""
        model, objective, k = self.model, self.objective, self.objective.num_samples
        assert batch.image is not None, "the bound reads data"
        x = model.observed(batch.image, batch.index, seed=batch.seed, stream=batch.stream + _BINARY)
        condition = model.condition(batch.label if model.config.num_classes else None)
        regularised = any(objective.local_reconstruction)
        encoded = model.encoder(x, condition, normalised=regularised and objective.features != "post")
        eps = model.draws(batch.index, k, seed=batch.seed, stream=batch.stream)
        z = self._latents(encoded, eps)
        condition = None if condition is None else condition.repeat(k, 1)
        decoded = model.decoder(z.flatten(0, 1), condition, normalised=regularised and objective.features == "pre")
        likelihood, divergence = model.log_prob(x, decoded.raw, k), model.divergence(z, encoded.log_variance, eps)
        if objective.divergence == "analytic":
            divergence = analytic_divergence(encoded)
        bound = importance_bound(likelihood - divergence)
        terms = {"bound": bound, "reconstruction": likelihood.mean(), "divergence": divergence.mean()}
        if model.config.output == "gaussian":
            terms["least_log_variance"] = model.normal(decoded.raw)[1].min()
        total = -bound
        if regularised:
            if objective.latents == "independent":
                other = self._latents(encoded, model.draws(batch.index, k, seed=batch.seed, stream=batch.stream + _SECOND))
                decoded = model.decoder(other.flatten(0, 1), condition, normalised=objective.features == "pre")
            terms["local_reconstruction"] = self._regulariser(encoded, decoded)
            total = total + terms["local_reconstruction"]
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    @staticmethod
    def _latents(encoded: Encoded, eps: Tensor) -> Tensor:
        """z = mu + sigma eps, (s, b, z), in float32 at least."""
        return widen(encoded.mean) + torch.exp(0.5 * widen(encoded.log_variance)) * eps

    def _regulariser(self, encoded: Encoded, decoded: Decoded) -> Tensor:
        """sum_i lambda_i R_i. Nothing is detached: both networks learn from it."""
        objective, k = self.objective, self.objective.num_samples
        parts = []
        for weight, below, above in zip(objective.local_reconstruction, encoded.layers, decoded.layers, strict=True):
            if weight:
                target = _standard(below, before=objective.features != "post")
                found = _standard(above, before=objective.features == "pre")
                parts.append(weight * local_reconstruction(target, found.unflatten(0, (k, -1)), objective.form))
        return torch.stack(parts).sum()


def _standard(layer: Layer, *, before: bool) -> Tensor:
    """A layer's feature normalised over the batch, before or after its non-linearity (and memory)."""
    if not before:
        return standardise(widen(layer.output))
    assert layer.normalised is not None
    return layer.normalised


def analytic_divergence(encoded: Encoded) -> Tensor:
    """KL(q(z | x) || N(0, I)), (1, b)."""
    mean, log_variance = widen(encoded.mean), widen(encoded.log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)[None]
