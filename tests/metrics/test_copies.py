"""Nearest training images against the plain search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from memogen.metrics.copies import MemorisationDistance, copy_check, distance_check, nearest_images, penalised, pixels
from memogen.types import ImageData, InputError


def _data(num: int, seed: int = 0) -> ImageData:
    return ImageData(np.random.default_rng(seed).integers(0, 256, (num, 1, 3, 5)).astype(np.uint8), name="noise")


def _embed(image: Tensor) -> Tensor:
    return torch.stack([image.flatten(1).float().mean(1), image[:, 0, 0].float().std(1), image[:, 0, :, 0].float().sum(1)], 1)


@given(num=st.integers(8, 40), chunk=st.integers(1, 50), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_equals_the_plain_search_for_both_measures(num: int, chunk: int, seed: int) -> None:
    data, query = _data(num, seed), torch.from_numpy(_data(4, seed + 1).image)
    rows, q = data.image.reshape(num, -1) / 255.0, query.flatten(1).numpy() / 255.0
    distance = np.sqrt(((q[:, None] - rows[None]) ** 2).sum(2))
    found = nearest_images(query, data, num=3, chunk=chunk)
    np.testing.assert_allclose(found.value, np.sort(distance, 1)[:, :3], atol=1e-6)
    np.testing.assert_array_equal(found.index, np.argsort(distance, 1, kind="stable")[:, :3])
    cosine = torch.nn.functional.cosine_similarity(_embed(query)[:, None], _embed(torch.from_numpy(data.image))[None], dim=2)
    by_key = nearest_images(query, data, embed=_embed, measure="cosine", num=3, chunk=chunk)
    torch.testing.assert_close(by_key.value.float(), cosine.sort(1, descending=True).values[:, :3], atol=1e-6, rtol=0)


def test_a_training_image_finds_itself() -> None:
    data = _data(30)
    found = nearest_images(torch.from_numpy(data.image[[7, 2]]), data, num=2, chunk=10)
    assert found.index[:, 0].tolist() == [7, 2]
    assert float(found.value[:, 0].max()) < 1e-6 < float(found.value[:, 1].min())


def test_wrong_shape_and_wrong_number_are_refused() -> None:
    with pytest.raises(InputError, match="noise holds"):
        nearest_images(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), _data(9))
    with pytest.raises(InputError, match="1 to 5"):
        nearest_images(torch.zeros(1, 1, 3, 5, dtype=torch.uint8), _data(5), num=6)


# --- The copy check: a copying model is found, an honest one is not ---


def _split(num: int, seed: int, split: str = "train") -> ImageData:
    image = np.random.default_rng(seed).integers(0, 256, (num, 1, 3, 4)).astype(np.uint8)
    return ImageData(image, name="noise", split=split, digest=f"noise-{seed}")


TRAINING, HELD_OUT, FRESH = _split(400, 0), _split(300, 1, "test"), _split(300, 2)


@given(chunk=st.integers(1, 450), num=st.integers(1, 40))
def test_distances_are_those_of_the_plain_search(chunk: int, num: int) -> None:
    image = torch.from_numpy(FRESH.image[:num])
    found = copy_check(image, HELD_OUT, TRAINING, chunk=chunk)
    by_feature = distance_check(pixels(image), pixels(torch.from_numpy(HELD_OUT.image)), pixels(torch.from_numpy(TRAINING.image)).split(chunk))
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


# --- The memorisation distance and its penalty ---


def _random(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 1000), num=st.integers(1, 20), batch=st.integers(1, 25), chunk=st.integers(1, 40))
def test_is_the_mean_over_samples_of_the_least_cosine_distance(seed: int, num: int, batch: int, chunk: int) -> None:
    samples, training = _random(seed, num, 4), _random(seed + 1, 33, 4)
    distance = MemorisationDistance(training, chunk=chunk)
    for part in samples.split(batch):
        distance.update(part)
    cosine = torch.nn.functional.cosine_similarity(samples[:, None], training[None], dim=2)
    assert distance.compute() == pytest.approx(float((1 - cosine.abs().amax(1)).mean()), abs=1e-12)


def test_copies_have_no_distance_whatever_their_length() -> None:
    training = _random(0, 50, 8).float()
    distance = MemorisationDistance(training)
    distance.update(training[:10] * 3)
    assert distance.compute() < 1e-7


def test_rows_of_zeros_have_no_direction() -> None:
    training = torch.cat([torch.zeros(2, 3), torch.eye(3)])
    distance = MemorisationDistance(training)
    distance.update(torch.tensor([[0.0, 0, 0], [1, 1, 0]]))
    assert distance.count == 1 and distance.compute() == pytest.approx(1 - 0.5**0.5)
    with pytest.raises(InputError, match="no training image"):
        MemorisationDistance(torch.zeros(4, 3))
    with pytest.raises(InputError, match="no sample"):
        MemorisationDistance(training).compute()


def test_only_a_small_distance_is_a_penalty() -> None:
    assert penalised(3.0, 0.05) == pytest.approx(60.0) and penalised(3.0, 0.1) == 3.0 and penalised(3.0, 0.4) == 3.0
    assert penalised(1e-9, 0.0) == 0.0 and penalised(1.0, 0.0) > 1e13


@pytest.mark.parametrize("part", [1, 2, 6])
def test_a_row_is_not_compared_with_itself_in_parts_of_any_size(part: int) -> None:
    rows = torch.randint(0, 256, (6, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    found = distance_check(rows[:2], rows[:3], rows.split(part), own=torch.arange(3))
    among = (rows[:3, None].double() - rows.double()).square().sum(2).sqrt()
    among[torch.arange(3), torch.arange(3)] = torch.inf
    torch.testing.assert_close(found.held_out, among.amin(1))


@pytest.mark.parametrize("offset", [0.0, 300.0, 1e5])
def test_distances_searched_in_single_precision_are_those_of_double(offset: float) -> None:
    """Rows far from the origin and hardly apart: single precision alone cannot tell which is the nearest."""
    generator = torch.Generator().manual_seed(1)
    rows = (torch.randn(300, 40, generator=generator) + offset).float()
    samples = rows[:20] + 1e-2 * torch.randn(20, 40, generator=generator)
    samples[:3] = rows[5:8]
    found = distance_check(samples, rows[10:14], rows.split(64), own=torch.arange(10, 14))
    exact = (samples.double()[:, None] - rows.double()).square().sum(2).sqrt()
    torch.testing.assert_close(found.samples, exact.amin(1), rtol=1e-12, atol=0)
    assert not found.samples[:3].any()
    among = (rows[10:14].double()[:, None] - rows.double()).square().sum(2).sqrt()
    among[torch.arange(4), torch.arange(10, 14)] = torch.inf
    torch.testing.assert_close(found.held_out, among.amin(1), rtol=1e-12, atol=0)


def test_the_nearest_of_many_bytes_is_found_exactly() -> None:
    """More pixels than single precision adds without rounding, and rows that differ by one unit in one of them."""
    random = np.random.default_rng(3)
    rows = random.integers(0, 256, 2500, dtype=np.uint8) // 2 + np.zeros((200, 1), np.uint8)
    rows[np.arange(200), random.integers(0, 2500, 200)] += random.integers(1, 9, 200, dtype=np.uint8)
    samples = rows[:50].copy()
    samples[np.arange(10, 50), random.integers(0, 2500, 40)] ^= 1
    found = distance_check(torch.from_numpy(samples), torch.from_numpy(rows[60:64]), torch.from_numpy(rows).split(64), own=torch.arange(60, 64))
    apart = np.square(samples[:, None].astype(np.int64) - rows).sum(2)
    assert found.samples.square().round().long().tolist() == apart.min(1).tolist()
    assert not found.samples[:10].any() and found.held_out.all()
