"""The accuracy of a linear support vector machine on a model's features (Li et al. 2016, appendix A)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.metrics.metric import Asked, Metric, ModelScoring, Number, Result, needs
from memogen.metrics.samples import Work, device_of, finite, images_at, num_labels
from memogen.types import ImageData, InputError, Pixels

BLOCK = 1000  # images at once
PENALTY = ModelScoring.svm_penalty


@runtime_checkable
class HasFeatures(Protocol):
    """A model that turns images into features."""

    def features(self, image: Pixels) -> Float[Tensor, "b f"]: ...


@dataclass(frozen=True)
class SvmAccuracy:
    """The accuracy on test images; ``training`` is that on the training images, ``penalty`` is C."""

    value: float
    training: float
    num_train: int
    num_test: int
    penalty: float

    @property
    def error(self) -> float:
        """The standard error of the accuracy, for the test images as a random draw."""
        return float(np.sqrt(self.value * (1 - self.value) / self.num_test))

    @property
    def protocol(self) -> dict[str, object]:
        """What a result row says."""
        machine = {"classifier": "linear SVM, one against the rest, squared hinge", "penalty": self.penalty, "scaled": "by the training images"}
        return {**machine, "train": self.num_train, "num_samples": self.num_test, "training_accuracy": self.training, "input": "grey, not binarised"}


def svm_accuracy(
    model: HasFeatures, train: ImageData, test: ImageData, *, penalty: float = PENALTY, seed: int = 0, work: Work | None = None
) -> SvmAccuracy:
    """Train on the features of the training images, not binarised, and test on those of the test images; ``penalty`` is C.

    Features are scaled to mean 0 and deviation 1 over the training images. Raises InputError for missing labels, and for a model that is conditional
    on labels, as its features contain the answer.
    """
    check_unconditional(model)
    for data in (train, test):
        if data.label is None:
            raise InputError(f"svm: {data.name}, {data.split}: has no labels to tell apart: choose a labelled data set")
    assert train.label is not None and test.label is not None
    if len(np.unique(train.label)) < 2:
        raise InputError(f"svm: {train.name}: all images are of one class: choose data with several")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    work = work or Work()
    known, unknown = (features_of(model, data, work) for data in (train, test))
    machine = make_pipeline(StandardScaler(), LinearSVC(C=penalty, dual=False, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            machine.fit(known, train.label)
        except ConvergenceWarning as error:
            raise InputError(f"svm: did not converge with penalty {penalty:g}: give a smaller one") from error
    value, training = (float(machine.score(features, label)) for features, label in ((unknown, test.label), (known, train.label)))
    return SvmAccuracy(value, training, len(train), len(test), penalty)


def check_unconditional(model: HasFeatures) -> None:
    """Raises InputError for a model whose encoder is given the labels."""
    if num_labels(model):
        raise InputError("svm: this model is conditional on labels, which are what the machine is to find: choose a model without, or leave svm out")


@torch.no_grad()
def features_of(model: HasFeatures, data: ImageData, work: Work) -> Float[np.ndarray, "n h"]:
    """The features of all images, float64."""
    device, found = device_of(model), []
    for turn in work.rounds(f"features, {data.split}", len(data), BLOCK):
        image = images_at(data, slice(turn.start, turn.start + turn.num)).to(device)
        found.append(work.processes.gather(finite(model.features(image), "features"), turn).double().cpu().numpy())
    return np.concatenate(found)


# --- the metric ---


def check(asked: Asked) -> None:
    if not isinstance(asked.subject, HasFeatures):
        raise asked.unable("svm", "has no features")
    check_unconditional(asked.subject)
    if asked.train is None:
        raise InputError(
            "metric svm: a machine is trained on other images than it is tested on: choose data with a test part (in Python, give train)"
        )
    for data in (asked.train, asked.data):
        asked.labels("svm", data)


def results(asked: Asked) -> Iterator[Result]:
    assert asked.train is not None, "the check has passed"
    found = svm_accuracy(asked.subject, asked.train, asked.data, penalty=asked.how.svm_penalty, work=asked.work)
    yield Result("svm_accuracy", found.value, found.error, found.protocol)


SVM = Metric(
    "svm",
    "a linear machine on its features",
    (Number("svm_accuracy", "SVM accuracy", "higher"),),
    needs("model", "labels", "train"),
    results,
    check,
)
