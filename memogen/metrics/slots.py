"""How well the slots of a memoryGAN, trained without labels, agree with the classes, beside baselines that need no training.

Training images give each slot its class, test images are the question. The baselines, with as many clusters: k-means on pixels, and random images
as keys, in the queries of an untrained critic and in the model's own.
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
from memogen.metrics.samples import BLOCK, Work, device_of, images_at, part_of, shuffled
from memogen.types import ImageData, InputError, SlotModel

IMAGES = 10_000  # of a split at most
NEIGHBOURS = 5
STARTS = 10  # of a random baseline, if that is cheap
FEW_CLUSTERS = 32  # with fewer clusters, reading the rows is what costs
PRODUCTS = 1_000_000_000  # multiplications that all starts but the first may take in one pass over the training images


class BuiltSlots(SlotModel, Protocol):
    """A model with a mixture memory whose ``config`` has the shape of its images and builds the model anew."""

    config: Any


@dataclass(frozen=True)
class Placed:
    """``images`` with their queries and the most probable real slot of each, on the CPU. ``of``: the number of images in the whole data set."""

    images: ImageData
    query: Float[Tensor, "n d"]
    slot: Int[Tensor, " n"]
    of: int

    @property
    def label(self) -> Int[Tensor, " n"]:
        """The classes. Raises InputError if the images have no labels."""
        if self.images.label is None:
            raise InputError(f"slots: {self.images.name} has no labels, so nothing says which class a slot holds: give a labelled data set")
        return torch.from_numpy(np.array(self.images.label, dtype=np.int64))

    @property
    def pixels(self) -> Float[Tensor, "n f"]:
        """The images as rows of numbers."""
        return images_at(self.images, slice(None)).flatten(1).float()


def placed(model: BuiltSlots, data: ImageData, *, num: int = IMAGES, work: Work | None = None) -> Placed:
    """``num`` images of the data, always the same ones, or all if there are no more.

    Raises InputError for a model without memory, a memory without real slots, and images of another shape.
    """
    memory, part = checked_memory(model, data), part_of(data, num)
    query = queries(model, part, work=work)
    return Placed(part, query, best_slots(memory, query.to(memory.keys.device)).cpu(), len(data))


@torch.no_grad()
def queries(model: BuiltSlots, data: ImageData, *, work: Work | None = None) -> Float[Tensor, "n d"]:
    """The queries of all images, on the CPU."""
    work, found = work or Work(), list[Tensor]()
    for turn in work.rounds(f"queries of {data.name} {data.split}", len(data), BLOCK):
        query = model.encode(images_at(data, slice(turn.start, turn.start + turn.num)).to(device_of(model)))
        found.append(work.processes.gather(query, turn).cpu())
    return torch.cat(found)


def checked_memory(model: BuiltSlots, data: ImageData) -> MixtureMemory:
    """The model's memory. Raises InputError if the images of ``data`` cannot be assigned to its slots."""
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
    """``label``: the majority class of each slot's images, -1 for a slot without images; ``share``: the share of its images that have this class.

    ``names[17]`` is a text such as "Sneaker 0.93", "" for a slot without images.
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
        """The name of the class, or its number if the data do not name it."""
        return self.classes[label] if label < len(self.classes) else str(label)


def slot_names(slot: Int[Tensor, " n"], label: Int[Tensor, " n"], classes: tuple[str, ...], num_slots: int) -> SlotNames:
    """Names from images with these slots, -1 for none, and these classes."""
    belongs = slot >= 0
    return SlotNames(*majority(slot[belongs], label[belongs], num_slots), classes)


def name_slots(known: Placed, num_slots: int) -> SlotNames:
    """Names from labelled training images. Raises InputError if they have no labels."""
    return slot_names(known.slot, known.label, known.images.classes, num_slots)


# --- slots beside baselines ---


@dataclass(frozen=True)
class Sorting:
    """One way to sort images into clusters: the clusters of the training images, ``known``, and of the test images, ``asked``, and their classes.

    The clusters have a row for each random start.
    """

    name: str
    known: Int[Tensor, "s n"]
    asked: Int[Tensor, "s m"]
    label: Int[Tensor, " n"]
    asked_label: Int[Tensor, " m"]

    @property
    def clusters(self) -> int:
        """The number of clusters that hold training images, at the first start."""
        return len(self.known[0].unique())

    @cached_property
    def right(self) -> Float[Tensor, " m"]:
        """For each test image, the share of starts at which the majority class of its cluster is its own class."""
        starts = zip(self.known, self.asked, strict=True)
        return torch.stack([told_by_cluster(known, self.label, asked, self.asked_label) for known, asked in starts]).double().mean(0)

    @property
    def told(self) -> Estimate:
        """The mean of :attr:`right`."""
        return share(self.right)

    @property
    def agreement(self) -> Estimate:
        """Adjusted mutual information of clusters and classes of the test images, the mean over starts."""
        each = [agreement_estimate(asked, self.asked_label) for asked in self.asked]
        return Estimate(fmean(found.value for found in each), fmean(found.error for found in each))


@dataclass(frozen=True)
class Knowledge:
    """``sortings``: the memory's slots first, then the baselines. ``neighbours``: whether the majority class of the five nearest training images
    is right, by the space in which they are nearest.
    """

    sortings: tuple[Sorting, ...]
    neighbours: Mapping[str, Bool[Tensor, " m"]] = field(default_factory=dict)


def slots_beside_pixels(known: Placed, asked: Placed, *, seed: int = 0) -> tuple[Sorting, Sorting]:
    """The memory's slots, and k-means on pixels with as many clusters as slots hold training images. Raises InputError without labels."""
    slots = Sorting("the memory's slots", known.slot[None], asked.slot[None], known.label, asked.label)
    return slots, _by_kmeans("k-means on pixels", known.pixels, asked.pixels, slots, seed)


def knowledge(model: BuiltSlots, known: Placed, asked: Placed, *, seed: int = 0, fresh_seed: int = 0, work: Work | None = None) -> Knowledge:
    """The memory's slots and all baselines, each with as many clusters as slots hold training images.

    ``seed`` chooses the random keys and starts k-means; ``fresh_seed`` draws the untrained critic's weights. Raises InputError without labels.
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
    """How much larger the share of test images is that the slots tell than the share that the baseline tells."""
    return share_difference(slots.right, mark.right)


def untrained(model: BuiltSlots, seed: int) -> BuiltSlots:
    """A model of the same configuration with the initial weights of a run with this seed. torch's global generator keeps its state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.config.build().to(device_of(model))


def _by_kmeans(name: str, rows: Float[Tensor, "n f"], asked: Float[Tensor, "m f"], slots: Sorting, seed: int) -> Sorting:
    rows, asked = rows.float(), asked.float()
    return _started(name, lambda start: kmeans(rows, asked, slots.clusters, seed=seed + start), slots, rows)


def _by_random_keys(name: str, rows: Float[Tensor, "n d"], asked: Float[Tensor, "m d"], slots: Sorting, seed: int) -> Sorting:
    """By the key with the largest cosine, where the keys are random ``rows``."""

    def sort(start: int) -> tuple[Tensor, Tensor]:
        keys = rows[torch.from_numpy(shuffled(len(rows), seed + start)[: slots.clusters])].double().T
        return (rows.double() @ keys).argmax(1), (asked.double() @ keys).argmax(1)

    return _started(name, sort, slots, rows)


def _started(name: str, sort: Callable[[int], tuple[Tensor, Tensor]], slots: Sorting, rows: Tensor) -> Sorting:
    """Few images get several starts: their result depends on the start as much as on the choice of test images."""
    starts = min(STARTS, 1 + PRODUCTS // (rows.numel() * max(FEW_CLUSTERS, slots.clusters)))
    known, asked = zip(*map(sort, range(starts)), strict=True)
    return Sorting(name, torch.stack(known), torch.stack(asked), slots.label, slots.asked_label)


# --- clusters and rows of numbers ---


def variance_between(rows: Float[Tensor, "n f"], cluster: Int[Tensor, " n"]) -> float:
    """The share of the rows' variance, summed over columns, that lies between clusters: the adjusted R squared, 1 - (W / (n - g)) / (T / (n - 1)).

    W and T are the sums of squares around the means of the g clusters and around the common mean. 1: all rows of a cluster are equal; about 0, on
    either side: random clusters; nan: each row is its own cluster, or all rows are equal.
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
    """exp of the entropy of the principal components' shares of variance, after every column is scaled to mean 0 and deviation 1.

    Between 1 and the number of columns that vary; nan if none does. It ignores scale: rows that have nearly collapsed to one point may have a high
    rank around it, so read it together with their mean cosine. After Roy and Vetterli 2007, "The effective rank", Definition 1.
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
    """A number measured on test images, and its standard error over them."""

    value: float
    error: float


def share(right: Shaped[Tensor, " n"]) -> Estimate:
    """The mean over images, each of which is right, wrong, or a number in between; the error is nan for one image."""
    right = right.double()
    return Estimate(float(right.mean()), float(right.std()) / math.sqrt(len(right)) if len(right) > 1 else math.nan)


def share_difference(right: Shaped[Tensor, " n"], beside: Shaped[Tensor, " n"]) -> Estimate:
    """The first share less the second on the same images, with the standard error of the paired difference."""
    return share(right.double() - beside.double())


def majority(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"], num: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """For each of ``num`` clusters, the class that most of its images have (the lowest of several) and its share of them; -1 and nan if empty."""
    classes = int(label.max()) + 1
    count = torch.bincount(cluster * classes + label, minlength=num * classes).view(num, classes)
    most, found = count.max(1)
    total = count.sum(1)
    return torch.where(total > 0, found, -1), most / total.double()


def told_by_cluster(
    cluster: Int[Tensor, " n"], label: Int[Tensor, " n"], asked: Int[Tensor, " m"], asked_label: Int[Tensor, " m"]
) -> Bool[Tensor, " m"]:
    """Whether each asked image has the majority class of its cluster's first images; False in a cluster without any of these."""
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
    """Whether each asked row has the majority label of its ``k`` nearest ``rows``; in a tie the nearest decides. InputError for under k rows."""
    if len(rows) < k:
        raise InputError(f"neighbours: {len(rows)} images cannot be {k} neighbours: give at least {k}")
    rows, found = rows.double(), list[Tensor]()
    weight = 1 + 0.5 ** torch.arange(1.0, k + 1, device=rows.device, dtype=rows.dtype)  # the extra weights sum to less than one vote
    for part in asked.double().split(chunk):
        near = label[distances(part, rows).topk(k, largest=False).indices]
        votes = torch.zeros(len(near), int(label.max()) + 1, dtype=rows.dtype, device=rows.device)
        found.append(votes.scatter_add_(1, near, weight.expand(len(near), k)).argmax(1))
    return torch.cat(found) == asked_label


def agreement(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> float:
    """Adjusted mutual information: 1 for the same partition, about 0 for random clusters, whatever their number.

    Vinh, Epps and Bailey 2010, "Information theoretic measures for clusterings comparison", Eq. 10, with the mean of the two entropies.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(label.cpu().numpy(), cluster.cpu().numpy()))


def agreement_estimate(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"], *, groups: int = 20) -> Estimate:
    """:func:`agreement` with its standard error by the jackknife, which leaves out one of ``groups`` random parts of the images at a time.

    A bootstrap would draw images twice, and an image agrees with its copy.
    """
    part = torch.from_numpy(np.random.default_rng(0).permutation(len(label)) % groups)
    left = torch.tensor([agreement(cluster[part != group], label[part != group]) for group in range(min(groups, len(label)))], dtype=torch.float64)
    return Estimate(agreement(cluster, label), math.sqrt((len(left) - 1) * float(left.var(correction=0))))


def kmeans(rows: Float[Tensor, "n f"], asked: Float[Tensor, "m f"], num: int, *, seed: int = 0) -> tuple[Int[Tensor, " n"], Int[Tensor, " m"]]:
    """The k-means clusters of ``rows``, started by k-means++, and of the asked rows. Raises InputError for fewer rows than clusters."""
    from sklearn.cluster import KMeans

    if len(rows) < num:
        raise InputError(f"k-means: {len(rows)} images cannot be {num} clusters: give as many images at least")
    found = KMeans(num, n_init=1, random_state=seed).fit(rows.float().numpy())
    return torch.from_numpy(found.labels_).long(), torch.from_numpy(found.predict(asked.float().numpy())).long()
