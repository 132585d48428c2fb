"""Do generated images show the class that they are labelled with? A classifier's answers, and the accuracy of classifiers trained on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memogen.data.task_sequence import of_classes
from memogen.metrics.classifiers import ClassifierRecipe, accuracy, train_classifier
from memogen.metrics.extractors import Extractor
from memogen.metrics.fid import FeatureStatistics, frechet_distance, reference_statistics
from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.rows import UNSEEN
from memogen.metrics.samples import NotFiniteError, Reference, Watch, Work, default_cache, device_of, model_source, predicted, shuffled, take
from memogen.types import GenerativeModel, ImageData, InputError

STUDENT = ClassifierRecipe(widths=(16, 32, 64), epochs=10, batch_size=64, learning_rate=0.05, shift=1)
EPOCHS = (2, 5, 10)  # the candidates of fitting_capacity
VALIDATION = 5000  # images of the training split that choose among them, and a fifth of it at most


@dataclass(frozen=True)
class LabelAccuracy:
    """The share of images that a classifier assigns to their own class: of all, and of each class (None for a class without images)."""

    value: float
    by_class: tuple[float | None, ...]


@dataclass(frozen=True)
class Capacity:
    """The test accuracy of the candidate with the best validation accuracy, the validation accuracies of all, and the candidate."""

    value: float
    validation: tuple[float, ...]
    chosen: ClassifierRecipe


def label_accuracy(images: ImageData, classifier: Extractor, *, batch_size: int = 250) -> LabelAccuracy:
    """How often ``classifier`` gives an image its own label. Shin et al. 2017 and Wu et al. 2018 (section 5.1) report it of replay."""
    label = _labels(images)
    right = predicted(classifier, images, batch_size=batch_size) == label
    by_class = [float(right[label == c].mean()) if (label == c).any() else None for c in range(int(label.max()) + 1)]
    return LabelAccuracy(float(right.mean()), tuple(by_class))


def reverse_accuracy(generated: ImageData, test: ImageData, *, recipe: ClassifierRecipe = STUDENT, seed: int = 0) -> float:
    """The accuracy on real ``test`` images of a classifier trained on labelled ``generated`` ones alone.

    "GAN-train" of Shmelkov et al. 2018, "How good is my GAN?". With real training images as ``generated`` it gives the upper limit.
    """
    check_lesson(generated, test, recipe)
    trained = train_classifier(f"a student of {generated.name} images, for reverse accuracy", generated, recipe=replace(recipe, seed=seed))
    return accuracy(trained, test)


def fitting_capacity(generated: ImageData, validation: ImageData, test: ImageData, recipes: Sequence[ClassifierRecipe], *, seed: int = 0) -> Capacity:
    """The reverse accuracy of the one among ``recipes`` that is best on real ``validation`` images (Lesort et al. 2019, "Generative models from the
    perspective of continual learning", section 3.2)."""
    candidates = [replace(recipe, seed=seed) for recipe in recipes]
    for recipe in candidates:
        check_lesson(generated, test, recipe)
    trained = [train_classifier(f"a student of {generated.name} images, for fitting capacity", generated, recipe=recipe) for recipe in candidates]
    scores = [accuracy(student, validation) for student in trained]
    best = int(np.argmax(scores))
    return Capacity(accuracy(trained[best], test), tuple(scores), candidates[best])


def check_lesson(generated: ImageData, test: ImageData, recipe: ClassifierRecipe) -> None:
    """Raises InputError if the generated images lack a class of the test images, or fill no batch of the recipe."""
    missing = sorted(set(_labels(test).tolist()) - set(_labels(generated).tolist()))
    if missing:
        name = test.classes[missing[0]] if missing[0] < len(test.classes) else missing[0]
        raise InputError(f"reverse accuracy: no generated image of class {name}, which {test.name} has: generate images of every class")
    check_number(len(generated), recipe)


def check_number(num: int, recipe: ClassifierRecipe) -> None:
    """Raises InputError for fewer images than a batch of the recipe."""
    if num < recipe.batch_size:
        raise InputError(f"reverse accuracy: {num} images make no batch of {recipe.batch_size}: use at least {recipe.batch_size} images")


def _labels(data: ImageData) -> np.ndarray:
    if data.label is None:
        raise InputError(f"accuracy: {data.name} {data.split}: it has no labels: give labelled images")
    return data.label


# --- the metrics ---


@dataclass(frozen=True)
class Labelled:
    """What the metrics of labelled images compare: ``subject`` draws by label or holds labelled images; ``data`` is the real test split."""

    subject: GenerativeModel | ImageData
    data: ImageData
    train: ImageData | None
    watch: Watch
    num_samples: int
    seed: int = 0
    student: ClassifierRecipe = STUDENT

    @cached_property
    def images(self) -> ImageData:
        """The labelled images to score; those of a model are equally many of each class, class after class, and no two share noise."""
        if isinstance(self.subject, ImageData):
            return take(self.subject, shuffled(len(self.subject), self.seed)[: self.num_samples])
        counts, work, parts = class_counts(self.num_samples, len(self.labels)), self.watch.work, list[Tensor]()
        for place, label in enumerate(self.labels):
            draw, first = model_source(self.subject, seed=self.seed, label=label), sum(counts[:place])
            for turn in work.rounds(f"samples of class {label}", counts[place], self.watch.batch_size):
                parts.append(work.processes.gather(draw(first + turn.start, turn.num), turn).cpu())
        return ImageData(torch.cat(parts).numpy(), np.repeat(self.labels, counts), self.data.classes, "generated", "samples")

    @cached_property
    def labels(self) -> list[int]:
        """The classes of the real images. Raises InputError if these have no labels."""
        if self.data.label is None:
            raise InputError(f"metric accuracy: {self.data.name} has no labels: compare with a labelled data set")
        return np.unique(self.data.label).tolist()

    @property
    def protocol(self) -> dict[str, object]:
        """What every row says; ``learned`` is given if the real images do not have all classes of the data set."""
        fewer = {"learned": len(self.labels)} if len(self.labels) < len(self.data.classes) else {}
        return {"classes": len(self.labels), "num_samples": len(self.images), **fewer}


def compared(asked: Asked) -> Labelled:
    """The images of one scoring, which its metrics share."""
    return Labelled(asked.subject, asked.data, asked.train, asked.judge, asked.num_samples, asked.seed)


def class_counts(num: int, classes: int) -> list[int]:
    """``num`` images over the classes, as evenly as possible. Raises InputError if a class would have none."""
    if num < classes:
        raise InputError(f"num_samples is {num}: {classes} classes need at least {classes} samples")
    return [num // classes + (label < num % classes) for label in range(classes)]


def accuracy_results(given: Labelled) -> Iterator[Result]:
    """How often the extractor, a classifier of the data's classes, assigns an image to the requested class."""
    found = label_accuracy(given.images, given.watch.extractor, batch_size=given.watch.batch_size)
    yield Result("accuracy", found.value, None, {**given.protocol, "by_class": found.by_class})


def reverse_results(given: Labelled) -> Iterator[Result]:
    """Of a classifier trained on the generated images and, if training images are given, of one trained on as many of these."""
    protocol = {**given.protocol, "student": asdict(given.student), "student_seed": given.seed, "test": _name(given.data), **UNSEEN}
    yield Result("reverse_accuracy", reverse_accuracy(given.images, given.data, recipe=given.student, seed=given.seed), None, protocol)
    if given.train is not None:
        real = take(given.train, shuffled(len(given.train), given.seed)[: len(given.images)])
        ceiling = {**protocol, "num_samples": len(real), "train": _name(given.train)}
        yield Result("reverse_accuracy", reverse_accuracy(real, given.data, recipe=given.student, seed=given.seed), None, ceiling, variant="real")


def capacity_results(given: Labelled) -> Iterator[Result]:
    """Of the best of several classifiers, chosen by a part of the training images."""
    train = _training(given)
    chosen = shuffled(len(train), given.seed)[: min(VALIDATION, len(train) // 5)]
    recipes = [replace(given.student, epochs=epochs) for epochs in EPOCHS]
    found = fitting_capacity(given.images, take(train, chosen), given.data, recipes, seed=given.seed)
    validation = {**_name(train), "num": len(chosen)}
    protocol = {**given.protocol, "student": asdict(found.chosen), "validation": validation, "test": _name(given.data)}
    yield Result("fitting_capacity", found.value, None, {**protocol, "validation_accuracies": found.validation, **UNSEEN})


def _name(data: ImageData) -> dict[str, object]:
    return {"data": data.name, "split": data.split, "digest": data.digest}


def _training(given: Labelled) -> ImageData:
    if given.train is None:
        raise InputError("metric fitting_capacity: real images choose among the students: give the training split as train")
    return given.train


def check_labels(given: Labelled) -> None:
    """Raises InputError for images without labels, too few samples for the classes, and a model that draws no classes."""
    if isinstance(given.subject, ImageData):
        if given.subject.label is None:
            raise InputError(f"metric accuracy: {given.subject.name} {given.subject.split} has no labels: give images in a sub-folder for each class")
        return
    class_counts(given.num_samples, len(given.labels))
    try:
        model_source(given.subject, seed=given.seed, label=given.labels[0])(0, 1)
    except NotFiniteError:
        raise
    except InputError as error:
        raise InputError(f"metric accuracy and its kind: a {type(given.subject).__name__} cannot be asked for a class ({error})") from error


def check_accuracy(asked: Asked) -> None:
    check_labels(asked.once(compared))
    asked.check_judge("accuracy")


def check_student(asked: Asked) -> None:
    given = asked.once(compared)
    check_labels(given)
    if isinstance(given.subject, ImageData):
        check_lesson(given.images, given.data, given.student)
    else:
        check_number(given.num_samples, given.student)


def check_capacity(asked: Asked) -> None:
    _training(asked.once(compared))
    check_student(asked)


ACCURACY = Metric(
    "accuracy",
    "labels found again by a classifier",
    (Number("accuracy", "accuracy", "higher", lambda protocol: str(protocol.get("learned", "")), "{title}, {apart} classes"),),
    needs("extractor", "labels"),
    lambda asked: accuracy_results(asked.once(compared)),
    check_accuracy,
)
REVERSE_ACCURACY = Metric(
    "reverse_accuracy",
    "of a classifier trained on samples",
    (Number("reverse_accuracy", "reverse accuracy", "higher"),),
    needs("extractor", "labels"),
    lambda asked: reverse_results(asked.once(compared)),
    check_student,
)
FITTING_CAPACITY = Metric(
    "fitting_capacity",
    "of the best of several such classifiers",
    (Number("fitting_capacity", "fitting capacity", "higher", tabled=False),),
    needs("extractor", "labels", "train"),
    lambda asked: capacity_results(asked.once(compared)),
    check_capacity,
)


# --- class by class ---
# Wu et al. 2018, sections 4.1 (accuracy) and 4.2 (a Fréchet distance per category, of which their Table 2 prints the mean).


@dataclass(frozen=True)
class ClassScore:
    """For one class: the share of its samples that the judge assigns to it, and their Fréchet distance; None for one that is not defined."""

    label: int
    accuracy: float | None
    fid: float | None
    num: int


@dataclass(frozen=True)
class ClassJudge:
    """An extractor that scores samples class by class.

    ``references`` holds the statistics of each class's real images; a class without, or with too few images for a covariance, gets no distance.
    ``answers`` maps a class to the judge's number of it, if that differs. Classes in ``strange`` the judge does not know.
    """

    extractor: Extractor
    references: Mapping[int, FeatureStatistics] = field(default_factory=dict)
    answers: Mapping[int, int] = field(default_factory=dict)
    strange: tuple[int, ...] = ()
    batch_size: int = 250

    def scores(self, model: GenerativeModel, labels: Sequence[int], num: int, *, seed: int = 0, work: Work | None = None) -> list[ClassScore]:
        """Of samples 0 to ``num`` - 1 of ``seed``, of each of the classes."""
        return [self._score(model, label, num, seed, work or Work()) for label in labels]

    def _score(self, model: GenerativeModel, label: int, num: int, seed: int, work: Work) -> ClassScore:
        asks, answer = label not in self.strange, self.answers.get(label, label)
        watch, statistics, right = Watch(self.extractor, self.batch_size, work, probabilities=asks), None, 0
        for seen in watch(model_source(model, seed=seed, label=label), num):
            statistics = statistics or FeatureStatistics(seen.features.shape[1])
            statistics.update(seen.features)
            if seen.probabilities is not None:
                known = seen.probabilities.shape[1]
                if answer >= known:
                    raise InputError(f"accuracy: the extractor knows {known} classes, and class {answer} is asked for: use a classifier of the data")
                right += int((seen.probabilities.argmax(1) == answer).sum())
        reference, distance = self.references.get(label), None
        if statistics and reference and min(statistics.count, reference.count) > statistics.dim:
            distance = frechet_distance(statistics, reference)
        return ClassScore(label, right / num if asks else None, distance, num)


def class_references(
    data: ImageData, labels: Sequence[int], extractor: Extractor, *, cache: Path | None = None, work: Work | None = None
) -> dict[int, FeatureStatistics]:
    """The statistics of the real images of each class, read from the cache if they are there."""
    return {
        label: reference_statistics(Reference(of_classes(data, [label]), extractor, cache or default_cache(), device_of(extractor), work or Work()))
        for label in labels
    }


def real_accuracy(data: ImageData, labels: Sequence[int], extractor: Extractor) -> float:
    """The share of the real images of these classes that the judge assigns to their own: no model can be expected to exceed it."""
    part = of_classes(data, labels)
    return float((predicted(extractor, part) == part.label).sum()) / len(part)


def mean_score(scores: Sequence[ClassScore]) -> tuple[float | None, float | None]:
    """(accuracy, Fréchet distance) averaged over the classes; None if one class has none."""

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if len(known) == len(values) else None

    return mean([score.accuracy for score in scores]), mean([score.fid for score in scores])
