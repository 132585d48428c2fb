"""Accuracy of labels, and of classifiers trained on generated images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memogen.data import load
from memogen.metrics import classifier, evaluate, score_images
from memogen.metrics.accuracy import (
    EPOCHS,
    ClassJudge,
    ClassScore,
    Labelled,
    capacity_results,
    class_counts,
    class_references,
    fitting_capacity,
    label_accuracy,
    mean_score,
    real_accuracy,
    reverse_accuracy,
    reverse_results,
)
from memogen.metrics.classifiers import ClassifierRecipe
from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.metrics.samples import Watch
from memogen.noise import normal
from memogen.types import ImageData, InputError, Latents
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


# --- Scores class by class on a model and a judge whose answers are known ---


class Shades(nn.Module):
    """Images of 1 x 2 pixels around 40 times the class; every third image of class 2 is drawn as class 0."""

    image_range = (0.0, 255.0)

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        index = torch.arange(start, start + num)
        return Latents(normal(index, 2, seed=seed), label=torch.where((index % 3 == 0) & (label == 2), 0, label))

    def decode(self, latents: Latents) -> Tensor:
        return (40 * latents.label[:, None] + 20 + 3 * latents.noise).view(-1, 1, 1, 2)

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        return self.decode(self.latents(num, label=label, seed=seed, start=start))


class Nearest(nn.Module):
    """Answers the class of the nearest shade among four; the features are the pixels."""

    name, version, resize, accuracy = "nearest", "nearest:1", "none", 1.0

    def features(self, image: Tensor) -> Tensor:
        return image.flatten(1).float()

    def forward(self, image: Tensor) -> Tensor:
        return -(image.flatten(1).float().mean(1, keepdim=True) - (40 * torch.arange(4) + 20)).abs()


def real(num: int = 60) -> ImageData:
    label = np.arange(num) % 4
    image = (40 * label[:, None] + 20 + np.random.default_rng(0).normal(0, 3, (num, 2))).round().astype(np.uint8)
    return ImageData(image.reshape(num, 1, 1, 2), label, tuple("abcd"), "shades", "test", "digest")


def test_accuracy_and_distance_of_each_class(tmp_path) -> None:
    judge = Nearest()
    references = class_references(real(), (0, 2), judge, cache=tmp_path)
    scores = ClassJudge(judge, references, batch_size=7).scores(Shades(), (0, 1, 2), 30)
    assert [score.accuracy for score in scores] == [1.0, 1.0, pytest.approx(2 / 3)]
    for score, label in ((scores[0], 0), (scores[2], 2)):
        image = Shades().sample(30, label=label).round().clamp(0, 255)
        drawn, wanted = FeatureStatistics(2), FeatureStatistics(2)
        drawn.update(image.flatten(1))
        wanted.update(torch.from_numpy(real().image[real().label == label]).flatten(1).float())
        assert score.fid == pytest.approx(frechet_distance(drawn, wanted), rel=1e-4)
    assert scores[1].fid is None, "there is no reference of it"
    assert scores[2].fid > 100 * scores[0].fid


def test_numbers_of_the_judge_may_be_others_and_classes_may_be_strange() -> None:
    judge = ClassJudge(Nearest(), answers={0: 1, 1: 0}, strange=(2,))
    scores = judge.scores(Shades(), (0, 1, 2), 12)
    assert [score.accuracy for score in scores] == [0.0, 0.0, None]
    with pytest.raises(InputError, match="knows 4 classes, and class 9 is asked for"):
        ClassJudge(Nearest(), answers={0: 9}).scores(Shades(), (0,), 3)


def test_too_few_images_have_no_distance_and_means_want_all() -> None:
    judge = Nearest()
    few = ClassJudge(judge, class_references(real(), (0,), judge)).scores(Shades(), (0,), 2)[0]
    assert few.fid is None
    assert mean_score([ClassScore(0, 0.5, 2.0, 9), ClassScore(1, 1.0, 4.0, 9)]) == (0.75, 3.0)
    assert mean_score([ClassScore(0, 0.5, None, 9), ClassScore(1, 1.0, 4.0, 9)]) == (0.75, None)


def test_real_images_are_judged_over_the_named_classes_alone() -> None:
    data = real()
    wrong = ImageData(data.image, np.where(data.label == 3, 2, data.label), data.classes, "wrong", "test")
    assert real_accuracy(data, (0, 1), Nearest()) == 1
    assert real_accuracy(wrong, (0, 2), Nearest()) == pytest.approx(2 / 3), "of class 2 half are of class 3"
