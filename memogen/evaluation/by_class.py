"""Labelled samples class by class: is the class that was asked for found again, and how far do its images lie from the real ones?

Wu et al. 2018, sections 4.1 (accuracy) and 4.2 (a Fréchet distance per category, of which their Table 2 prints the mean).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from memogen.data.stream import of_classes
from memogen.evaluation.features import Extractor
from memogen.evaluation.fid import FeatureStatistics, frechet_distance
from memogen.evaluation.reference import Reference, default_cache
from memogen.evaluation.stream import Source, Watch, device_of, model_source
from memogen.evaluation.work import Work
from memogen.types import GenerativeModel, ImageData, InputError


@dataclass(frozen=True)
class ClassScore:
    """Of one class: the share of its images that the judge finds to be of it, and their Fréchet distance; None where it could not be had."""

    label: int
    accuracy: float | None
    fid: float | None
    num: int


@dataclass(frozen=True)
class ClassJudge:
    """Who looks at the images. ``answers`` gives the judge's number of a class where it has another one; classes in ``strange`` it does not know.

    ``references`` hold the statistics of each class's real images; a class without, or with too few images for a covariance, has no distance.
    """

    extractor: Extractor
    references: Mapping[int, FeatureStatistics] = field(default_factory=dict)
    answers: Mapping[int, int] = field(default_factory=dict)
    strange: tuple[int, ...] = ()
    batch_size: int = 250

    def scores(self, model: GenerativeModel, labels: Sequence[int], num: int, *, seed: int = 0, work: Work | None = None) -> list[ClassScore]:
        """``num`` samples of each of the classes, images 0 to ``num`` - 1 of ``seed`` in each."""
        return [self.score(model_source(model, seed=seed, label=label), label, num, work or Work()) for label in labels]

    def score(self, source: Source, label: int, num: int, work: Work) -> ClassScore:
        """Images 0 to ``num`` - 1 of a class."""
        asks = label not in self.strange
        watch, statistics, right = Watch(self.extractor, self.batch_size, work, probabilities=asks), None, 0
        for seen in watch(source, num):
            statistics = statistics or FeatureStatistics(seen.features.shape[1])
            statistics.update(seen.features)
            if seen.probabilities is not None:
                right += int((seen.probabilities.argmax(1) == self._answer(label, seen.probabilities.shape[1])).sum())
        reference = self.references.get(label)
        apart = frechet_distance(statistics, reference) if statistics and reference and _full(statistics) and _full(reference) else None
        return ClassScore(label, right / num if asks else None, apart, num)

    def _answer(self, label: int, known: int) -> int:
        answer = self.answers.get(label, label)
        if answer >= known:
            raise InputError(f"accuracy: the extractor knows {known} classes, and class {answer} is asked for: use a classifier of the data")
        return answer


def class_references(
    data: ImageData, labels: Sequence[int], extractor: Extractor, *, cache: Path | None = None, work: Work | None = None
) -> dict[int, FeatureStatistics]:
    """The statistics of the real images of each class, from the cache where they are known."""
    return {
        label: Reference(of_classes(data, [label]), extractor, cache or default_cache(), device_of(extractor), work or Work()).statistics()
        for label in labels
    }


def real_accuracy(data: ImageData, labels: Sequence[int], extractor: Extractor) -> float:
    """How many of the real images of these classes the judge finds to be of their own, as a share: what no model can be expected to pass."""
    part = of_classes(data, labels)
    assert part.label is not None
    right = 0
    for start in range(0, len(part), 250):
        image = torch.from_numpy(np.array(part.image[start : start + 250])).to(device_of(extractor))
        right += int((extractor(image).argmax(1).cpu().numpy() == part.label[start : start + 250]).sum())
    return right / len(part)


def mean_score(scores: Sequence[ClassScore]) -> tuple[float | None, float | None]:
    """(accuracy, Fréchet distance) averaged over the classes; None where one has none."""
    columns = [[score.accuracy for score in scores], [score.fid for score in scores]]
    means = (None if None in column else float(np.mean([value for value in column if value is not None])) for column in columns)
    accuracy, fid = means
    return accuracy, fid


def _full(statistics: FeatureStatistics) -> bool:
    return statistics.count > statistics.dim
