"""What of a model leaves as graphs: modules whose inputs and outputs have names, each with an example of its inputs.

Which graphs a model has follows from what it can do; no family is asked for by name. Every first dimension is a batch of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memogen.metrics.imputation import Reconstructs
from memogen.types import GenerativeModel, Latents, SlotModel

PARTS = ("noise", "key", "label")
"""What a generator may be given, in the order of its inputs."""


@dataclass(frozen=True)
class Graph:
    """A function of tensors. ``inputs`` is an example for two images; ``about`` says in one sentence what the graph gives."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    about: str

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What torch computes."""
        found = self.module(*inputs)
        return found if isinstance(found, tuple) else (found,)


def generator(model: GenerativeModel) -> Graph:
    """Latents to images in the model's range: the inputs are the parts of its own latents."""
    example = model.latents(2)
    inputs = {name: part for name in PARTS if (part := getattr(example, name)) is not None}
    return Graph("generator", _Generator(model, tuple(inputs)).eval(), inputs, ("image",), "Latents to images.")


def graphs(model: GenerativeModel) -> tuple[Graph, ...]:
    """Everything of a model that can leave: its generator, and where it has them its encoder, the keys of its slots, one step of reconstruction."""
    made = [generator(model)]
    image = model.decode(model.latents(2)).clamp(*model.image_range)
    if isinstance(model, SlotModel):
        if model.memory is not None and "key" in made[0].inputs:
            about = "Numbers of slots to their keys; an empty slot has a key of zeros."
            made.append(Graph("slots", _Keys(model.memory.keys), {"slot": torch.tensor([0, 1])}, ("key",), about))
        if model.config.query_length:
            posterior = ("posterior",) if model.memory is not None else ()
            about = "Images to their queries" + (", and the probability of every slot given the image." if posterior else ".")
            made.append(Graph("encoder", _Reader(model).eval(), {"image": image}, ("query", *posterior), about))
    elif isinstance(model, Reconstructs):
        label = {name: part for name, part in made[0].inputs.items() if name == "label"}
        about = "Images to mean and log variance of their latents."
        made.append(Graph("encoder", _Encoder(model).eval(), {"image": image, **label}, ("mean", "log_variance"), about))
        about = "Images and standard normal noise to images: one step of reconstruction, or of filling in missing pixels."
        noise = made[0].inputs["noise"]
        made.append(Graph("reconstruction", _Reconstruction(model).eval(), {"image": image, "noise": noise, **label}, ("reconstruction",), about))
    return tuple(made)


class _Generator(nn.Module):
    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *parts: Tensor) -> Tensor:
        image: Tensor = self.model.decode(Latents(**dict(zip(self.names, parts, strict=True))))
        return image


class _Keys(nn.Module):
    keys: Tensor

    def __init__(self, keys: Tensor) -> None:
        super().__init__()
        self.register_buffer("keys", keys)

    def forward(self, *slot: Tensor) -> Tensor:
        return self.keys[slot[0]]


class _Reader(nn.Module):
    """Queries of a mixture memory, and its posterior."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        query: Tensor = self.model.encode(image[0])
        return query if self.model.memory is None else (query, self.model.memory.posterior(query))


class _Encoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *image_and_label: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.model.encode(*image_and_label)
        return mean, log_variance


class _Reconstruction(nn.Module):
    """Encode, draw one latent, decode: what ``reconstruct`` does, with the noise as an input."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *given: Tensor) -> Tensor:
        image, noise, *label = given
        mean, log_variance = self.model.encode(image, *label)
        drawn = Latents(mean + torch.exp(0.5 * log_variance) * noise, label=label[0] if label else None)
        again: Tensor = self.model.decode(drawn)
        return again.clamp(0, 1)
