"""The sets and halves that novelty and rare samples are measured with."""

from __future__ import annotations

import numpy as np

from benchmarks.foreign_sets import house_numbers, noise
from benchmarks.rare_samples import halves, weights
from memogen.data import load
from tests.metrics.toys import small_gan


def test_made_pictures_are_a_function_of_the_seed() -> None:
    (image, label), (again, labels) = (house_numbers(30, np.random.default_rng(seed)) for seed in (0, 0))
    assert np.array_equal(image, again) and np.array_equal(label, labels)
    assert image.shape == (30, 32, 32, 3) and image.dtype == np.uint8 and set(label.tolist()) <= set(range(10))
    spread = image.reshape(30, -1).std(1)
    assert (spread > 5).all(), "ink is told from ground"
    flat = noise(200, np.random.default_rng(0))
    assert flat.shape == (200, 32, 32, 3) and abs(float(flat.mean()) - 127.5) < 1


def test_no_image_both_confirms_and_judges() -> None:
    data = load("digits", split="test")
    confirming, judging = halves(data)
    assert len(confirming) + len(judging) == len(data)
    joined = np.concatenate([confirming.image, judging.image])
    assert sorted(map(bytes, joined)) == sorted(map(bytes, np.array(data.image)))


def test_every_way_to_draw_has_a_name() -> None:
    memory = small_gan().memory
    assert memory is not None
    found = dict(weights(memory, memory.values.long() * 3))
    assert found["prior"] is None and len(found) == 7
    assert all(weight is None or weight.shape == (32,) for weight in found.values())
