"""From which laws the latents of a model are drawn: what a program that has only the graphs must know to draw as the model does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from memogen.memory.inspect import prior, written
from memogen.metrics.imputation import Reconstructs
from memogen.metrics.samples import num_labels
from memogen.shipped import StoredNames
from memogen.types import ClassModel, GenerativeModel, InputError, SlotModel


@dataclass(frozen=True)
class NoiseLaw:
    """``dim`` independent numbers: "uniform" on (-1, 1), or standard "normal"."""

    law: Literal["uniform", "normal"]
    dim: int


@dataclass(frozen=True)
class SlotLaw:
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
class LabelLaw:
    """Labels are drawn evenly from ``numbers``, the classes that the model knows."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Laws:
    """All that is drawn for one image."""

    noise: NoiseLaw
    slots: SlotLaw | None = None
    labels: LabelLaw | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def laws(model: GenerativeModel, names: StoredNames | None = None) -> Laws:
    """The laws of a model's latents. Raises InputError for a model that does not tell them, and for one that has learned no class yet."""
    example = model.latents(1)
    dim = example.noise.shape[1]
    if isinstance(model, SlotModel):
        slots = _slots(model, names) if example.key is not None else None
        return Laws(NoiseLaw(model.config.noise.law, dim), slots)
    if isinstance(model, ClassModel):
        known = LabelLaw(model.known, tuple(model.config.name(label) for label in model.known)) if example.label is not None else None
        return Laws(NoiseLaw("normal", dim), labels=known)
    if isinstance(model, Reconstructs):
        count = num_labels(model)
        known = LabelLaw(tuple(range(count)), tuple(map(str, range(count)))) if count else None
        return Laws(NoiseLaw("normal", dim), labels=known)
    raise InputError(f"model: a {type(model).__name__} does not tell from which law its noise is drawn: export a memoryGAN, replay GAN or MEM-VAE")


def _slots(model: SlotModel, names: StoredNames | None) -> SlotLaw:
    memory = model.memory
    chance = prior(memory)
    filled = chance * written(memory)
    chance = filled if bool(filled.sum() > 0) else chance
    numbers = torch.nonzero(chance)[:, 0]
    found = chance[numbers] / chance.sum()
    told = names if names is not None and len(names.label) == len(chance) else None
    called = tuple(told.classes[told.label[slot]] if told.label[slot] >= 0 else "" for slot in numbers.tolist()) if told else ()
    kappa = float(memory.fitted_concentration())
    return SlotLaw(tuple(numbers.tolist()), tuple(found.tolist()), called, model.config.condition, kappa, memory.key_dim)
