"""A linear machine on a model's features: right where classes are apart, at chance where they are not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from memogen.metrics.samples import Work
from memogen.metrics.svm import features_of, svm_accuracy
from memogen.types import ImageData, InputError


class Mixed:
    """Features are the pixels in a fixed rotation, at very different scales."""

    def __init__(self) -> None:
        self.turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0] * torch.tensor([1e-3, 1.0, 50.0, 1e3])

    def features(self, image: Tensor) -> Tensor:
        return image.flatten(1).float() @ self.turn


def data(num: int, split: str, *, apart: bool = True) -> ImageData:
    """Three classes: one of the first three pixels is bright, or none more than the others."""
    rng = np.random.default_rng(num)
    label = np.arange(num) % 3
    image = rng.integers(0, 80, (num, 4))
    image[np.arange(num), label] += 120 * apart
    return ImageData(image.reshape(num, 1, 2, 2).astype(np.uint8), label, ("a", "b", "c"), "toy", split)


def test_classes_that_are_apart_are_told_apart_at_any_scale() -> None:
    found = svm_accuracy(Mixed(), data(600, "train"), data(300, "test"))
    assert found.value > 0.99 and found.training > 0.99 and found.error < 0.01
    assert found.protocol["train"] == 600 and found.protocol["num_samples"] == 300
    json.dumps(found.protocol)


def test_classes_that_are_alike_are_told_at_chance() -> None:
    found = svm_accuracy(Mixed(), data(600, "train", apart=False), data(300, "test", apart=False))
    assert abs(found.value - 1 / 3) < 5 * found.error


def test_the_machine_is_the_same_every_time_and_sees_the_given_order() -> None:
    one, two = (svm_accuracy(Mixed(), data(600, "train", apart=False), data(300, "test")) for _ in range(2))
    assert one == two
    features = features_of(Mixed(), data(2300, "train"), Work())
    np.testing.assert_allclose(features[2200:], Mixed().features(torch.from_numpy(data(2300, "train").image[2200:])).double().numpy())


def test_what_it_cannot_do_without_is_named() -> None:
    plain = ImageData(np.zeros((5, 1, 2, 2), np.uint8), name="plain")
    with pytest.raises(InputError, match="plain, train: has no labels"):
        svm_accuracy(Mixed(), plain, data(9, "test"))
    with pytest.raises(InputError, match="one class"):
        svm_accuracy(Mixed(), ImageData(plain.image, np.zeros(5, np.int64)), data(9, "test"))
