"""Held-out images as a model's likelihood takes them, and its bounds of them over training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from torch import nn

from memogen.data.arrays import digest
from memogen.evaluation.binarisation import Binarisation
from memogen.evaluation.likelihood import log_likelihood
from memogen.evaluation.reference import shuffled
from memogen.types import ImageData, InputError, LikelihoodModel


@runtime_checkable
class Binarises(Protocol):
    """Grey images must be binarised, a byte v being white with probability v / ``binary_levels``, to have a likelihood; None: they need not."""

    @property
    def binary_levels(self) -> int | None: ...


def observable(model: object, data: ImageData, *, seed: int) -> tuple[ImageData, dict[str, object]]:
    """The images in black and white where the model wants them so, drawn once by ``seed`` for all models; and what a protocol says of it."""
    levels = model.binary_levels if isinstance(model, Binarises) else None
    if not levels:
        return data, {"binarisation": "none"}
    drawn = Binarisation(seed, levels)
    return drawn.apply(data), drawn.protocol


def part_of(data: ImageData, num: int) -> ImageData:
    """``num`` images of the data in their order, the same ones always; all of them where there are no more."""
    if num >= len(data):
        return data
    rows = np.sort(shuffled(len(data), 0)[:num])
    label = None if data.label is None else np.array(data.label[rows])
    image = np.array(data.image[rows])
    return replace(data, image=image, label=label, digest=digest(image, label))


@dataclass(frozen=True)
class HeldOutBounds:
    """An evaluator: the mean lower bound of ``images``, which are as the model observes them, in nats; and that of ``num_samples`` samples."""

    images: ImageData
    num_samples: int = 10

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        """Neither the training ``data`` nor the ``seed`` matters. Raises InputError for a model without a likelihood."""
        if not isinstance(model, LikelihoodModel):
            raise InputError(f"bound: a {type(model).__name__} has no likelihood: choose a MEM-VAE")
        found = log_likelihood(model, self.images, num_samples=self.num_samples, at=(self.num_samples,))
        return {"images": float(len(self.images)), "lower_bound": found.elbo, f"bound_of_{self.num_samples}_samples": found.value}
