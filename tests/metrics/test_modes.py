"""Modes counted on constructed sample sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from memogen.data import load
from memogen.metrics import evaluate, score_images
from memogen.metrics.modes import count_modes, mode_counts
from memogen.types import ImageData, InputError, Latents


def test_the_divergence_is_that_of_the_definition() -> None:
    even = np.full(8, 5)
    assert count_modes(even, even).divergence == pytest.approx(0) and count_modes(even, even).reached == 8
    half = np.array([10, 10, 10, 10, 0, 0, 0, 0])
    assert count_modes(half, even).reached == 4 and count_modes(half, even).divergence == pytest.approx(math.log(2))
    assert count_modes(np.eye(8, dtype=int)[3] * 7, even).divergence == pytest.approx(math.log(8))
    uneven = np.array([1, 2, 3, 4])
    q, p = np.array([0.25] * 4), uneven / 10
    assert count_modes(np.array([2, 2, 2, 2]), uneven).divergence == pytest.approx(float((q * np.log(q / p)).sum()))


def test_true_samples_have_the_expected_divergence() -> None:
    counts = np.bincount(np.random.default_rng(0).integers(0, 1000, 10_000), minlength=1000)
    found = count_modes(counts, np.full(1000, 10))
    assert found.divergence == pytest.approx(999 / 20_000, rel=0.1) and found.reached >= 997


def test_every_mode_must_have_real_images() -> None:
    image = np.zeros((6, 1, 2, 2), np.uint8)
    assert mode_counts(ImageData(image, np.array([0, 1, 2, 2, 1, 0])), 3).tolist() == [2, 2, 2]
    for label, told in ((None, "no labels"), (np.array([0, 0, 2, 2, 0, 0]), "knows 3 classes, .* has 2"), (np.arange(6), "knows 3 classes")):
        with pytest.raises(InputError, match=told):
            mode_counts(ImageData(image, label), 3)


class Stacking:
    """Draws stacked digits of the first ``modes`` combinations in turn."""

    image_range = (0.0, 255.0)

    def __init__(self, data: ImageData, modes: int) -> None:
        self.image, self.modes = torch.from_numpy(data.image[:modes].copy()).float(), modes

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        return Latents(torch.arange(start, start + num)[:, None].float())

    def decode(self, latents: Latents) -> Tensor:
        return self.image[latents.noise[:, 0].long() % self.modes]

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        return self.decode(self.latents(num, start=start))


def test_a_generator_of_half_the_combinations_reaches_half() -> None:
    test = load("stacked-digits", split="test", progress=False)
    half = {str(row["metric"]): row for row in evaluate(Stacking(test, 500), test, extractor="stacked-digits", metrics=["modes"], num_samples=1000)}
    assert abs(float(str(half["modes_reached"]["value"])) - 500) < 10, "the judge errs in one of a hundred"
    assert float(str(half["mode_divergence"]["value"])) == pytest.approx(math.log(2), abs=0.02)
    assert half["modes_reached"]["protocol"]["modes"] == 1000  # type: ignore[index]
    whole = score_images(test, test, extractor="stacked-digits", metrics=["modes"], num_samples=3000)
    assert float(str(whole[0]["value"])) > 900
