"""The copy check: a copying model is found, an honest one is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.copies import copy_check, distance_check, nearest_images, pixels
from memogen.types import ImageData, InputError


def _data(num: int, seed: int, split: str = "train") -> ImageData:
    image = np.random.default_rng(seed).integers(0, 256, (num, 1, 3, 4)).astype(np.uint8)
    return ImageData(image, name="noise", split=split, digest=f"noise-{seed}")


TRAINING, HELD_OUT, FRESH = _data(400, 0), _data(300, 1, "test"), _data(300, 2)


@given(chunk=st.integers(1, 450), num=st.integers(1, 40))
def test_distances_are_those_of_the_plain_search(chunk: int, num: int) -> None:
    image = torch.from_numpy(FRESH.image[:num])
    found = copy_check(image, HELD_OUT, TRAINING, chunk=chunk)
    by_feature = copy_check(image, HELD_OUT, TRAINING, chunk=chunk, embed=pixels)
    rows = [torch.from_numpy(data).flatten(1).double() / 255 for data in (FRESH.image[:num], TRAINING.image)]
    torch.testing.assert_close(found.samples, torch.cdist(*rows, compute_mode="donot_use_mm_for_euclid_dist").amin(1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(by_feature.samples, found.samples, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_feature.held_out, found.held_out, rtol=1e-5, atol=1e-5)


def test_a_copy_is_at_distance_zero_and_its_source_is_found() -> None:
    image = torch.from_numpy(TRAINING.image[[17, 5, 300]])
    assert torch.equal(copy_check(image, HELD_OUT, TRAINING).samples, torch.zeros(3, dtype=torch.float64))
    assert nearest_images(image, TRAINING, num=1).index[:, 0].tolist() == [17, 5, 300]


def test_fresh_images_fall_below_a_percentile_as_often_as_it_says() -> None:
    fresh = copy_check(torch.from_numpy(FRESH.image), HELD_OUT, TRAINING)
    assert abs(fresh.share(5) - 0.05) < 3 * (2 * 0.05 * 0.95 / 300) ** 0.5  # both sets are samples of 300
    assert 0.3 < fresh.share(50) < 0.7
    half = torch.from_numpy(np.concatenate([TRAINING.image[:150], FRESH.image[:150]]))
    assert abs(copy_check(half, HELD_OUT, TRAINING).share(1) - 0.5) < 0.02


def test_a_model_copies_more_than_held_out_images_or_it_does_not() -> None:
    assert not copy_check(torch.from_numpy(FRESH.image), HELD_OUT, TRAINING).copies_more(5)
    some = torch.from_numpy(np.concatenate([TRAINING.image[:30], FRESH.image[:270]]))
    found = copy_check(some, HELD_OUT, TRAINING)
    assert found.copies_more() and found.share() == pytest.approx(0.11, abs=0.01) and found.held_out_share() == pytest.approx(0.01, abs=0.003)
    p = (33 + 3) / 600
    assert found.error() == pytest.approx((p * (1 - p) * 2 / 300) ** 0.5, rel=0.05)


def test_histograms_hold_every_image_once_over_the_same_bins() -> None:
    check = copy_check(torch.from_numpy(FRESH.image), HELD_OUT, TRAINING)
    histogram = check.histogram(12)
    assert len(histogram.edges) == 13 and histogram.edges[0] == 0
    assert float(histogram.samples.sum()) == pytest.approx(1) and float(histogram.held_out.sum()) == pytest.approx(1)
    middle = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    assert float((histogram.held_out * middle).sum()) == pytest.approx(float(check.held_out.mean()), abs=float(histogram.edges[1]))
    copied = distance_check(torch.zeros(3, 2), torch.zeros(2, 2), [torch.zeros(4, 2)]).histogram()
    assert float(copied.samples[0]) == 1.0


def test_quantiles_rise_from_the_least_to_the_largest() -> None:
    check = copy_check(torch.from_numpy(FRESH.image), HELD_OUT, TRAINING)
    told = check.quantiles()["held_out"]
    assert list(told.values()) == sorted(told.values()) and told["0"] == float(check.held_out.min()) and told["100"] == float(check.held_out.max())
    assert told["1"] == check.threshold()


def test_training_images_are_not_held_out_and_shapes_agree() -> None:
    with pytest.raises(InputError, match="held-out and training images are the same"):
        copy_check(torch.from_numpy(FRESH.image), TRAINING, TRAINING)
    with pytest.raises(InputError, match="all three must be of one shape"):
        copy_check(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), HELD_OUT, TRAINING)
