"""Does a decoder use its memory? What the lower bound loses when every image gets the same answer of the memory.

An attention memory can train without complaint and give every image the same answer: its layer is then a plain layer with more parameters. So each
memory's answer is replaced by the mean answer to the batch, and the lower bounds with and without are compared image by image.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.metrics.log_likelihood import observable
from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.samples import Work, device_of, labels_for, part_of
from memogen.metrics.slot_contents import Preferences, slot_preferences
from memogen.types import ImageData, Pixels

BATCH = 100  # images whose mean answer replaces the answer to each
SAMPLES = 5  # of the latent for each image; the same ones with and without


@runtime_checkable
class ReplacesAnswers(Protocol):
    """A model with memories in layers 0 (next to the data), 1, ... whose answers ``log_weights`` can replace, ``fill`` "mean" by the batch's mean."""

    @property
    def slot_counts(self) -> tuple[int, ...]: ...
    def log_weights(
        self, image: Pixels, *, num_samples: int, seed: int, index: Tensor, without_memory: Collection[int], fill: str
    ) -> Float[Tensor, "s b"]: ...


@dataclass(frozen=True)
class MemoryUse:
    """Nats of the lower bound that each image loses: ``of_layer[i]`` without the own answer of memory i, ``of_all`` without that of any memory."""

    of_layer: tuple[Float[np.ndarray, " n"], ...]
    of_all: Float[np.ndarray, " n"]

    @property
    def mean(self) -> float:
        """The mean of ``of_all``, in nats: 0 for a memory that tells images nothing of their own."""
        return float(self.of_all.mean())

    @property
    def error(self) -> float:
        """The standard error of :attr:`mean` over images."""
        return float(self.of_all.std(ddof=1) / math.sqrt(len(self.of_all))) if len(self.of_all) > 1 else math.nan

    @property
    def used(self) -> bool:
        """Whether the loss is more than chance: above two standard errors."""
        return self.mean > 2 * self.error

    def __str__(self) -> str:
        worth = f"{self.mean:.3f} ± {self.error:.3f} nats of the bound of an image"
        if self.used:
            return f"the memory's own answer to each image is worth {worth}"
        return f"the memory is unused: it could give every image the same answer ({worth})"


@torch.no_grad()
def memory_use(model: ReplacesAnswers, data: ImageData, *, seed: int = 0, work: Work | None = None) -> MemoryUse:
    """What the images of ``data``, as the model observes them (:func:`~memogen.metrics.log_likelihood.observable`), lose in nats."""
    work, device, layers = work or Work(), device_of(model), range(len(model.slot_counts))
    found = list[Tensor]()
    for turn in work.rounds("use of the memory", len(data), BATCH):
        rows = slice(turn.start, turn.start + turn.num)
        image, index = torch.from_numpy(np.array(data.image[rows])).to(device), torch.arange(rows.start, rows.stop, device=device)
        told = labels_for(model, data, rows)
        bounds = [
            model.log_weights(image, num_samples=SAMPLES, seed=seed, index=index, without_memory=without, fill="mean", **told).mean(0)
            for without in ((), *((layer,) for layer in layers), tuple(layers))
        ]
        lost = torch.stack([bounds[0] - bound for bound in bounds[1:]], 1).double()
        found.append(work.processes.gather(lost, turn).cpu())
    *of_layer, of_all = torch.cat(found).numpy().T
    return MemoryUse(tuple(of_layer), of_all)


def effective_slots(found: Preferences, layer: int) -> tuple[float, tuple[float, ...]]:
    """(over all classes, within each class): how many slots of a memory share the weight, as exp of the entropy of the mean shares.

    A memory that tells classes apart has fewer within a class than over all.
    """

    def effective(share: Float[np.ndarray, " slots"]) -> float:
        share = share[share > 0] / share.sum()
        return float(np.exp(-(share * np.log(share)).sum()))

    table = found.layer(layer)
    return effective(table.mean(0)), tuple(effective(row) for row in table)


def check(asked: Asked) -> None:
    """Refuse a model without an attention memory."""
    if not isinstance(asked.subject, ReplacesAnswers) or not asked.subject.slot_counts:
        raise asked.unable("memory_use", "has no memory that a decoder reads")


def results(asked: Asked) -> Iterator[Result]:
    """The nats, and for labelled images the slots in use."""
    images, binarisation = observable(asked.subject, asked.data, seed=asked.how.binarisation_seed)
    found = memory_use(asked.subject, part_of(images, asked.num_samples), seed=asked.seed, work=asked.work)
    protocol: dict[str, object] = {"num_samples": len(found.of_all), "seed": asked.seed, "latents": SAMPLES, "unit": "nats", **binarisation}
    protocol["by_layer"] = [float(lost.mean()) for lost in found.of_layer]
    if asked.data.label is not None:
        preferences = slot_preferences(asked.subject, part_of(asked.data, asked.num_samples), seed=asked.seed, work=asked.work)
        slots = [effective_slots(preferences, layer) for layer in range(len(preferences.by_layer))]
        protocol["effective_slots"] = [{"all": whole, "by_class": dict(zip(preferences.classes, each, strict=True))} for whole, each in slots]
    yield Result("memory_use", found.mean, None if math.isnan(found.error) else found.error, protocol)


MEMORY_USE = Metric(
    "memory_use",
    "what the memory's own answer to each image is worth",
    (Number("memory_use", "nats by the memory's own answers", "higher", tabled=False),),
    needs("model", "likelihood"),
    results,
    check,
)
