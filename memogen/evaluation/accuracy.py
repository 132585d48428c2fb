"""Do labels mean what they say? Generated images of a class, classified; and classifiers trained on them, tested on real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from memogen.evaluation.classifiers import ClassifierRecipe, accuracy, train_classifier
from memogen.evaluation.features import Extractor
from memogen.types import ImageData, InputError

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
        right[start : start + batch_size] = _answer(classifier(block), int(label.max())) == label[start : start + batch_size]
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


def told(recipe: ClassifierRecipe) -> dict[str, object]:
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
