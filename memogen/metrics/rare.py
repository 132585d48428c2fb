"""Does a generator keep rare classes? For the rarest of its training data: their share of the samples, recall, coverage and Fréchet distance.

Kim, Kim and Kim 2018, section 1, claim that a memory keeps rare samples that a network of the same size forgets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.metrics.fid import check_count, gaussian_distance, moments
from memogen.metrics.metric import PAIR_IMAGES, PRDC_NEIGHBOURS, Asked, Metric, Number, Result, Streamed, collected, features, needs, probabilities
from memogen.metrics.prdc import Manifold
from memogen.metrics.samples import shuffled
from memogen.types import ImageData, InputError

RAREST = 3  # classes


@dataclass(frozen=True)
class RareClasses:
    """The ``classes`` with the fewest training images, the rarest first, and their ``share`` of all images. ``counts``: images by class."""

    classes: tuple[int, ...]
    share: float
    counts: dict[int, int]


def rarest(training: ImageData, num: int = RAREST) -> RareClasses:
    """The rarest classes; among equally rare ones the highest number first. Raises InputError without labels, or for too few classes."""
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
    """For each class: the share of its real images inside the samples' manifold (``recall``), and of those whose ball holds a sample (``coverage``).

    Means over blocks of ``block`` samples, as many as there are real images, ``num_samples`` in all. A few outliers among the samples have wide
    balls, which raises the recall, but not the coverage.
    """

    recall: dict[int, float]
    coverage: dict[int, float]
    block: int
    num_samples: int

    def over(self, classes: tuple[int, ...]) -> tuple[float, float]:
        """(recall, coverage), means over classes."""
        return float(np.mean([self.recall[name] for name in classes])), float(np.mean([self.coverage[name] for name in classes]))


def reach(real: Float[Tensor, "r f"], label: Int[np.ndarray, " r"], fake: Float[Tensor, "s f"], *, k: int = 5) -> Reach:
    """The neighbours are all real images, and the samples of a block, as in :func:`~memogen.metrics.prdc.prdc`."""
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
    """(Fréchet distance of the rare classes' real images to the samples most like them, the number of these samples).

    ``belief`` is the judge's probability that a sample is of a rare class. The samples with the largest belief are taken: as many as a perfect
    generator would draw of these classes, and at least one more than there are features. Real images are weighted by their class's share of the
    training data, as in the samples of a perfect generator.
    """
    dim = fake.shape[1]
    num = max(round(rare.share * len(fake)), dim + 1)
    chosen = fake[belief.sort(descending=True, stable=True).indices[:num].to(fake.device)]
    rows = real[torch.from_numpy(np.isin(label, rare.classes)).to(real.device)]
    names = label[np.isin(label, rare.classes)]
    for count, kind in ((len(chosen), "samples"), (len(rows), "real images of the rarest classes")):
        check_count(count, dim, kind)
    weight = torch.tensor([rare.counts[int(name)] / (names == name).sum() for name in names])
    even = torch.ones(len(chosen))
    return gaussian_distance(*moments(chosen, even), *moments(rows, weight)), len(chosen)


def share_of(probabilities: Float[Tensor, "s classes"], classes: tuple[int, ...]) -> float:
    """The share of samples that the judge assigns to one of the classes."""
    return float(torch.isin(probabilities.argmax(1), torch.tensor(classes, device=probabilities.device)).double().mean())


# --- the metric ---


def check(asked: Asked) -> None:
    rare, label, dim = rarest(asked.trained_on("rare").data), asked.data.label, asked.first.features.shape[1]
    if label is None or not set(rare.classes) <= set(label.tolist()) or max(rare.counts) >= probabilities(asked.first).shape[1]:
        raise InputError(f"metric rare: {asked.reference.called} lack labels of the rarest classes, or the extractor does not know them all")
    check_count(asked.num_samples, dim, "samples")
    check_count(int(np.isin(label, rare.classes).sum()), dim, "images of the rarest classes")


def rare_samples(asked: Asked) -> Streamed:
    """Of the rarest classes of the training data: their share of the samples relative to that of the training images, recall, coverage, distance."""
    rare, real = rarest(asked.trained_on("rare").data), asked.reference.features()
    label = asked.labels("rare")[shuffled(len(asked.data), 0)]  # in the order of the features
    protocol: dict[str, object] = {"reference": asked.reference.protocol, "classes": rare.classes, "training_counts": rare.counts}

    def results(fake: Tensor, belief: Tensor) -> list[Result]:
        near = reach(real[:PAIR_IMAGES], label[:PAIR_IMAGES], fake[:PAIR_IMAGES], k=PRDC_NEIGHBOURS)
        recall, coverage = near.over(rare.classes)
        distance, chosen = rare_distance(real, label, fake, belief[:, list(rare.classes)].sum(1), rare)
        neighbours = {**protocol, "neighbours": PRDC_NEIGHBOURS, "num_samples": near.num_samples, "block": near.block}
        return [
            Result("rare_share", share_of(belief, rare.classes) / rare.share, None, {**protocol, "training_share": rare.share}),
            Result("rare_recall", recall, None, {**neighbours, "by_class": near.recall}),
            Result("rare_coverage", coverage, None, {**neighbours, "by_class": near.coverage}),
            Result("rare_fid", distance, None, {**protocol, "chosen": chosen}),
        ]

    return collected(asked.num_samples, results, features, probabilities)


RARE = Metric(
    "rare",
    "the rarest classes of the training images",
    (
        Number("rare_share", "rare share"),
        Number("rare_recall", "rare recall", "higher"),
        Number("rare_coverage", "rare coverage", "higher"),
        Number("rare_fid", "rare distance", "lower"),
    ),
    needs("samples", "extractor", "probabilities", "labels", "train"),
    rare_samples,
    check,
)
