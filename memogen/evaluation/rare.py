"""Does a generator keep what it has seldom seen? Of the rarest classes of its training data: how often they come, whether they are reached, how well.

The claim is of Kim, Kim and Kim 2018, section 1: a memory keeps rare samples that a network of the same size forgets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.evaluation.fid import check_count, gaussian_distance
from memogen.evaluation.prdc import Manifold
from memogen.types import ImageData, InputError

RAREST = 3  # classes


@dataclass(frozen=True)
class RareClasses:
    """The ``classes`` with the fewest training images, the rarest first, and their ``share`` of all of them. ``counts``: images by class."""

    classes: tuple[int, ...]
    share: float
    counts: dict[int, int]


def rarest(training: ImageData, num: int = RAREST) -> RareClasses:
    """The rarest classes; of equally rare ones the one with the highest number. Raises InputError without labels, or with too few classes."""
    if training.label is None:
        raise InputError(f"metric rare: {training.name} {training.split} has no labels: use a labelled data set")
    names, counts = np.unique(training.label, return_counts=True)
    if len(names) <= num:
        raise InputError(f"metric rare: {training.name} {training.split} has {len(names)} classes: use data with more than {num}")
    order = np.lexsort((-names, counts))[:num]
    by_class = {int(name): int(count) for name, count in zip(names, counts, strict=True)}
    return RareClasses(tuple(int(name) for name in names[order]), float(counts[order].sum() / counts.sum()), by_class)


@dataclass(frozen=True)
class Reach:
    """Of the real images of each class: the share inside the samples' manifold (``recall``), and whose own ball holds a sample (``coverage``).

    Means over blocks of ``block`` samples, as many as there are real images, ``num_samples`` in all. A few stray samples far from each other have
    wide balls, so that recall alone flatters a model with outliers; coverage has no such weakness.
    """

    recall: dict[int, float]
    coverage: dict[int, float]
    block: int
    num_samples: int

    def over(self, classes: tuple[int, ...]) -> tuple[float, float]:
        """(recall, coverage), means over classes."""
        return float(np.mean([self.recall[name] for name in classes])), float(np.mean([self.coverage[name] for name in classes]))


def reach(real: Float[Tensor, "r f"], label: Int[np.ndarray, " r"], fake: Float[Tensor, "s f"], *, k: int = 5) -> Reach:
    """By k-th nearest neighbours among all real images, and among the samples of a block, as :func:`~memogen.evaluation.prdc.prdc` takes them."""
    block = min(len(real), len(fake))
    blocks, of_real = fake[: len(fake) // block * block].split(block), Manifold.of(real, k=k)
    recalled = torch.stack([Manifold.of(part, k=k).holds(real) for part in blocks]).double().mean(0).cpu().numpy()
    covered = torch.stack([of_real.covered(part) for part in blocks]).double().mean(0).cpu().numpy()
    names = [int(name) for name in np.unique(label)]
    recall, coverage = ({name: float(hit[label == name].mean()) for name in names} for hit in (recalled, covered))
    return Reach(recall, coverage, block, block * len(blocks))


def rare_distance(
    real: Float[Tensor, "r f"], label: Int[np.ndarray, " r"], fake: Float[Tensor, "s f"], belief: Float[Tensor, " s"], rare: RareClasses
) -> tuple[float, int]:
    """(Fréchet distance of the rare classes' real images to the samples most like them, how many these are).

    ``belief`` is the probability that a sample is of a rare class, by the judge. As many samples are taken as a faithful generator would draw of
    these classes, and one more than there are features at least: a generator that draws none is judged by what comes nearest. Real images weigh
    as much as their class does in the training data, which is what a faithful generator has learned.
    """
    dim = fake.shape[1]
    num = max(round(rare.share * len(fake)), dim + 1)
    chosen = fake[belief.sort(descending=True, stable=True).indices[:num].to(fake.device)]
    rows = real[torch.from_numpy(np.isin(label, rare.classes)).to(real.device)]
    names = label[np.isin(label, rare.classes)]
    for count, kind in ((len(chosen), "samples"), (len(rows), "real images of the rarest classes")):
        check_count(count, dim, kind)
    weight = np.array([rare.counts[int(name)] / (names == name).sum() for name in names])
    even = np.ones(len(chosen))
    return gaussian_distance(*_moments(chosen, even), *_moments(rows, weight)), len(chosen)


def _moments(rows: Float[Tensor, "n f"], weight: Float[np.ndarray, " n"]) -> tuple[Float[Tensor, " f"], Float[Tensor, "f f"]]:
    """The weighted mean and the unbiased covariance, float64."""
    x = rows.double().cpu()
    w = torch.from_numpy(weight / weight.sum())
    mean = w @ x
    return mean, (x - mean).T @ (w[:, None] * (x - mean)) / (1 - w.square().sum())


def share_of(probabilities: Float[Tensor, "s classes"], classes: tuple[int, ...]) -> float:
    """The share of samples that the judge takes for one of the classes."""
    return float(torch.isin(probabilities.argmax(1), torch.tensor(classes, device=probabilities.device)).double().mean())
