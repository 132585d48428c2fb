"""The scores of labelled images: each takes images of every class in equal numbers, drawn by label or given with their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from memogen.evaluation.accuracy import EPOCHS, STUDENT, check_lesson, check_number, fitting_capacity, label_accuracy, reverse_accuracy, told
from memogen.evaluation.classifiers import ClassifierRecipe
from memogen.evaluation.reference import shuffled
from memogen.evaluation.rows import UNSEEN
from memogen.evaluation.scores import Result
from memogen.evaluation.stream import Watch, device_of, image_source, model_source
from memogen.types import GenerativeModel, ImageData, InputError

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
    protocol = {**given.protocol, "student": told(given.student), "student_seed": given.seed, "test": _name(given.data), **UNSEEN}
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
    protocol = {**given.protocol, "student": told(found.chosen), "validation": {**_name(train), "num": len(chosen)}, "test": _name(given.data)}
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


CHECKS: dict[str, Callable[[Labelled], None]] = {"accuracy": check_judge, "reverse_accuracy": check_student, "fitting_capacity": check_capacity}
RESULTS: dict[str, Callable[[Labelled], Iterator[Result]]] = {
    "accuracy": accuracy_results,
    "reverse_accuracy": reverse_results,
    "fitting_capacity": capacity_results,
}
