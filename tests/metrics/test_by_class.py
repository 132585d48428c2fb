"""Scores class by class on a model and a judge whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memogen.metrics.accuracy import ClassJudge, ClassScore, class_references, mean_score, real_accuracy
from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.noise import normal
from memogen.types import ImageData, InputError, Latents


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
