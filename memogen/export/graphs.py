"""What leaves of a model: graphs, modules with named inputs and outputs, and the laws from which their inputs are drawn.

Which graphs a model has follows from the protocols that it satisfies, not from its family. Every first dimension is a batch of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from memogen.memory.inspect import prior, written
from memogen.metrics.imputation import Reconstructs
from memogen.metrics.samples import num_labels
from memogen.metrics.slot_contents import ShowsPrior
from memogen.report.figures import memory_of
from memogen.shipped import StoredNames
from memogen.types import ClassModel, GenerativeModel, InputError, Latents, SlotModel


@dataclass(frozen=True)
class Graph:
    """A function of tensors. ``inputs`` is an example for two images; ``about`` describes the graph in one sentence."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    about: str

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs as torch computes them."""
        found = self.module(*inputs)
        return found if isinstance(found, tuple) else (found,)


def generator(model: GenerativeModel) -> Graph:
    """Latents to images in the model's range; the inputs are the parts of its own latents."""
    example = model.latents(2)
    inputs = {name: part for name in ("noise", "key", "label") if (part := getattr(example, name)) is not None}
    module = _Called(model, partial(_decoded, tuple(inputs))).eval()
    return Graph("generator", module, inputs, ("image",), "Latents to images.")


def graphs(model: GenerativeModel) -> tuple[Graph, ...]:
    """The generator, and if the model has them its encoder, the keys of its slots, and one step of reconstruction."""
    made = [generator(model)]
    image = model.decode(model.latents(2)).clamp(*model.image_range)
    if isinstance(model, SlotModel):
        if model.memory is not None and "key" in made[0].inputs:
            about = "Numbers of slots to their keys; an empty slot has a key of zeros."
            made.append(Graph("slots", _Keys(model.memory.keys), {"slot": torch.tensor([0, 1])}, ("key",), about))
        if model.config.query_length:
            posterior = ("posterior",) if model.memory is not None else ()
            about = "Images to their queries" + (", and the probability of every slot given the image." if posterior else ".")
            made.append(Graph("encoder", _Called(model, _read).eval(), {"image": image}, ("query", *posterior), about))
    elif isinstance(model, Reconstructs):
        label = {name: part for name, part in made[0].inputs.items() if name == "label"}
        about = "Images to mean and log variance of their latents."
        made.append(Graph("encoder", _Called(model, _encoded).eval(), {"image": image, **label}, ("mean", "log_variance"), about))
        about = "Images and standard normal noise to images: one step of reconstruction, or of filling in missing pixels."
        inputs = {"image": image, "noise": made[0].inputs["noise"], **label}
        made.append(Graph("reconstruction", _Called(model, _reconstructed).eval(), inputs, ("reconstruction",), about))
    return tuple(made)


class _Called(nn.Module):
    """A function of a model and tensors as a module."""

    def __init__(self, model: Any, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.model, *inputs)


class _Keys(nn.Module):
    keys: Tensor

    def __init__(self, keys: Tensor) -> None:
        super().__init__()
        self.register_buffer("keys", keys)

    def forward(self, *slot: Tensor) -> Tensor:
        return self.keys[slot[0]]


def _decoded(names: tuple[str, ...], model: Any, *parts: Tensor) -> Any:
    return model.decode(Latents(**dict(zip(names, parts, strict=True))))


def _read(model: Any, image: Tensor) -> Any:
    """Queries of a mixture memory, and its posterior."""
    query = model.encode(image)
    return query if model.memory is None else (query, model.memory.posterior(query))


def _encoded(model: Any, *image_and_label: Tensor) -> Any:
    return model.encode(*image_and_label)


def _reconstructed(model: Any, image: Tensor, noise: Tensor, *label: Tensor) -> Any:
    """What ``reconstruct`` does, with the noise as an input: encode, draw one latent, decode."""
    mean, log_variance = model.encode(image, *label)
    drawn = Latents(mean + torch.exp(0.5 * log_variance) * noise, label=label[0] if label else None)
    return model.decode(drawn).clamp(0, 1)


@dataclass(frozen=True)
class NoiseDistribution:
    """``dim`` independent numbers: "uniform" on (-1, 1), or standard "normal"."""

    law: Literal["uniform", "normal"]
    dim: int


@dataclass(frozen=True)
class SlotDistribution:
    """``numbers`` are the slots that are drawn, each with its probability in ``prior`` and, if known, its name.

    ``key`` "draw": the generator reads a von Mises-Fisher draw with this ``concentration`` around the slot's key; "key": the key itself.
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
    """The laws of all inputs of the generator."""

    noise: NoiseDistribution
    slots: SlotDistribution | None = None
    labels: LabelDistribution | None = None


def latent_distributions(model: GenerativeModel, names: StoredNames | None = None) -> LatentDistributions:
    """The laws of a model's latents. Raises InputError for unknown laws, a learned prior, and a model that has learned no class yet."""
    if isinstance(model, ShowsPrior) and model.prior_slots:
        raise InputError(
            f"model: its prior is learned, a mixture of {model.prior_slots} posteriors, and exported files draw standard normal noise: draw from it "
            "with memogen sample, or export a model with model.prior_slots 0"
        )
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
