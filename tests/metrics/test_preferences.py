"""Means over classes of normalised slot weights, and the correlation of classes, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from memogen.metrics.slots import class_correlation, slot_preferences, strongest
from memogen.types import ImageData, InputError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (2300, 1, 2, 3)).astype(np.uint8)
LABEL = RNG.integers(0, 3, 2300) + (RNG.integers(0, 3, 2300) == 2)  # 0 to 3, not evenly
DATA = ImageData(IMAGE, LABEL, ("a", "b", "c", "d", "never"), "toy")


class Addressing:
    """Two memories of 3 and 6 slots, addressed by the pixels, the image's number and the seed."""

    def addresses(self, image: Tensor, *, seed: int, start: int) -> tuple[Tensor, Tensor]:
        number = torch.arange(start, start + len(image))[:, None]
        flat = image.flatten(1).double()
        return flat[:, :3] + number % 7 + seed, flat * 2


def expected(weight: np.ndarray) -> np.ndarray:
    share = weight / weight.sum(1, keepdims=True)
    return np.stack([share[label == LABEL].mean(0) for label in range(4)])


def test_each_image_counts_alike_and_each_class_is_a_mean() -> None:
    found = slot_preferences(Addressing(), DATA, seed=2)
    flat = IMAGE.reshape(2300, -1).astype(float)
    np.testing.assert_allclose(found.by_layer[0], expected(flat[:, :3] + np.arange(2300)[:, None] % 7 + 2), rtol=1e-12)
    np.testing.assert_allclose(found.by_layer[1], expected(flat), rtol=1e-12)
    np.testing.assert_allclose(found.pixels, found.by_layer[1], rtol=1e-12)
    np.testing.assert_allclose(found.by_layer[0].sum(1), 1, rtol=1e-12)
    assert found.classes == ("a", "b", "c", "d") and sum(found.counts) == 2300


def test_the_most_wanted_slots_come_first() -> None:
    found = slot_preferences(Addressing(), DATA)
    for row, best in zip(found.by_layer[1], found.top(1, 3), strict=True):
        assert [share for _, share in best] == sorted(row, reverse=True)[:3]
        assert all(row[slot] == share for slot, share in best)
    assert found.unused(1) == 0 and found.unused(1, below=1.0) == 6
    with pytest.raises(InputError, match=r"layers 0 .* to 1"):
        found.layer(2)


def test_black_images_want_nothing() -> None:
    data = ImageData(np.zeros((4, 1, 2, 3), np.uint8), np.arange(4) % 2)
    found = slot_preferences(Addressing(), data)
    assert found.pixels.sum() == 0 and np.isfinite(found.by_layer[0]).all() and found.classes == ("0", "1")


def test_without_labels_there_are_no_classes() -> None:
    with pytest.raises(InputError, match="has no labels"):
        slot_preferences(Addressing(), ImageData(IMAGE))


@given(arrays(np.float64, (4, 7), elements=st.floats(-3, 3)))
def test_correlation_is_that_of_numpy(table: np.ndarray) -> None:
    found = class_correlation(table)
    varies = table.std(1) > 1e-6
    np.testing.assert_allclose(
        found[np.ix_(varies, varies)], np.atleast_2d(np.corrcoef(table[varies])) if varies.any() else np.empty((0, 0)), atol=1e-6
    )
    assert np.isfinite(found).all() and (np.diag(found) == 1).all()


def test_the_strongest_pairs() -> None:
    table = np.array([[1.0, 2, 3, 4], [2, 4, 6, 8], [4, 3, 2, 1], [1, 2, 3, 5]])
    found = strongest(class_correlation(table), 2)
    assert found[0] == (0, 1, pytest.approx(1.0)) and set(found[1][:2]) in ({0, 3}, {1, 3})
    assert len(strongest(class_correlation(table), 100)) == 6
