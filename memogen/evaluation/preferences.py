"""Which slots of an attention memory the images of a class ask for, and how alike the classes are in this (Li et al. 2016, section 5.2, Fig. 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.evaluation.labels import labels_for
from memogen.evaluation.stream import device_of
from memogen.evaluation.work import Work
from memogen.types import ImageData, InputError, Pixels

BLOCK = 1000  # images at once


@runtime_checkable
class AddressesSlots(Protocol):
    """A model whose images address the slots of its memories: a weight for each slot, one tensor for each memory, from the data up.

    Row i's latent is a function of (``seed``, ``start`` + i). ``label`` is given to a model that is conditional on it.
    """

    def addresses(self, image: Pixels, *, seed: int, start: int) -> tuple[Float[Tensor, "b _"], ...]: ...


@dataclass(frozen=True)
class Preferences:
    """``by_layer[i][c, s]``: the mean share of slot s of memory i among the images of class c; a row sums to one. ``pixels``: the same of pixels."""

    by_layer: tuple[Float[np.ndarray, "classes _"], ...]
    pixels: Float[np.ndarray, "classes chw"]
    classes: tuple[str, ...]
    counts: tuple[int, ...]

    def layer(self, number: int) -> Float[np.ndarray, "classes slots"]:
        """Those of memory ``number``, from the data up. Raises InputError."""
        if not 0 <= number < len(self.by_layer):
            raise InputError(f"layer: {number}: memories are in layers 0 (next to the data) to {len(self.by_layer) - 1}")
        return self.by_layer[number]

    def top(self, number: int, num: int = 3) -> list[list[tuple[int, float]]]:
        """For each class its ``num`` most wanted slots of a memory with their shares, the first first (Table 4)."""
        table = self.layer(number)
        best = np.argsort(-table, axis=1, kind="stable")[:, :num]
        return [[(int(slot), float(row[slot])) for slot in slots] for row, slots in zip(table, best, strict=True)]

    def unused(self, number: int, below: float = 1e-3) -> int:
        """How many slots of a memory have a mean share over all classes below ``below``."""
        return int((self.layer(number).mean(0) < below).sum())


@torch.no_grad()
def slot_preferences(model: AddressesSlots, data: ImageData, *, seed: int = 0, work: Work | None = None) -> Preferences:
    """From the images as they are, not binarised, with one z ~ q(z | x) each: slot weights over their sum for each image, then means over classes.

    Raises InputError where labels are missing.
    """
    if data.label is None:
        raise InputError(f"preferences: {data.name} has no labels, and they are means over classes: choose a labelled data set")
    work, device = work or Work(), device_of(model)
    classes = data.classes or tuple(str(number) for number in range(int(data.label.max()) + 1))
    sums: list[Tensor] = []
    for turn in work.rounds("preferences", len(data), BLOCK):
        rows = slice(turn.start, turn.start + turn.num)
        image = torch.from_numpy(np.array(data.image[rows]))
        label = work.processes.gather(torch.from_numpy(np.array(data.label[rows])), turn)
        addresses: Callable[..., tuple[Tensor, ...]] = model.addresses
        parts = (*addresses(image.to(device), seed=seed, start=turn.start, **labels_for(model, data, rows)), image.flatten(1))
        member = torch.nn.functional.one_hot(label.cpu(), len(classes)).double()
        found = [member.T @ _shares(work.processes.gather(part, turn)) for part in parts]
        sums = [total + more for total, more in zip(sums, found, strict=True)] if sums else found
    counts = np.bincount(data.label, minlength=len(classes))
    present = np.flatnonzero(counts)
    *layers, pixels = ((total.numpy()[present] / counts[present, None]) for total in sums)
    return Preferences(tuple(layers), pixels, tuple(classes[k] for k in present), tuple(int(counts[k]) for k in present))


def _shares(weight: Tensor) -> Float[Tensor, "b slots"]:
    """Each row over its sum; a black image, which has none, stays black."""
    weight = weight.double().cpu()
    return weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def class_correlation(table: Float[np.ndarray, "classes slots"]) -> Float[np.ndarray, "classes classes"]:
    """Pearson's correlation of each two classes over the columns (Fig. 3c-d). A row without variance correlates with nothing: 0.

    departs: the authors' script divides by deviations that it has overwritten in part; this is the coefficient itself.
    """
    centred = table - table.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-12)
    found = unit @ unit.T
    np.fill_diagonal(found, 1.0)
    return found.clip(-1, 1)


def strongest(correlation: Float[np.ndarray, "classes classes"], num: int = 8) -> list[tuple[int, int, float]]:
    """The ``num`` pairs of classes that correlate most, the strongest first."""
    first, second = np.triu_indices(len(correlation), 1)
    value = correlation[first, second]
    order = np.argsort(-value, kind="stable")[:num]
    return [(int(first[k]), int(second[k]), float(value[k])) for k in order]
