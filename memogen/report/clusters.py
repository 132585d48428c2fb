"""What the slots of a memoryGAN tell of images: its clusters measured, against pixels, a classifier's features and labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memogen.evaluation.clusters import agreement, effective_rank, neighbour_accuracy, variance_between
from memogen.evaluation.features import Extractor
from memogen.evaluation.reference import shuffled
from memogen.evaluation.stream import device_of
from memogen.evaluation.work import Work
from memogen.memory.inspect import best_slots, mean_cosine
from memogen.models import MemoryGAN
from memogen.types import ImageData, InputError, Latents, to_uint8

from .drawing import memory_of

BLOCK = 250  # images at once
NEIGHBOURS = 5
SLOT, QUERY = "slot", "query"
Views = dict[str, Tensor]
"""Rows, one for each image, by what they are of."""


@dataclass(frozen=True)
class Sorted:
    """Images as they are looked at: the slot that each belongs to, and rows of numbers for each by what they are of."""

    slot: Int[Tensor, " n"]
    views: Mapping[str, Float[Tensor, "n _"]]

    @property
    def num_slots(self) -> int:
        """How many different ones they belong to."""
        return len(self.slot.unique())

    def between(self) -> dict[str, float]:
        """The share of the variance of each view that lies between slots."""
        return {name: variance_between(rows, self.slot) for name, rows in self.views.items()}


@dataclass(frozen=True)
class Clusters:
    """Real images and samples, sorted by slot: of an image the most probable real one, of a sample the one that it was drawn from (None: from none).

    ``queries`` are those of the images, ``label`` their classes where these are known.
    """

    images: Sorted
    samples: Sorted | None
    queries: Float[Tensor, "n d"]
    label: Int[Tensor, " n"] | None

    def table(self) -> list[list[str]]:
        """How many images and slots there are, and the shares of variance between slots: a column for images and one for samples."""
        groups = {"images": self.images} | ({"samples": self.samples} if self.samples else {})
        shares = [group.between() for group in groups.values()]
        counts = [
            ["number", *(f"{len(group.slot):,}" for group in groups.values())],
            ["different slots", *(f"{group.num_slots:,}" for group in groups.values())],
        ]
        between = ([f"variance of {name} between slots", *(_share(share[name]) for share in shares)] for name in shares[0])
        return [["", *groups], *counts, *between]

    def queries_table(self) -> list[list[str]]:
        """What the queries say: their effective rank and mean cosine and, where there are labels, the neighbours' and the slots' part in them."""
        rank = f"{effective_rank(self.queries):.1f} of {self.queries.shape[1]}"
        spread = [["effective rank", rank], ["mean cosine of two", _share(mean_cosine(self.queries))]]
        if self.label is None:
            return [["queries", ""], *spread]
        near = {name: neighbour_accuracy(rows, self.label, k=NEIGHBOURS) for name, rows in {"queries": self.queries, **self.images.views}.items()}
        told = [[f"{NEIGHBOURS} nearest by {name} tell the class", _share(share)] for name, share in near.items()]
        return [
            ["queries", ""],
            *spread,
            *told,
            ["adjusted mutual information of slots and classes", _share(agreement(self.images.slot, self.label))],
        ]


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


@torch.no_grad()
def clusters(
    model: MemoryGAN, data: ImageData, *, judge: Extractor | None = None, num: int = 2000, seed: int = 0, work: Work | None = None
) -> Clusters:
    """Look at ``num`` images, drawn by ``seed`` from ``data``, and at as many samples; ``judge`` adds its features to the views.

    Raises InputError for a model without memory, a memory without real slots, images of another shape and fewer labelled images than have neighbours.
    """
    memory, work = memory_of(model), work or Work()
    if not bool((memory.values > 0.5).any()):
        raise InputError("clusters: no slot of the memory is real, so images belong to none: train the model first")
    rows = np.sort(shuffled(len(data), seed)[:num])
    _check(model, data, len(rows))
    view = partial(_views, judge)

    def image(start: int, size: int) -> Views:
        pixels = torch.from_numpy(np.array(data.image[rows[start : start + size]]))
        query = model.encode(pixels)
        return {SLOT: best_slots(memory, query), QUERY: query, **view(pixels)}

    def sample(start: int, size: int) -> Views:
        latents = model.latents(size, seed=seed, start=start)
        return {SLOT: _slots_of(latents), **view(to_uint8(model.decode(latents), model.image_range))}

    label = None if data.label is None else torch.from_numpy(data.label[rows].astype(np.int64))
    images = _gathered(work, "images", len(rows), image)
    queries = images.pop(QUERY)
    samples = _sorted(_gathered(work, "samples", len(rows), sample)) if model.config.conditional else None
    return Clusters(_sorted(images), samples, queries, label)


def _gathered(work: Work, name: str, num: int, look: Callable[[int, int], Views]) -> Views:
    """All rows of what ``look`` says of the images start to start + size - 1."""
    found = list[Views]()
    for turn in work.rounds(name, num, BLOCK):
        found.append({each: work.processes.gather(rows, turn).cpu() for each, rows in look(turn.start, turn.num).items()})
    return {each: torch.cat([part[each] for part in found]) for each in found[0]}


def _views(judge: Extractor | None, image: UInt8[Tensor, "b c h w"]) -> Views:
    """The numbers that stand for an image."""
    plain = {"mean colours": image.double().mean((2, 3)), "pixels": image.flatten(1).double()}
    return plain if judge is None else {**plain, "the classifier's features": judge.features(image.to(device_of(judge))).double()}


def _slots_of(latents: Latents) -> Int[Tensor, " b"]:
    assert latents.slot is not None  # as the generator is conditioned on them
    return latents.slot


def _sorted(views: Views) -> Sorted:
    return Sorted(views[SLOT], {name: rows for name, rows in views.items() if name != SLOT})


def _check(model: MemoryGAN, data: ImageData, num: int) -> None:
    if data.image_shape != model.config.image_shape:
        raise InputError(f"clusters: {data.name}: images are {data.image_shape}, the model's {model.config.image_shape}: name data of its shape")
    if data.label is not None and num <= NEIGHBOURS:
        raise InputError(f"clusters: {num} images with labels have no {NEIGHBOURS} neighbours each: look at {NEIGHBOURS + 1} or more")
