"""Accuracy of labels, and of classifiers trained on generated images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from memogen.data import load
from memogen.metrics import classifier, evaluate, score_images
from memogen.metrics.accuracy import (
    EPOCHS,
    Labelled,
    capacity_results,
    class_counts,
    fitting_capacity,
    label_accuracy,
    reverse_accuracy,
    reverse_results,
)
from memogen.metrics.classifiers import ClassifierRecipe
from memogen.metrics.stream import Watch
from memogen.types import ImageData, InputError
from tests.metrics.conftest import Moments
from tests.metrics.toys import Recalling, noise

QUICK = ClassifierRecipe(widths=(4, 8, 16), epochs=4, batch_size=32, learning_rate=0.05, shift=1)


@pytest.fixture(scope="module")
def train() -> ImageData:
    return load("digits", progress=False)


@pytest.fixture(scope="module")
def test() -> ImageData:
    return load("digits", split="test", progress=False)


def given(subject: Recalling | ImageData, data: ImageData, train: ImageData | None, num: int, *, seed: int = 0, batch_size: int = 250) -> Labelled:
    """With a small student: what it learns is not the question."""
    return Labelled(subject, data, train, Watch(classifier("digits"), batch_size), num, seed, QUICK)


def test_a_model_that_errs_every_fifth_time_is_right_as_often(test: ImageData) -> None:
    (row,) = evaluate(Recalling(test, wrong=5), test, extractor="digits", metrics=("accuracy",), num_samples=500, progress=False)
    assert row["metric"] == "accuracy" and float(str(row["value"])) == pytest.approx(0.8 * 0.997, abs=0.02)
    protocol = row["protocol"]
    assert protocol["num_samples"] == 500 and protocol["classes"] == 10 and len(protocol["by_class"]) == 10  # type: ignore[index]


def test_every_class_is_drawn_equally_often_and_no_two_share_noise(test: ImageData) -> None:
    model = Recalling(test)
    images = given(model, test, None, 43, batch_size=4).images
    assert np.bincount(images.label).tolist() == [5, 5, 5, 4, 4, 4, 4, 4, 4, 4]  # type: ignore[arg-type]
    assert [number for _, number in model.asked] == list(range(43))
    assert class_counts(43, 10) == [5, 5, 5, 4, 4, 4, 4, 4, 4, 4]


def test_images_with_labels_of_their_own_are_scored_by_them(test: ImageData) -> None:
    (row,) = score_images(test, test, extractor="digits", metrics=("accuracy",), progress=False)
    assert float(str(row["value"])) == pytest.approx(classifier("digits").accuracy)
    found = label_accuracy(test, classifier("digits"), batch_size=37)
    assert found.value == row["value"] and np.mean(found.by_class) == pytest.approx(found.value, abs=0.01)


def test_a_student_of_real_images_is_the_ceiling_and_one_of_noise_the_floor(train: ImageData, test: ImageData) -> None:
    recipe = replace(QUICK, epochs=5)
    real, of_noise = reverse_accuracy(train, test, recipe=recipe), reverse_accuracy(noise(640, "train", 0), test, recipe=recipe)
    assert real > 0.85 and of_noise < 0.4
    assert reverse_accuracy(train, test, recipe=recipe) == real


def test_capacity_is_the_test_accuracy_of_the_best_on_validation(train: ImageData, test: ImageData) -> None:
    recipes = [replace(QUICK, epochs=epochs) for epochs in (1, 5)]
    validation = ImageData(train.image[:200], train.label[:200], train.classes)  # type: ignore[index]
    found = fitting_capacity(train, validation, test, recipes, seed=3)
    assert found.chosen == replace(recipes[int(np.argmax(found.validation))], seed=3) and len(found.validation) == 2
    assert found.value == reverse_accuracy(train, test, recipe=found.chosen, seed=3)


def test_results_hold_the_student_and_the_ceiling(train: ImageData, test: ImageData) -> None:
    own, ceiling = reverse_results(given(Recalling(test), test, train, 320, seed=2))
    assert own.variant is None and ceiling.variant == "real" and own.value != ceiling.value
    for result in (own, ceiling):
        assert result.protocol["extractor"] is None and result.protocol["student_seed"] == 2
        assert result.protocol["student"]["epochs"] == QUICK.epochs and result.protocol["num_samples"] == 320  # type: ignore[index]
    (alone,) = reverse_results(given(Recalling(test), test, None, 320, seed=2))
    assert alone.value == own.value


def test_capacity_tells_how_the_choice_was_made(train: ImageData, test: ImageData) -> None:
    (result,) = capacity_results(given(Recalling(test), test, train, 320))
    assert result.protocol["validation"]["num"] == len(train) // 5  # type: ignore[index]
    scores, chosen = result.protocol["validation_accuracies"], result.protocol["student"]
    assert chosen["epochs"] == EPOCHS[int(np.argmax(scores))]  # type: ignore[index, call-overload]


def test_rows_of_students_say_that_no_extractor_was_used(test: ImageData) -> None:
    (row,) = evaluate(Recalling(test), test, extractor="digits", metrics=("reverse_accuracy",), num_samples=70, progress=False)
    assert row["protocol"]["extractor"] is None and row["metric"] == "reverse_accuracy" and "variant" not in row  # type: ignore[index, operator]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [(("fitting_capacity",), "give the training split"), (("reverse_accuracy",), "make no batch of 64"), (("accuracy",), "at least 10 samples")],
)
def test_what_is_missing_is_said(metrics: tuple[str, ...], message: str, test: ImageData) -> None:
    num = 9 if metrics == ("accuracy",) else 20
    with pytest.raises(InputError, match=message):
        evaluate(Recalling(test), test, extractor="digits", metrics=metrics, num_samples=num, progress=False)


def test_unlabelled_data_and_foreign_classifiers_are_refused(test: ImageData, tiny: ImageData, extractor: Moments) -> None:
    with pytest.raises(InputError, match="has no labels"):
        evaluate(Recalling(test), replace(test, label=None), extractor="digits", metrics=("accuracy",), num_samples=20, progress=False)
    many = ImageData(tiny.image, np.arange(120) // 10, digest="tiny-12")
    with pytest.raises(InputError, match="knows 10 classes, the images 12"):
        score_images(many, many, extractor=extractor, metrics=("accuracy",), progress=False)
    one = ImageData(test.image, np.zeros(len(test), np.int64))
    with pytest.raises(InputError, match="no generated image of class 1"):
        reverse_accuracy(one, replace(test, classes=()))
    with pytest.raises(InputError, match="no generated image of class a hat"):
        reverse_accuracy(one, replace(test, classes=("a shoe", "a hat")))
