"""The protocol of the continual benchmark: scores of a generator after a task, from its samples of all classes so far, with labels or without.

All samples against real test images, how evenly they cover the classes, whether they show the class of their label, and the accuracy of a classifier
trained on them alone (the fitting capacity of Lesort et al. 2019, "Generative models from the perspective of continual learning", section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from memogen.data.task_sequence import of_classes
from memogen.metrics.accuracy import STUDENT, check_number, class_counts
from memogen.metrics.classifiers import ClassifierRecipe, train_classifier
from memogen.metrics.extractors import Extractor
from memogen.metrics.fid import FeatureStatistics, frechet_distance, reference_statistics
from memogen.metrics.metric import Asked, Metric, Number, Result, needs, probabilities
from memogen.metrics.modes import ClassShares
from memogen.metrics.samples import Reference, Watch, Work, default_cache, device_of, drawn_batches, image_source, images_at, shuffled, take
from memogen.types import ClassModel, ImageData


@dataclass(frozen=True)
class Standing:
    """The scores after a task, of the samples of all classes so far; each mapping is by class.

    ``fid``: the Fréchet distance of all samples to the real test images of these classes; None if one side has too few for a covariance.
    ``told``: the share of each class's samples that the judge assigns to it; None for samples without labels. ``learned``: the share of each class's
    real test images that a classifier trained on the samples alone gets right.
    """

    fid: float | None
    shares: ClassShares
    told: Mapping[int, float] | None
    learned: Mapping[int, float]
    reverse_accuracy: float

    @property
    def accuracy(self) -> float | None:
        """The mean of ``told`` over the classes; a class without a sample counts as 0."""
        return None if self.told is None else float(np.mean(list(self.told.values())))

    def numbers(self) -> dict[str, float]:
        """The numbers over all classes that are defined, by their names in result rows."""
        found = {"fid": self.fid, "accuracy": self.accuracy, "reverse_accuracy": self.reverse_accuracy}
        found |= {"unseen_share": self.shares.elsewhere, "class_divergence": self.shares.divergence}
        return {name: value for name, value in found.items() if value is not None}

    def by_class(self) -> dict[str, Mapping[int, float]]:
        """The numbers of each class, by their names in result rows."""
        found = {"class_share": {label: float(self.shares.share[label]) for label in self.shares.seen}, "reverse_accuracy": self.learned}
        return found if self.told is None else {**found, "accuracy": self.told}


@dataclass(frozen=True)
class Exam:
    """How generators are scored: ``judge``, a classifier of the data; ``test``, the real test images of all classes; ``tasks``, the classes of each.

    ``num_samples`` in all are scored, equally many of each class if the generator is told classes. ``student`` is trained on them.
    """

    judge: Extractor
    test: ImageData
    tasks: tuple[tuple[int, ...], ...]
    num_samples: int
    seed: int = 0
    student: ClassifierRecipe = STUDENT
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        check_number(self.num_samples, self.student)
        class_counts(self.num_samples, len(self.seen(len(self.tasks) - 1)))

    def seen(self, number: int) -> tuple[int, ...]:
        """The classes of tasks 0 to ``number``."""
        return tuple(chain.from_iterable(self.tasks[: number + 1]))

    def drawn(self, model: Any, number: int) -> ImageData:
        """The samples of a model after task ``number``: of each class so far, with its label, or without labels."""
        labels: tuple[int | None, ...] = self.seen(number) if isinstance(model, ClassModel) else (None,)
        counts, parts = class_counts(self.num_samples, len(labels)), []
        for label, count in zip(labels, counts, strict=True):
            parts += [batch.cpu() for batch in drawn_batches(model, count, seed=self.seed, label=label)]
        told = np.repeat(self.seen(number), counts) if isinstance(model, ClassModel) else None
        return ImageData(torch.cat(parts).numpy(), told, self.test.classes, "generated", "samples")

    def standing(self, drawn: ImageData, number: int) -> Standing:
        """The scores of ``drawn`` images after task ``number``. torch's global generator keeps its state."""
        seen, reference = self.seen(number), of_classes(self.test, self.seen(number))
        statistics, answer = self._look(drawn)
        real = reference_statistics(Reference(reference, self.judge, default_cache(), device_of(self.judge), self.work))
        enough = min(statistics.count, real.count) > real.dim
        label = answer if drawn.label is None else drawn.label
        names = self.test.classes or tuple(map(str, range(max(chain.from_iterable(self.tasks)) + 1)))  # also of classes that have no sample
        learned, reverse = self._lesson(replace(drawn, label=label, classes=names), reference)
        return Standing(
            frechet_distance(statistics, real) if enough else None,
            ClassShares(np.bincount(answer, minlength=max(seen) + 1), seen),
            None if drawn.label is None else {label: _share(answer, drawn.label, label) for label in seen},
            learned,
            reverse,
        )

    def real(self, train: ImageData) -> Standing:
        """The scores of as many training images after the last task, or of all if there are fewer: what a perfect generator would reach."""
        number = len(self.tasks) - 1
        part = of_classes(train, self.seen(number))
        return self.standing(take(part, shuffled(len(part), self.seed)[: self.num_samples]), number)

    def protocol(self, number: int, drawn: ImageData) -> dict[str, object]:
        """What a result row says about the scores after task ``number``."""
        named = {"data": self.test.name, "split": self.test.split, "digest": self.test.digest}
        labels = "asked" if drawn.label is not None else "the judge's"
        about = {"num_samples": len(drawn), "seed": self.seed, "reference": named, "classes_seen": len(self.seen(number)), "student_labels": labels}
        return {**about, "student": asdict(self.student), "student_seed": self.seed}

    def _look(self, drawn: ImageData) -> tuple[FeatureStatistics, Int[np.ndarray, " n"]]:
        """The statistics of the images' features, and the class that the judge assigns each to."""
        statistics, answers = None, []
        for part in Watch(self.judge, 250, self.work)(image_source(drawn, np.arange(len(drawn))), len(drawn)):
            statistics = statistics or FeatureStatistics(part.features.shape[1])
            statistics.update(part.features)
            answers.append(probabilities(part).argmax(1).cpu().numpy())
        assert statistics is not None, "there is an image"
        return statistics, np.concatenate(answers)

    def _lesson(self, lesson: ImageData, test: ImageData) -> tuple[dict[int, float], float]:
        """The accuracy on real images of a classifier trained on the samples: of each class, and of all."""
        assert test.label is not None and lesson.label is not None
        answer = np.empty(len(test), np.int64)
        with torch.random.fork_rng(devices=[]):
            trained = train_classifier("a student of samples", lesson, recipe=replace(self.student, seed=self.seed), console=False)
        for start in range(0, len(test), 500):
            answer[start : start + 500] = trained(images_at(test, slice(start, start + 500))).argmax(1).numpy()
        learned = {label: _share(answer, test.label, label) for label in np.unique(test.label).tolist()}
        return learned, float((answer == test.label).mean())


def _share(answer: np.ndarray, label: np.ndarray, of: int) -> float:
    """The share of the images labelled ``of`` that were answered so; 0 without such images."""
    return float((answer[label == of] == of).mean()) if (label == of).any() else 0.0


# --- the metric ---


def results(asked: Asked) -> Iterator[Result]:
    """The scores of one model, or of given images, for all classes of the data."""
    subject, classes = asked.subject, tuple(np.unique(asked.labels("continual")).tolist())
    exam = Exam(asked.judge.extractor, asked.data, (classes,), asked.num_samples, asked.seed, work=asked.work)
    given = isinstance(subject, ImageData)
    drawn = take(subject, shuffled(len(subject), asked.seed)[: asked.num_samples]) if given else exam.drawn(subject, 0)
    for name, value in exam.standing(drawn, 0).numbers().items():
        yield Result(name, value, None, exam.protocol(0, drawn))


def check(asked: Asked) -> None:
    check_number(asked.num_samples, STUDENT)
    class_counts(asked.num_samples, len(np.unique(asked.labels("continual"))))
    asked.check_judge("continual")


CONTINUAL = Metric(
    "continual",
    "all classes so far, by one protocol",
    (Number("reverse_forgetting", "reverse forgetting", "lower"),),
    needs("extractor", "labels"),
    results,
    check,
)
CARRIED = Number("carried_megabytes", "MB carried", "lower", counted=True)
"""The size of everything that passes from one task to the next."""
