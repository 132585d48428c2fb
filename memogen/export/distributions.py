"""From which laws the latents of a model are drawn: what a program that has only the graphs must know to draw as the model does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from memogen.memory.inspect import prior, written
from memogen.metrics.imputation import Reconstructs
from memogen.metrics.samples import num_labels
from memogen.report.figures import memory_of
from memogen.shipped import StoredNames
from memogen.types import ClassModel, GenerativeModel, InputError, SlotModel


@dataclass(frozen=True)
class NoiseDistribution:
    """``dim`` independent numbers: "uniform" on (-1, 1), or standard "normal"."""

    law: Literal["uniform", "normal"]
    dim: int


@dataclass(frozen=True)
class SlotDistribution:
    """``numbers`` are the slots that are drawn, each with the probability in ``prior``; ``names`` are what is known of what each holds.

    ``key`` "draw": the generator is given a von Mises-Fisher draw of this ``concentration`` around the slot's key; "key": the key itself.
    """

    numbers: tuple[int, ...]
    prior: tuple[float, ...]
    names: tuple[str, ...]
    key: Literal["draw", "key"]
    concentration: float
    dim: int


@dataclass(frozen=True)
class LabelDistribution:
    """Labels are drawn evenly from ``numbers``, the classes that the model knows."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class LatentDistributions:
    """All that is drawn for one image."""

    noise: NoiseDistribution
    slots: SlotDistribution | None = None
    labels: LabelDistribution | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def latent_distributions(model: GenerativeModel, names: StoredNames | None = None) -> LatentDistributions:
    """The laws of a model's latents. Raises InputError for a model that does not tell them, and for one that has learned no class yet."""
    example = model.latents(1)
    dim = example.noise.shape[1]
    if isinstance(model, SlotModel):
        slots = _slots(model, names) if example.key is not None else None
        return LatentDistributions(NoiseDistribution(model.config.noise.law, dim), slots)
    if isinstance(model, ClassModel):
        known = LabelDistribution(model.known, tuple(model.config.name(label) for label in model.known)) if example.label is not None else None
        return LatentDistributions(NoiseDistribution("normal", dim), labels=known)
    if isinstance(model, Reconstructs):
        count = num_labels(model)
        known = LabelDistribution(tuple(range(count)), tuple(map(str, range(count)))) if count else None
        return LatentDistributions(NoiseDistribution("normal", dim), labels=known)
    raise InputError(f"model: a {type(model).__name__} does not tell from which law its noise is drawn: export a memoryGAN, replay GAN or MEM-VAE")


def _slots(model: SlotModel, names: StoredNames | None) -> SlotDistribution:
    memory = memory_of(model)
    chance = prior(memory)
    filled = chance * written(memory)
    chance = filled if bool(filled.sum() > 0) else chance
    numbers = torch.nonzero(chance)[:, 0]
    found = chance[numbers] / chance.sum()
    told = names if names is not None and len(names.label) == len(chance) else None
    called = tuple(told.classes[told.label[slot]] if told.label[slot] >= 0 else "" for slot in numbers.tolist()) if told else ()
    kappa = float(memory.fitted_concentration())
    return SlotDistribution(tuple(numbers.tolist()), tuple(found.tolist()), called, model.config.condition, kappa, memory.key_dim)
