"""The scores that share one stream of images: each takes what was seen batch by batch and ends with its results."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from statistics import fmean, stdev
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from memogen.evaluation.copy_check import CopyCheck, check_alike, distance_check, pixel_check
from memogen.evaluation.fid import FeatureStatistics, check_count, frechet_distance
from memogen.evaluation.inception_score import InceptionScore
from memogen.evaluation.kid import check_pairs, kernel_distance
from memogen.evaluation.mifid import THRESHOLD, MemorisationDistance, penalised
from memogen.evaluation.modes import count_modes, mode_counts
from memogen.evaluation.prdc import Prdc, check_counts, prdc
from memogen.evaluation.rare import rare_distance, rarest, reach, share_of
from memogen.evaluation.reference import Reference, shuffled
from memogen.evaluation.stream import Seen, image_source
from memogen.types import InputError

PRDC_NEIGHBOURS = 5
PAIR_IMAGES = 5000  # of each side at most where the cost grows with their product
COPY_PERCENTILE = 1


@dataclass(frozen=True)
class Result:
    """One number, its spread where it has one, and what it adds to the protocol; ``variant`` where it speaks of something else than the samples."""

    metric: str
    value: float
    spread: float | None = None
    protocol: dict[str, object] = field(default_factory=dict)
    variant: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What a score is asked for: so many samples against ``reference``; ``training`` where the model's training images are known."""

    num_samples: int
    reference: Reference
    training: Reference | None = None
    seed: int = 0

    def trained_on(self, metric: str) -> Reference:
        """The training images, which ``metric`` cannot do without."""
        if self.training is None:
            raise InputError(f"metric {metric}: it compares with the images the model was trained on: give them as train")
        return self.training


@runtime_checkable
class Score(Protocol):
    """A score under way. ``results`` speaks of the images seen so far, and is whole after the first ``needed`` samples."""

    needed: int

    def update(self, seen: Seen) -> None: ...
    def results(self) -> list[Result]: ...


class Kind(Protocol):
    """A kind of score: begun by a call, which may read real data; ``check`` refuses before that what it lacks, given one sample."""

    def __call__(self, asked: Comparison) -> Score: ...
    def check(self, asked: Comparison, first: Seen) -> None: ...


class Kept:
    """The first ``room`` rows that pass by, in one block of memory."""

    def __init__(self, room: int) -> None:
        self._room, self._rows, self._count = room, torch.empty(0), 0

    def add(self, rows: Shaped[Tensor, "b ..."]) -> None:
        taken = rows.detach()[: self._room - self._count].cpu()
        if self._count == 0:
            self._rows = taken.new_empty(self._room, *taken.shape[1:])
        self._rows[self._count : self._count + len(taken)] = taken
        self._count += len(taken)

    @property
    def rows(self) -> Shaped[Tensor, "n ..."]:
        return self._rows[: self._count]


class Inception:
    """The inception score: no real data needed."""

    def __init__(self, asked: Comparison) -> None:
        self.needed = asked.num_samples
        self.score = InceptionScore(asked.num_samples, splits=splits_for(asked.num_samples))

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        assert first.probabilities is not None, "the stream was told that a score reads them"

    def update(self, seen: Seen) -> None:
        assert seen.probabilities is not None, "the stream was told that a score reads them"
        self.score.update(seen.probabilities)

    def results(self) -> list[Result]:
        mean, spread = self.score.compute_finished()
        splits = self.score.finished
        cut = {} if splits == self.score.splits else {"num_samples": self.score.images_in(splits)}
        return [Result("inception_score", mean, spread if splits > 1 else None, {"splits": splits, **cut})]


class Frechet:
    """The Fréchet distance to all of the reference."""

    def __init__(self, asked: Comparison) -> None:
        self.needed, self.real = asked.num_samples, asked.reference.statistics()
        self.fake = FeatureStatistics(self.real.dim)
        self.protocol: dict[str, object] = {"reference": asked.reference.protocol}

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        _check_covariances(asked, asked.reference, first)

    def update(self, seen: Seen) -> None:
        self.fake.update(seen.features)

    def results(self) -> list[Result]:
        return [Result("fid", frechet_distance(self.fake, self.real), None, self.protocol)]


class Neighbourhoods:
    """Precision, recall, density and coverage of samples against as many real images: means over blocks of samples, each as large as the reference.

    Unequal numbers would say more of the numbers than of the images: samples that are many cover everything.
    """

    def __init__(self, asked: Comparison) -> None:
        self.needed, self.real = min(asked.num_samples, PAIR_IMAGES), asked.reference.features(PAIR_IMAGES)
        self.fake = Kept(self.needed)
        self.reference = {**asked.reference.protocol, "num": len(self.real)}

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        check_counts(len(asked.reference.data), asked.num_samples, PRDC_NEIGHBOURS)

    def update(self, seen: Seen) -> None:
        self.fake.add(seen.features)

    def results(self) -> list[Result]:
        size = min(len(self.real), len(self.fake.rows))
        blocks = self.fake.rows[: len(self.fake.rows) // size * size].split(size)
        found = [prdc(self.real, block, k=PRDC_NEIGHBOURS) for block in blocks]
        protocol = {"reference": self.reference, "neighbours": PRDC_NEIGHBOURS, "num_samples": size * len(blocks), "block": size}
        shares = {field.name: [getattr(each, field.name) for each in found] for field in fields(Prdc)}
        return [Result(name, fmean(values), stdev(values) if len(values) > 1 else None, protocol) for name, values in shares.items()]


class Kernel:
    """The kernel distance to the reference, over random subsets of both."""

    def __init__(self, asked: Comparison) -> None:
        self.needed, self.seed = asked.num_samples, asked.seed
        self.real, self.fake = asked.reference.features(), Kept(self.needed)
        self.reference = asked.reference.protocol

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        check_pairs(asked.num_samples, "samples")
        check_pairs(len(asked.reference.data), asked.reference.called)

    def update(self, seen: Seen) -> None:
        self.fake.add(seen.features)

    def results(self) -> list[Result]:
        found = kernel_distance(self.real, self.fake.rows, seed=self.seed)
        protocol = {"reference": self.reference, "subsets": found.subsets, "subset_size": found.subset_size, "subset_seed": self.seed}
        return [Result("kid", found.mean, found.spread if found.subsets > 1 else None, protocol)]


class ModeCount:
    """The number of classes that the samples reach, and the divergence of their shares from those of the reference."""

    def __init__(self, asked: Comparison) -> None:
        self.needed, self.found = asked.num_samples, np.zeros(0, np.int64)
        self.reference = asked.reference

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        assert first.probabilities is not None, "the stream was told that a score reads them"
        mode_counts(asked.reference.data, first.probabilities.shape[1])

    def update(self, seen: Seen) -> None:
        assert seen.probabilities is not None, "the stream was told that a score reads them"
        counts = torch.bincount(seen.probabilities.argmax(1), minlength=seen.probabilities.shape[1]).cpu().numpy()
        self.found = counts if not len(self.found) else self.found + counts

    def results(self) -> list[Result]:
        found = count_modes(self.found, mode_counts(self.reference.data, len(self.found)))
        protocol = {"reference": self.reference.protocol, "modes": len(self.found)}
        return [Result("modes_reached", found.reached, None, protocol), Result("mode_divergence", found.divergence, None, protocol)]


class RareSamples:
    """Of the rarest classes of the training data: their share among the samples, recall, coverage, and Fréchet distance."""

    def __init__(self, asked: Comparison) -> None:
        self.needed, self.rare = asked.num_samples, rarest(asked.trained_on("rare").data)
        self.data, self.reference = asked.reference.data, asked.reference.protocol
        self.real = asked.reference.features()
        self.order = shuffled(len(self.data), 0)  # of the features
        self.fake, self.belief = Kept(self.needed), Kept(self.needed)

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        assert first.probabilities is not None, "the stream was told that a score reads them"
        rare, label = rarest(asked.trained_on("rare").data), asked.reference.data.label
        if label is None or not set(rare.classes) <= set(label.tolist()) or max(rare.counts) >= first.probabilities.shape[1]:
            raise InputError(f"metric rare: {asked.reference.called} lack labels of the rarest classes, or the extractor does not know them all")
        check_count(asked.num_samples, first.features.shape[1], "samples")
        check_count(int(np.isin(label, rare.classes).sum()), first.features.shape[1], "images of the rarest classes")

    def update(self, seen: Seen) -> None:
        assert seen.probabilities is not None, "the stream was told that a score reads them"
        self.fake.add(seen.features)
        self.belief.add(seen.probabilities)

    def results(self) -> list[Result]:
        rare, label = self.rare, self._labels()
        near = reach(self.real[:PAIR_IMAGES], label[:PAIR_IMAGES], self.fake.rows[:PAIR_IMAGES], k=PRDC_NEIGHBOURS)
        recall, coverage = near.over(rare.classes)
        belief = self.belief.rows[:, list(rare.classes)].sum(1)
        distance, chosen = rare_distance(self.real, label, self.fake.rows, belief, rare)
        protocol: dict[str, object] = {"reference": self.reference, "classes": rare.classes, "training_counts": rare.counts}
        neighbours = {**protocol, "neighbours": PRDC_NEIGHBOURS, "num_samples": near.num_samples, "block": near.block}
        return [
            Result("rare_share", share_of(self.belief.rows, rare.classes) / rare.share, None, {**protocol, "training_share": rare.share}),
            Result("rare_recall", recall, None, {**neighbours, "by_class": near.recall}),
            Result("rare_coverage", coverage, None, {**neighbours, "by_class": near.coverage}),
            Result("rare_fid", distance, None, {**protocol, "chosen": chosen}),
        ]

    def _labels(self) -> Int[np.ndarray, " n"]:
        """Of the features, in their order."""
        assert self.data.label is not None, "the check has looked"
        return np.asarray(self.data.label)[self.order]


class Memorisation:
    """The Fréchet distance to the training images, divided by how far samples are from the nearest of them."""

    def __init__(self, asked: Comparison) -> None:
        self.needed, training = asked.num_samples, asked.trained_on("mifid")
        self.real = training.statistics()
        self.distance, self.fake = MemorisationDistance(training.features()), FeatureStatistics(self.real.dim)
        self.reference = training.protocol

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        _check_covariances(asked, asked.trained_on("mifid"), first)

    def update(self, seen: Seen) -> None:
        self.fake.update(seen.features)
        self.distance.update(seen.features)

    def results(self) -> list[Result]:
        fid, distance = frechet_distance(self.fake, self.real), self.distance.compute()
        protocol = {"reference": self.reference, "memorisation_distance": distance, "threshold": THRESHOLD, "unpenalised": fid}
        return [Result("mifid", penalised(fid, distance), None, protocol)]


class Copies:
    """The share of the first samples that lie nearer to a training image than held-out images do, in pixels and in features."""

    def __init__(self, asked: Comparison) -> None:
        self.training, held_out = asked.trained_on("copies"), asked.reference
        self.real = held_out.features(PAIR_IMAGES)
        self.real_image = image_source(held_out.data, shuffled(len(held_out.data), 0))(0, len(self.real))  # the images of these features
        self.needed = min(asked.num_samples, PAIR_IMAGES)
        self.features, self.image = (Kept(self.needed) for _ in range(2))
        self.known = self.training.features()
        self.held_out = {**held_out.protocol, "num": len(self.real)}

    @staticmethod
    def check(asked: Comparison, first: Seen) -> None:
        check_alike(tuple(first.image.shape[1:]), asked.reference.data, asked.trained_on("copies").data)

    def update(self, seen: Seen) -> None:
        self.features.add(seen.features)
        self.image.add(seen.image)

    def results(self) -> list[Result]:
        bar = self.training.work.bar
        bar.stage("nearest training images", 2 * len(self.training.data))
        pixels = pixel_check(self.image.rows, self.real_image, self.training.data, advance=bar.advance)
        features = distance_check(self.features.rows, self.real, self.known.split(1000), advance=bar.advance)
        return [self._result("pixels", pixels), self._result("features", features)]

    def _result(self, space: str, found: CopyCheck) -> Result:
        protocol: dict[str, object] = {
            "reference": self.held_out,
            "training": self.training.protocol,
            "num_samples": len(found.samples),
            "percentile": COPY_PERCENTILE,
            "threshold": found.threshold(COPY_PERCENTILE),
            "share_below_5_percent": found.share(5),
            "held_out_share": found.held_out_share(COPY_PERCENTILE),
            "more_than_held_out": found.copies_more(COPY_PERCENTILE),
            "quantiles": found.quantiles(),
        }
        return Result(f"copies_{space}", found.share(COPY_PERCENTILE), found.error(COPY_PERCENTILE), protocol)


def splits_for(num_samples: int) -> int:
    """Ten splits as the papers use, fewer where a split would hold under 500 images: c classes lower its score by a factor near 1 - c / (2 n)."""
    return max(1, min(10, num_samples // 500))


def _check_covariances(asked: Comparison, compared: Reference, first: Seen) -> None:
    dim = first.features.shape[1]
    check_count(asked.num_samples, dim, "samples")
    check_count(len(compared.data), dim, compared.called)


SCORES: dict[str, Kind] = {
    "is": Inception,
    "fid": Frechet,
    "prdc": Neighbourhoods,
    "kid": Kernel,
    "mifid": Memorisation,
    "copies": Copies,
    "modes": ModeCount,
    "rare": RareSamples,
}

READS_PROBABILITIES = ("is", "modes", "rare")
"""The scores that the stream must show class probabilities to."""
