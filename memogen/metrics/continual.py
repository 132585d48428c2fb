"""How a generator stands after a task, by its samples of all classes so far: one way of scoring for whatever draws, with labels or without.

The samples as a whole against real test images, how evenly they spread over the classes, whether labels mean what they say, and what a classifier
learns from samples alone (the fitting capacity of Lesort et al. 2019, "Generative models from the perspective of continual learning", section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from memogen.data.task_sequence import of_classes
from memogen.metrics.accuracy import STUDENT, check_number, class_counts, student_protocol
from memogen.metrics.classifiers import ClassifierRecipe, train_classifier
from memogen.metrics.extractors import Extractor
from memogen.metrics.fid import FeatureStatistics, frechet_distance, reference_statistics
from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.modes import ClassShares
from memogen.metrics.samples import Reference, Watch, default_cache, device_of, image_source, model_source, shuffled
from memogen.metrics.work import Work
from memogen.types import ClassModel, ImageData, InputError


@dataclass(frozen=True)
class Standing:
    """After a task, of the samples of all classes seen so far; each mapping is by class.

    ``fid``: the Fréchet distance of all samples to the real test images of these classes, None where one side has too few for a covariance.
    ``told``: the share of each class's samples that the judge finds to be of it, None where samples have no labels. ``learned``: the share of each
    class's real test images that a classifier gets right that was trained on the samples alone.
    """

    fid: float | None
    shares: ClassShares
    told: Mapping[int, float] | None
    learned: Mapping[int, float]
    reverse_accuracy: float

    @property
    def accuracy(self) -> float | None:
        """The mean over the classes of what was told; a class without a sample counts as 0."""
        return None if self.told is None else float(np.mean(list(self.told.values())))

    def numbers(self) -> dict[str, float]:
        """Those that can be had, by the names of result rows."""
        found = {"fid": self.fid, "accuracy": self.accuracy, "reverse_accuracy": self.reverse_accuracy}
        found |= {"unseen_share": self.shares.elsewhere, "class_divergence": self.shares.divergence}
        return {name: value for name, value in found.items() if value is not None}

    def by_class(self) -> dict[str, Mapping[int, float]]:
        """The same class by class."""
        found = {"class_share": {label: float(self.shares.share[label]) for label in self.shares.seen}, "reverse_accuracy": self.learned}
        return found if self.told is None else {**found, "accuracy": self.told}


@dataclass(frozen=True)
class Exam:
    """Who looks and at what: ``judge``, a classifier of the data; the real ``test`` images of all classes; ``tasks``, the classes of each.

    ``num_samples`` in all are scored, as many of each class as of every other where the generator is told classes. ``student`` is trained on them.
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
        """Samples of a model after task ``number``: of each class so far, under its label, or of none in particular."""
        if not isinstance(model, ClassModel):
            return ImageData(self._images(model, self.num_samples), None, self.test.classes, "generated", "samples")
        labels = self.seen(number)
        counts = class_counts(self.num_samples, len(labels))
        image = np.concatenate([self._images(model, count, label) for label, count in zip(labels, counts, strict=True)])
        return ImageData(image, np.repeat(labels, counts), self.test.classes, "generated", "samples")

    def standing(self, drawn: ImageData, number: int) -> Standing:
        """The scores of ``drawn`` images after task ``number``. torch's own random numbers are left as they are."""
        seen, reference = self.seen(number), of_classes(self.test, self.seen(number))
        statistics, answer = self._look(drawn)
        real = reference_statistics(Reference(reference, self.judge, default_cache(), device_of(self.judge), self.work))
        enough = min(statistics.count, real.count) > real.dim
        label = answer if drawn.label is None else drawn.label
        learned, reverse = self._lesson(replace(drawn, label=label, classes=self._names), reference)
        return Standing(
            frechet_distance(statistics, real) if enough else None,
            ClassShares(np.bincount(answer, minlength=max(seen) + 1), seen),
            None if drawn.label is None else {label: _share(answer, drawn.label, label) for label in seen},
            learned,
            reverse,
        )

    def real(self, train: ImageData) -> Standing:
        """What a perfect generator would reach after the last task, by as many training images; fewer where there are fewer."""
        number = len(self.tasks) - 1
        return self.standing(some(of_classes(train, self.seen(number)), self.num_samples, self.seed), number)

    def protocol(self, number: int, drawn: ImageData) -> dict[str, object]:
        """How the standing after task ``number`` was found."""
        named = {"data": self.test.name, "split": self.test.split, "digest": self.test.digest}
        labels = "asked" if drawn.label is not None else "the judge's"
        about = {"num_samples": len(drawn), "seed": self.seed, "reference": named, "classes_seen": len(self.seen(number)), "student_labels": labels}
        return {**about, "student": student_protocol(self.student), "student_seed": self.seed}

    @property
    def _names(self) -> tuple[str, ...]:
        """Of all classes, so that a student has a place for those of which there is no sample."""
        last = max(chain.from_iterable(self.tasks))
        return self.test.classes or tuple(str(label) for label in range(last + 1))

    def _images(self, model: Any, num: int, label: int | None = None) -> np.ndarray:
        draw = model_source(model, seed=self.seed, label=label)
        return torch.cat([draw(start, min(250, num - start)).cpu() for start in range(0, num, 250)]).numpy()

    def _look(self, drawn: ImageData) -> tuple[FeatureStatistics, Int[np.ndarray, " n"]]:
        """Their features' statistics, and the class that the judge sees in each."""
        statistics, answers = None, []
        for part in Watch(self.judge, 250, self.work)(image_source(drawn, np.arange(len(drawn))), len(drawn)):
            assert part.probabilities is not None, "the watch was not told to leave them out"
            statistics = statistics or FeatureStatistics(part.features.shape[1])
            statistics.update(part.features)
            answers.append(part.probabilities.argmax(1).cpu().numpy())
        assert statistics is not None, "there is an image"
        return statistics, np.concatenate(answers)

    def _lesson(self, lesson: ImageData, test: ImageData) -> tuple[dict[int, float], float]:
        """What a student of the samples gets right of real images: of each class, and in all."""
        assert test.label is not None and lesson.label is not None
        answer = np.empty(len(test), np.int64)
        with torch.random.fork_rng(devices=[]):
            trained = train_classifier("a student of samples", lesson, recipe=replace(self.student, seed=self.seed), console=False)
        for start in range(0, len(test), 500):
            answer[start : start + 500] = trained(torch.from_numpy(np.array(test.image[start : start + 500]))).argmax(1).numpy()
        learned = {label: _share(answer, test.label, label) for label in np.unique(test.label).tolist()}
        return learned, float((answer == test.label).mean())


def some(data: ImageData, num: int, seed: int) -> ImageData:
    """``num`` images in an order drawn by the seed; all of them where there are fewer."""
    rows = shuffled(len(data), seed)[:num]
    label = None if data.label is None else np.array(data.label[rows])
    return ImageData(np.array(data.image[rows]), label, data.classes, data.name, data.split)


def _share(answer: np.ndarray, label: np.ndarray, of: int) -> float:
    """How many of the images labelled ``of`` were answered so; 0 where there are none."""
    return float((answer[label == of] == of).mean()) if (label == of).any() else 0.0


# --- the metric ---


def exam(asked: Asked) -> Exam:
    """Of one model, or of given images, about all classes of the data."""
    if asked.data.label is None:
        raise InputError(f"metric continual: {asked.data.name} has no labels: compare with a labelled data set")
    return Exam(asked.judge.extractor, asked.data, (tuple(np.unique(asked.data.label).tolist()),), asked.num_samples, asked.seed, work=asked.work)


def results(asked: Asked) -> Iterator[Result]:
    """How it stands; after a sequence of tasks, rows of every task say so."""
    given, subject = exam(asked), asked.subject
    drawn = some(subject, asked.num_samples, asked.seed) if isinstance(subject, ImageData) else given.drawn(subject, 0)
    for name, value in given.standing(drawn, 0).numbers().items():
        yield Result(name, value, None, given.protocol(0, drawn))


def check(asked: Asked) -> None:
    """Refuse what has no labels, a judge that does not know all classes, and too few samples."""
    judge, given = asked.judge.extractor, exam(asked)
    known = judge(image_source(asked.data, np.arange(1))(0, 1).to(device_of(judge))).shape[1]
    if known <= max(given.seen(0)):
        raise InputError(f"metric continual: the extractor knows {known} classes, the images {max(given.seen(0)) + 1}: use a classifier of the data")


CONTINUAL = Metric(
    "continual",
    "all classes so far, by one protocol",
    (Number("reverse_forgetting", "reverse forgetting", "lower"),),
    needs("extractor", "labels"),
    results,
    check,
)
CARRIED = Number("carried_megabytes", "MB carried", "lower", counted=True)
"""All that passes from one task to the next."""
