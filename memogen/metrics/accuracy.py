"""Do labels mean what they say? Generated images of a class, classified; and classifiers trained on them, tested on real images."""

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
from memogen.metrics.samples import NotFiniteError, Reference, Source, Watch, default_cache, device_of, finite, image_source, model_source, shuffled
from memogen.metrics.work import Work
from memogen.types import GenerativeModel, ImageData, InputError

STUDENT = ClassifierRecipe(widths=(16, 32, 64), epochs=10, batch_size=64, learning_rate=0.05, shift=1)
EPOCHS = (2, 5, 10)  # among which a validation part chooses


@dataclass(frozen=True)
class LabelAccuracy:
    """The share of images that a classifier finds to be of their class: over all, and class by class (None for one without images)."""

    value: float
    by_class: tuple[float | None, ...]


@dataclass(frozen=True)
class Capacity:
    """The test accuracy of the candidate that did best on the validation part, that part's accuracies, and the candidate."""

    value: float
    validation: tuple[float, ...]
    chosen: ClassifierRecipe


@torch.no_grad()
def label_accuracy(images: ImageData, classifier: Extractor, *, batch_size: int = 250, device: torch.device | str = "cpu") -> LabelAccuracy:
    """How often ``classifier`` gives an image of ``images`` its own label. Shin et al. 2017 and Wu et al. 2018 (section 5.1) report it of replay."""
    label = _labels(images)
    right = np.zeros(len(images), dtype=bool)
    for start in range(0, len(images), batch_size):
        block = torch.from_numpy(np.array(images.image[start : start + batch_size])).to(device)
        right[start : start + batch_size] = _answer(finite(classifier(block), "logits"), int(label.max())) == label[start : start + batch_size]
    by_class = [float(right[label == c].mean()) if (label == c).any() else None for c in range(int(label.max()) + 1)]
    return LabelAccuracy(float(right.mean()), tuple(by_class))


def reverse_accuracy(generated: ImageData, test: ImageData, *, recipe: ClassifierRecipe = STUDENT, seed: int = 0) -> float:
    """The accuracy on real ``test`` images of a classifier trained on labelled ``generated`` ones alone.

    "GAN-train" of Shmelkov et al. 2018, "How good is my GAN?". With real training images as ``generated`` it is the ceiling.
    """
    check_lesson(generated, test, recipe)
    trained = train_classifier(f"a student of {generated.name} images, for reverse accuracy", generated, recipe=replace(recipe, seed=seed))
    return accuracy(trained, test)


def fitting_capacity(generated: ImageData, validation: ImageData, test: ImageData, recipes: Sequence[ClassifierRecipe], *, seed: int = 0) -> Capacity:
    """The reverse accuracy of the one among ``recipes`` that does best on real ``validation`` images (Lesort et al. 2019, "Generative models
    from the perspective of continual learning", section 3.2)."""
    candidates = [replace(recipe, seed=seed) for recipe in recipes]
    for recipe in candidates:
        check_lesson(generated, test, recipe)
    trained = [train_classifier(f"a student of {generated.name} images, for fitting capacity", generated, recipe=recipe) for recipe in candidates]
    scores = [accuracy(student, validation) for student in trained]
    best = int(np.argmax(scores))
    return Capacity(accuracy(trained[best], test), tuple(scores), candidates[best])


def student_protocol(recipe: ClassifierRecipe) -> dict[str, object]:
    """A student as a protocol names it."""
    return asdict(recipe)


def _answer(logits: Tensor, largest: int) -> np.ndarray:
    if logits.shape[1] <= largest:
        raise InputError(f"accuracy: the extractor knows {logits.shape[1]} classes, the images {largest + 1}: use a classifier of the data")
    return logits.argmax(1).cpu().numpy()


def _labels(data: ImageData) -> np.ndarray:
    if data.label is None:
        raise InputError(f"accuracy: {data.name} {data.split}: it has no labels: give labelled images")
    return data.label


def check_lesson(generated: ImageData, test: ImageData, recipe: ClassifierRecipe) -> None:
    """Refuse images of which some class is missing, or fewer than a student reads at a time."""
    missing = sorted(set(_labels(test).tolist()) - set(_labels(generated).tolist()))
    if missing:
        name = test.classes[missing[0]] if missing[0] < len(test.classes) else missing[0]
        raise InputError(f"reverse accuracy: no generated image of class {name}, which {test.name} has: generate images of every class")
    check_number(len(generated), recipe)


def check_number(num: int, recipe: ClassifierRecipe) -> None:
    """Refuse fewer images than a student reads at a time."""
    if num < recipe.batch_size:
        raise InputError(f"reverse accuracy: {num} images make no batch of {recipe.batch_size}: use at least {recipe.batch_size} images")


# --- the scores of labelled images ---
# The scores of labelled images: each takes images of every class in equal numbers, drawn by label or given with their labels.


VALIDATION = 5000  # images of the training split at most, and never more than a fifth of it


@dataclass(frozen=True)
class Labelled:
    """What the scores of labelled images compare: ``subject`` draws by label or holds labelled images; ``data`` is the real test split."""

    subject: GenerativeModel | ImageData
    data: ImageData
    train: ImageData | None
    watch: Watch
    num_samples: int
    seed: int = 0
    student: ClassifierRecipe = STUDENT

    @cached_property
    def images(self) -> ImageData:
        """The labelled images to score: as many of each class, in the order of the classes."""
        if isinstance(self.subject, ImageData):
            chosen = shuffled(len(self.subject), self.seed)[: self.num_samples]
            return _part(self.subject, chosen)
        counts = class_counts(self.num_samples, len(self.labels))
        image = torch.cat([self._drawn(self.subject, place, counts) for place in range(len(self.labels))])
        return ImageData(image.numpy(), np.repeat(self.labels, counts), self.data.classes, "generated", "samples")

    @cached_property
    def labels(self) -> list[int]:
        """The classes of which there are real images to compare with."""
        if self.data.label is None:
            raise InputError(f"metric accuracy: {self.data.name} has no labels: compare with a labelled data set")
        return np.unique(self.data.label).tolist()

    @property
    def protocol(self) -> dict[str, object]:
        """What every score of labelled images says; ``learned`` where these are fewer than the data's classes."""
        fewer = {"learned": len(self.labels)} if len(self.labels) < len(self.data.classes) else {}
        return {"classes": len(self.labels), "num_samples": len(self.images), **fewer}

    def _drawn(self, model: GenerativeModel, place: int, counts: list[int]) -> Tensor:
        """Images of one class; no two classes share noise."""
        label, first, work = self.labels[place], sum(counts[:place]), self.watch.work
        draw, parts = model_source(model, seed=self.seed, label=label), []
        for turn in work.rounds(f"samples of class {label}", counts[place], self.watch.batch_size):
            parts.append(work.processes.gather(draw(first + turn.start, turn.num), turn).cpu())
        return torch.cat(parts)


def class_counts(num: int, classes: int) -> list[int]:
    """``num`` images over the classes, as evenly as can be; an InputError where a class would have none."""
    if num < classes:
        raise InputError(f"num_samples is {num}: {classes} classes need at least {classes} samples")
    return [num // classes + (label < num % classes) for label in range(classes)]


def accuracy_results(given: Labelled) -> Iterator[Result]:
    """How often the extractor, a classifier of the data's classes, finds the class that was asked for."""
    judge = given.watch.extractor
    found = label_accuracy(given.images, judge, batch_size=given.watch.batch_size, device=device_of(judge))
    yield Result("accuracy", found.value, None, {**given.protocol, "by_class": found.by_class})


def reverse_results(given: Labelled) -> Iterator[Result]:
    """A classifier trained on the generated images, and as the ceiling one trained on as many real ones where they are given."""
    protocol = {**given.protocol, "student": student_protocol(given.student), "student_seed": given.seed, "test": _name(given.data), **UNSEEN}
    yield Result("reverse_accuracy", reverse_accuracy(given.images, given.data, recipe=given.student, seed=given.seed), None, protocol)
    if given.train is not None:
        real = _part(given.train, shuffled(len(given.train), given.seed)[: len(given.images)])
        ceiling = {**protocol, "num_samples": len(real), "train": _name(given.train)}
        yield Result("reverse_accuracy", reverse_accuracy(real, given.data, recipe=given.student, seed=given.seed), None, ceiling, variant="real")


def capacity_results(given: Labelled) -> Iterator[Result]:
    """The best student by a validation part of the training split."""
    train = _training(given)
    chosen = shuffled(len(train), given.seed)[: min(VALIDATION, len(train) // 5)]
    recipes = [replace(given.student, epochs=epochs) for epochs in EPOCHS]
    found = fitting_capacity(given.images, _part(train, chosen), given.data, recipes, seed=given.seed)
    protocol = {
        **given.protocol,
        "student": student_protocol(found.chosen),
        "validation": {**_name(train), "num": len(chosen)},
        "test": _name(given.data),
    }
    yield Result("fitting_capacity", found.value, None, {**protocol, "validation_accuracies": found.validation, **UNSEEN})


def _part(data: ImageData, chosen: np.ndarray) -> ImageData:
    label = None if data.label is None else np.array(data.label[chosen])
    return ImageData(np.array(data.image[chosen]), label, data.classes, data.name, data.split)


def _name(data: ImageData) -> dict[str, object]:
    return {"data": data.name, "split": data.split, "digest": data.digest}


def check_labels(given: Labelled) -> None:
    """Refuse images without labels, too few for the classes, and a model that draws no classes."""
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


def check_judge(given: Labelled) -> None:
    """The same, and a judge that does not know all classes."""
    check_labels(given)
    judge = given.watch.extractor
    known = judge(image_source(given.data, np.arange(1))(0, 1).to(device_of(judge))).shape[1]
    if known <= max(given.labels):
        raise InputError(f"accuracy: the extractor knows {known} classes, the images {max(given.labels) + 1}: use a classifier of the data")


def check_student(given: Labelled) -> None:
    """The same as for labels, and too few images for a student; given images are looked at for every class."""
    check_labels(given)
    if isinstance(given.subject, ImageData):
        return check_lesson(given.images, given.data, given.student)
    check_number(given.num_samples, given.student)


def check_capacity(given: Labelled) -> None:
    """The same, and the images that choose."""
    _training(given)
    check_student(given)


def _training(given: Labelled) -> ImageData:
    if given.train is None:
        raise InputError("metric fitting_capacity: real images choose among the students: give the training split as train")
    return given.train


def compared(asked: Asked) -> Labelled:
    """What the metrics of one scoring compare: the same images for all of them."""
    return Labelled(asked.subject, asked.data, asked.train, asked.judge, asked.num_samples, asked.seed)


ACCURACY = Metric(
    "accuracy",
    "labels found again by a classifier",
    (
        Number(
            "accuracy",
            "accuracy",
            "higher",
            lambda protocol: str(protocol.get("learned", "")),
            "{title}, {apart} classes",
        ),
    ),
    needs("extractor", "labels"),
    lambda asked: accuracy_results(asked.once(compared)),
    lambda asked: check_judge(asked.once(compared)),
)
REVERSE_ACCURACY = Metric(
    "reverse_accuracy",
    "of a classifier trained on samples",
    (Number("reverse_accuracy", "reverse accuracy", "higher"),),
    needs("extractor", "labels"),
    lambda asked: reverse_results(asked.once(compared)),
    lambda asked: check_student(asked.once(compared)),
)
FITTING_CAPACITY = Metric(
    "fitting_capacity",
    "of the best of several such classifiers",
    (Number("fitting_capacity", "fitting capacity", "higher", tabled=False),),
    needs("extractor", "labels", "train"),
    lambda asked: capacity_results(asked.once(compared)),
    lambda asked: check_capacity(asked.once(compared)),
)


# --- class by class ---
# Labelled samples class by class: is the class that was asked for found again, and how far do its images lie from the real ones?
#
# Wu et al. 2018, sections 4.1 (accuracy) and 4.2 (a Fréchet distance per category, of which their Table 2 prints the mean).


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
        label: reference_statistics(Reference(of_classes(data, [label]), extractor, cache or default_cache(), device_of(extractor), work or Work()))
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
