"""What the slots of a memoryGAN know of classes that nobody told it, held against what is to be had without training.

Training images say which class a slot stands for, test images ask. A memory that learned something sorts images by class better than k-means on
pixels with as many clusters, than random images as keys in the queries of an untrained critic, and than random images as keys in its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from memogen.memory import MixtureMemory
from memogen.memory.inspect import best_slots
from memogen.metrics.prdc import distances
from memogen.metrics.samples import device_of, part_of, shuffled
from memogen.metrics.work import Work
from memogen.types import ImageData, InputError, SlotModel

BLOCK = 250  # images encoded at once
IMAGES = 10_000  # of a split that are looked at, at most
NEIGHBOURS = 5
STARTS = 10  # of what starts at random, where that is cheap
FEW_CLUSTERS = 32  # reading a number costs as much as so many products
PRODUCTS = 1_000_000_000  # of numbers, that all starts but one may take in a round over the training images


class BuiltSlots(SlotModel, Protocol):
    """A model with a mixture memory whose ``config`` tells the shape of its images and builds it anew."""

    config: Any


@dataclass(frozen=True)
class Placed:
    """Images with their queries and the most probable real slot of each; on the CPU. ``of`` is how many there are to choose from."""

    images: ImageData
    query: Float[Tensor, "n d"]
    slot: Int[Tensor, " n"]
    of: int

    @property
    def label(self) -> Int[Tensor, " n"]:
        """The classes. Raises InputError where the data have none."""
        if self.images.label is None:
            raise InputError(f"slots: {self.images.name} has no labels, so nothing says which class a slot holds: give a labelled data set")
        return torch.from_numpy(np.array(self.images.label, dtype=np.int64))

    @property
    def pixels(self) -> Float[Tensor, "n f"]:
        """The images as rows of numbers."""
        return torch.from_numpy(np.array(self.images.image)).flatten(1).float()


def placed(model: BuiltSlots, data: ImageData, *, num: int = IMAGES, work: Work | None = None) -> Placed:
    """``num`` images of the data, the same ones always, or all where there are no more.

    Raises InputError for a model without memory, a memory without real slots and images of another shape.
    """
    memory, part = checked_memory(model, data), part_of(data, num)
    query = queries(model, part, work=work)
    return Placed(part, query, best_slots(memory, query.to(memory.keys.device)).cpu(), len(data))


@torch.no_grad()
def queries(model: BuiltSlots, data: ImageData, *, work: Work | None = None) -> Float[Tensor, "n d"]:
    """Those of all images, on the CPU."""
    work, found = work or Work(), list[Tensor]()
    for turn in work.rounds(f"queries of {data.name} {data.split}", len(data), BLOCK):
        query = model.encode(torch.from_numpy(np.array(data.image[turn.start : turn.start + turn.num])).to(device_of(model)))
        found.append(work.processes.gather(query, turn).cpu())
    return torch.cat(found)


def checked_memory(model: BuiltSlots, data: ImageData) -> MixtureMemory:
    """The model's memory. Raises InputError where images of ``data`` belong to no slot of it."""
    if model.memory is None:
        raise InputError("slots: this model was built without a memory, so images belong to none: choose a model with memory")
    if not bool((model.memory.values > 0.5).any()):
        raise InputError("slots: the memory has no real slots yet, so images belong to none: train the model first")
    if data.image_shape != model.config.image_shape:
        raise InputError(f"slots: {data.name}: images are {data.image_shape}, the model's {model.config.image_shape}: name data of its shape")
    return model.memory


# --- names ---


@dataclass(frozen=True)
class SlotNames:
    """What slots are called. ``label`` is the majority class of each (-1: no image belongs to it), ``share`` the part of its images that have it.

    ``names[17]`` is such as "Sneaker 0.93", and "" for a slot without images.
    """

    label: Int[Tensor, " k"]
    share: Float[Tensor, " k"]
    classes: tuple[str, ...]

    def __getitem__(self, slot: int) -> str:
        label = int(self.label[slot])
        return f"{self.class_name(label)} {float(self.share[slot]):.2f}" if label >= 0 else ""

    def __len__(self) -> int:
        return len(self.label)

    def class_name(self, label: int) -> str:
        """The class in words, or its number where the data have none for it."""
        return self.classes[label] if label < len(self.classes) else str(label)


def slot_names(slot: Int[Tensor, " n"], label: Int[Tensor, " n"], classes: tuple[str, ...], num_slots: int) -> SlotNames:
    """Names for ``num_slots`` slots from images that belong to ``slot``, -1 being none, and have the classes ``label``."""
    belongs = slot >= 0
    return SlotNames(*majority(slot[belongs], label[belongs], num_slots), classes)


def name_slots(known: Placed, num_slots: int) -> SlotNames:
    """Names from labelled training images. Raises InputError where they have no labels."""
    return slot_names(known.slot, known.label, known.images.classes, num_slots)


# --- knowledge ---


@dataclass(frozen=True)
class Sorting:
    """One way to sort images into clusters, started at random once or several times: the clusters of the training images, ``known``, and of the test
    images, ``asked``, a row for each start; and their classes.
    """

    name: str
    known: Int[Tensor, "s n"]
    asked: Int[Tensor, "s m"]
    label: Int[Tensor, " n"]
    asked_label: Int[Tensor, " m"]

    @property
    def clusters(self) -> int:
        """How many hold training images, at the first start."""
        return len(self.known[0].unique())

    @cached_property
    def right(self) -> Float[Tensor, " m"]:
        """At which share of the starts the majority class of its cluster is a test image's own."""
        starts = zip(self.known, self.asked, strict=True)
        return torch.stack([told_by_cluster(known, self.label, asked, self.asked_label) for known, asked in starts]).double().mean(0)

    @property
    def told(self) -> Estimate:
        """How often the majority class of its cluster is a test image's own."""
        return share(self.right)

    @property
    def agreement(self) -> Estimate:
        """Adjusted mutual information of clusters and classes of the test images, the mean over starts."""
        each = [agreement_estimate(asked, self.asked_label) for asked in self.asked]
        return Estimate(fmean(found.value for found in each), fmean(found.error for found in each))


@dataclass(frozen=True)
class Knowledge:
    """``sortings``: the memory's slots, then the marks they are held against. ``neighbours``: whether the five nearest are right, by what is near."""

    sortings: tuple[Sorting, ...]
    neighbours: Mapping[str, Bool[Tensor, " m"]] = field(default_factory=dict)


def slots_beside_pixels(known: Placed, asked: Placed, *, seed: int = 0) -> tuple[Sorting, Sorting]:
    """The memory's slots, and k-means on pixels with as many clusters as slots hold training images. Raises InputError without labels."""
    slots = Sorting("the memory's slots", known.slot[None], asked.slot[None], known.label, asked.label)
    return slots, _by_kmeans("k-means on pixels", known.pixels, asked.pixels, slots, seed)


def knowledge(model: BuiltSlots, known: Placed, asked: Placed, *, seed: int = 0, fresh_seed: int = 0, work: Work | None = None) -> Knowledge:
    """What the slots know, and queries, beside their marks, all with as many clusters as slots hold training images.

    ``seed`` chooses the random keys and starts k-means, ``fresh_seed`` is that of the untrained critic's weights. Raises InputError without labels.
    """
    fresh = untrained(model, fresh_seed)
    first, last = (queries(fresh, part.images, work=work) for part in (known, asked))
    slots, pixels = slots_beside_pixels(known, asked, seed=seed)
    rows = {"queries": (known.query, asked.query), "pixels": (known.pixels, asked.pixels), "an untrained critic's queries": (first, last)}
    return Knowledge(
        (
            slots,
            pixels,
            _by_random_keys("an untrained critic's queries, random images as keys", first, last, slots, seed),
            _by_random_keys("the queries, random images as keys", known.query, asked.query, slots, seed),
            _by_kmeans("k-means on the queries", known.query, asked.query, slots, seed),
        ),
        {name: told_by_neighbours(bank, known.label, query, asked.label, k=NEIGHBOURS) for name, (bank, query) in rows.items()},
    )


def lead(slots: Sorting, mark: Sorting) -> Estimate:
    """How much more of the test images the slots tell than the mark does."""
    return share_difference(slots.right, mark.right)


def untrained(model: BuiltSlots, seed: int) -> BuiltSlots:
    """A model of the same configuration with the weights that a run of this seed starts from; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.config.build().to(device_of(model))


def _by_kmeans(name: str, rows: Float[Tensor, "n f"], asked: Float[Tensor, "m f"], slots: Sorting, seed: int) -> Sorting:
    rows, asked = rows.float(), asked.float()
    return _started(name, lambda start: kmeans(rows, asked, slots.clusters, seed=seed + start), slots, rows)


def _by_random_keys(name: str, rows: Float[Tensor, "n d"], asked: Float[Tensor, "m d"], slots: Sorting, seed: int) -> Sorting:
    """To the key with the largest cosine; keys are random ``rows``."""

    def sort(start: int) -> tuple[Tensor, Tensor]:
        keys = rows[torch.from_numpy(shuffled(len(rows), seed + start)[: slots.clusters])].double().T
        return (rows.double() @ keys).argmax(1), (asked.double() @ keys).argmax(1)

    return _started(name, sort, slots, rows)


def _started(name: str, sort: Callable[[int], tuple[Tensor, Tensor]], slots: Sorting, rows: Tensor) -> Sorting:
    """Several starts where images are few: there the luck of one start counts for as much as the choice of test images."""
    starts = min(STARTS, 1 + PRODUCTS // (rows.numel() * max(FEW_CLUSTERS, slots.clusters)))
    known, asked = zip(*map(sort, range(starts)), strict=True)
    return Sorting(name, torch.stack(known), torch.stack(asked), slots.label, slots.asked_label)


# --- clusters ---
# How much the cluster that an image belongs to tells of it and of its class, and what else rows of numbers say of classes.


def variance_between(rows: Float[Tensor, "n f"], cluster: Int[Tensor, " n"]) -> float:
    """The share of the rows' variance, summed over columns, that lies between clusters: the adjusted R squared, 1 - (W / (n - g)) / (T / (n - 1)).

    W and T are the sums of squares around the means of the g clusters and around the mean of all. 1: all rows of a cluster are alike. About 0,
    on either side: clusters drawn at random. nan where every row is a cluster by itself, or all rows are one.
    """
    rows = rows.double()
    names, place, count = cluster.unique(return_inverse=True, return_counts=True)
    total = (rows - rows.mean(0)).square().sum()
    free = len(rows) - len(names)
    if free == 0 or not bool(total > 1e-20 * rows.square().sum()):  # equal rows differ from their mean by rounding
        return math.nan
    mean = torch.zeros(len(names), rows.shape[1], dtype=rows.dtype, device=rows.device).index_add_(0, place, rows) / count[:, None]
    within = (rows - mean[place]).square().sum()
    return float(1 - (within / free) / (total / (len(rows) - 1)))


def effective_rank(rows: Float[Tensor, "n f"]) -> float:
    """exp of the entropy of the shares of variance along the principal components, of columns brought to mean 0 and deviation 1.

    Between 1 and the number of columns that vary; nan where none does. It knows nothing of scale: rows that have all but collapsed onto one point
    may have a high rank around it, so read it beside their mean cosine. After Roy and Vetterli 2007, "The effective rank", Definition 1.
    """
    # departs: they take shares of singular values, which count directions that hold next to no variance.
    rows = rows.double() - rows.double().mean(0)
    deviation = rows.square().mean(0).sqrt()
    varies = deviation > 1e-12
    if not bool(varies.any()):
        return math.nan
    variance = torch.linalg.svdvals(rows[:, varies] / deviation[varies]).square()
    share = variance / variance.sum()
    return math.exp(-float(torch.special.xlogy(share, share).sum()))


@dataclass(frozen=True)
class Estimate:
    """A number found on test images, and its standard error over them."""

    value: float
    error: float


def share(right: Shaped[Tensor, " n"]) -> Estimate:
    """How many of the images are right, as a share; an image may be right in part, as a number in [0, 1]."""
    return _mean(right.double())


def share_difference(right: Shaped[Tensor, " n"], beside: Shaped[Tensor, " n"]) -> Estimate:
    """How much larger the share of the first is than that of the second on the same images, with the standard error of the paired difference."""
    return _mean(right.double() - beside.double())


def _mean(values: Float[Tensor, " n"]) -> Estimate:
    return Estimate(float(values.mean()), float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan)


def majority(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"], num: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The class that most images of each of ``num`` clusters have, the first of several, and its share of them; -1 and nan without images."""
    classes = int(label.max()) + 1
    count = torch.bincount(cluster * classes + label, minlength=num * classes).view(num, classes)
    most, found = count.max(1)
    total = count.sum(1)
    return torch.where(total > 0, found, -1), most / total.double()


def told_by_cluster(
    cluster: Int[Tensor, " n"], label: Int[Tensor, " n"], asked: Int[Tensor, " m"], asked_label: Int[Tensor, " m"]
) -> Bool[Tensor, " m"]:
    """Whether the majority class of each asked image's cluster, taken from the first images, is its own; not so in a cluster without any of these."""
    num = int(torch.cat([cluster, asked]).max()) + 1
    return majority(cluster, label, num)[0][asked] == asked_label


def told_by_neighbours(
    rows: Float[Tensor, "n f"],
    label: Int[Tensor, " n"],
    asked: Float[Tensor, "m f"],
    asked_label: Int[Tensor, " m"],
    *,
    k: int = 5,
    chunk: int = 1024,
) -> Bool[Tensor, " m"]:
    """Whether most of the ``k`` nearest ``rows`` of each asked row have its label; a draw goes to the label of the nearest one. Raises InputError."""
    if len(rows) < k:
        raise InputError(f"neighbours: {len(rows)} images cannot be {k} neighbours: give at least {k}")
    rows, found = rows.double(), list[Tensor]()
    weight = 1 + 0.5 ** torch.arange(1.0, k + 1, device=rows.device, dtype=rows.dtype)  # what is added stays below one vote
    for part in asked.double().split(chunk):
        near = label[distances(part, rows).topk(k, largest=False).indices]
        votes = torch.zeros(len(near), int(label.max()) + 1, dtype=rows.dtype, device=rows.device)
        found.append(votes.scatter_add_(1, near, weight.expand(len(near), k)).argmax(1))
    return torch.cat(found) == asked_label


def agreement(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> float:
    """Adjusted mutual information: 1 for the same partition, about 0 for clusters drawn at random, however many they are.

    Vinh, Epps and Bailey 2010, "Information theoretic measures for clusterings comparison", Eq. 10, with the mean of the two entropies.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(label.cpu().numpy(), cluster.cpu().numpy()))


def agreement_estimate(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"], *, groups: int = 20) -> Estimate:
    """:func:`agreement` with its standard error by the jackknife: one of ``groups`` random parts of the images is left out at a time.

    A bootstrap would draw images twice, and an image agrees with its copy.
    """
    part = torch.from_numpy(np.random.default_rng(0).permutation(len(label)) % groups)
    left = torch.tensor([agreement(cluster[part != group], label[part != group]) for group in range(min(groups, len(label)))], dtype=torch.float64)
    return Estimate(agreement(cluster, label), math.sqrt((len(left) - 1) * float(left.var(correction=0))))


def kmeans(rows: Float[Tensor, "n f"], asked: Float[Tensor, "m f"], num: int, *, seed: int = 0) -> tuple[Int[Tensor, " n"], Int[Tensor, " m"]]:
    """The clusters of ``rows`` by k-means, started by k-means++, and those that the asked rows fall into.

    Raises InputError for fewer rows than clusters.
    """
    from sklearn.cluster import KMeans

    if len(rows) < num:
        raise InputError(f"k-means: {len(rows)} images cannot be {num} clusters: give as many images at least")
    found = KMeans(num, n_init=1, random_state=seed).fit(rows.float().numpy())
    return torch.from_numpy(found.labels_).long(), torch.from_numpy(found.predict(asked.float().numpy())).long()
