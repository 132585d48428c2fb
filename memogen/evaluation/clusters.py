"""How much the cluster that an image belongs to tells of it, and what else rows of numbers say of classes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.evaluation.prdc import distances_to_others
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


def neighbour_accuracy(rows: Float[Tensor, "n f"], label: Int[Tensor, " n"], *, k: int = 5, chunk: int = 1024) -> float:
    """How often most of the ``k`` nearest other rows have a row's label; a draw goes to the label of the nearest one. Raises InputError."""
    if len(rows) <= k:
        raise InputError(f"neighbours: {len(rows)} images have no {k} others each: give at least {k + 1}")
    rows, right, start = rows.double(), 0, 0
    weight = 1 + 0.5 ** torch.arange(1.0, k + 1, device=rows.device, dtype=rows.dtype)  # what is added stays below one vote
    for distance in distances_to_others(rows, chunk):
        near = label[distance.topk(k, largest=False).indices]
        votes = torch.zeros(len(near), int(label.max()) + 1, dtype=rows.dtype, device=rows.device).scatter_add_(1, near, weight.expand(len(near), k))
        right += int((votes.argmax(1) == label[start : start + len(near)]).sum())
        start += len(near)
    return right / len(rows)


def agreement(cluster: Int[Tensor, " n"], label: Int[Tensor, " n"]) -> float:
    """Adjusted mutual information: 1 for the same partition, about 0 for clusters drawn at random, however many they are.

    Vinh, Epps and Bailey 2010, "Information theoretic measures for clusterings comparison", Eq. 10, with the mean of the two entropies.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(label.cpu().numpy(), cluster.cpu().numpy()))
