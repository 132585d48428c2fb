"""How much the cluster that an image belongs to tells of it and of its class, and what else rows of numbers say of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from memogen.evaluation.prdc import distances
from memogen.types import InputError


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
