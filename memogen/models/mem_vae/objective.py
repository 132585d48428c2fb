"""The loss of a MEM-VAE: the importance bound and the local reconstruction term (Li, Zhu and Zhang, ICML 2016, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...configs import LATER
from ...losses import importance_bound, local_reconstruction, widen
from ...nets.norm import standardise
from ...noise import Stream
from ...types import Batch, DecayConfig, InputError, Loss, OptimiserConfig, Phase
from ..replayed import state_bytes, tasks_of
from .model import MemVAE
from .networks import Decoded, Encoded
from .replay import SampleTeacher

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

    ``local_reconstruction``: lambda of each hidden layer, from the data up, or () for none. R is a mean over features and compares the encoder's
    normalised linear output with the decoder's normalised output after the memory, as the authors' code does. ``second_draw``: the decoder's come
    from another z than that of the bound, as in their code. ``replay``: on a sequence of tasks, samples of a frozen copy take the place of the
    earlier tasks' images (:mod:`.replay`).
    """

    # departs: the authors' code draws a second z for the features; that of the bound has the same expectation at half the decoder's cost.
    # departs: the paper prints a sum of the bound and R to be minimised, which would lower the likelihood; its code has the sign of this one.
    num_samples: int = 1
    local_reconstruction: tuple[float, ...] = (0.1, 0.1)
    second_draw: bool = False
    optimiser: OptimiserConfig = ADAM
    replay: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples is {self.num_samples}; it must be positive")
        if not all(0 <= weight < math.inf for weight in self.local_reconstruction):
            raise ValueError(f"local_reconstruction is {self.local_reconstruction}; every number must be finite and not negative")

    def teacher(self, model: MemVAE) -> SampleTeacher | None:
        """An empty copy of the model that will replay earlier tasks; None without replay. Raises InputError for a model with labels."""
        if self.replay and model.config.num_classes:
            raise InputError("objective.replay: tasks come without labels, and this model is conditional on them: set model.num_classes to 0")
        return SampleTeacher(model) if self.replay else None

    def teach(self, teacher: SampleTeacher, model: MemVAE) -> None:
        """Copy the model to the teacher, after a task."""
        teacher.follow(model)

    def cost(self, model: MemVAE, tasks: Sequence[int], *, steps: int, batch_size: int) -> dict[str, float]:
        """The number of images replayed in training, and the megabytes stored beside the model."""
        teacher = self.teacher(model)
        drawn, kept = (0, 0) if teacher is None else (steps * batch_size * (len(tasks) - 1), state_bytes(teacher))
        return {"generated_images": float(drawn), "kept_megabytes": kept / 1e6}

    def phases(self, model: MemVAE, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        """One phase. A ``teacher`` that has learned a task replays it. Raises InputError unless lambda has one number for each layer."""
        depth = len(model.config.hidden)
        if self.local_reconstruction and len(self.local_reconstruction) != depth:
            raise InputError(
                f"objective.local_reconstruction: {list(self.local_reconstruction)}: give one number for each of the {depth} hidden layers, or none"
            )
        past = teacher if isinstance(teacher, SampleTeacher) and tasks_of(teacher) else None
        return (Phase("bound", (model,), _Step(self, model, past).loss, optimiser=self.optimiser),)


@dataclass(frozen=True)
class _Step:
    """The loss, bound to a model."""

    objective: MemVAEObjective
    model: MemVAE
    past: SampleTeacher | None = None

    def loss(self, batch: Batch) -> Loss:
        """-L_k + R of a batch."""
        model, objective, k = self.model, self.objective, self.objective.num_samples
        assert batch.image is not None, "the bound reads data"
        image = batch.image if self.past is None else self.past.mixed(model.pixels(batch.image), batch)
        x = model.observed(image, batch.index, seed=batch.seed, stream=batch.stream + Stream.BINARISE)
        condition = model.condition(batch.label if model.config.num_classes else None)
        regularised = any(objective.local_reconstruction)
        encoded = model.encoder(x, condition, normalised=regularised)
        eps = model.draws(batch.index, k, seed=batch.seed, stream=batch.stream)
        z = self._latents(encoded, eps)
        condition = None if condition is None else condition.repeat(k, 1)
        decoded = model.decoder(z.flatten(0, 1), condition)
        likelihood, divergence = model.log_prob(x, decoded.raw, k), model.prior(x).divergence(z, encoded.log_variance, eps)
        bound = importance_bound(likelihood - divergence)
        terms = {"bound": bound, "reconstruction": likelihood.mean(), "divergence": divergence.mean()}
        if model.config.output == "gaussian":
            terms["least_log_variance"] = model.normal(decoded.raw)[1].min()
        total = -bound
        if regularised:
            if objective.second_draw:
                other = self._latents(encoded, model.draws(batch.index, k, seed=batch.seed, stream=batch.stream + Stream.SECOND_Z))
                decoded = model.decoder(other.flatten(0, 1), condition)
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
                assert below.normalised is not None, "the encoder was asked for it"
                found = standardise(widen(above.output)).unflatten(0, (k, -1))
                parts.append(weight * local_reconstruction(below.normalised, found))
        return torch.stack(parts).sum()
