"""Data sets made from others: affine-MNIST, stacked digits, and classes that are thinned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.data import DataOptions, load
from memogen.data.arrays import digest
from memogen.data.derived import FRAME, affine, digits_of, long_tailed, place, placements, stacked, tail_rows
from memogen.types import ImageData, InputError

BLOB = np.zeros((28, 28), np.uint8)
BLOB[9:20, 12:15], BLOB[9:12, 12:19] = 255, 255  # a lopsided gamma, well inside


def middle(image: np.ndarray) -> np.ndarray:
    """Centre of mass, (row, column)."""
    mass = image.astype(float)
    return np.array([(mass.sum(1) @ np.arange(mass.shape[0])), (mass.sum(0) @ np.arange(mass.shape[1]))]) / mass.sum()


@given(row=st.integers(0, 12), column=st.integers(0, 12))
def test_without_a_turn_the_pixels_are_exact(row: int, column: int) -> None:
    placed = place(BLOB[None], np.zeros(1), np.array([[row, column]]))[0]
    np.testing.assert_array_equal(placed[row : row + 28, column : column + 28], BLOB)
    assert int(placed.sum()) == int(BLOB.sum())


@given(degrees=st.floats(-20, 20), row=st.integers(0, 12), column=st.integers(0, 12))
def test_a_turn_keeps_mass_and_moves_the_centre_about_the_middle(degrees: float, row: int, column: int) -> None:
    placed = place(BLOB[None], np.array([degrees]), np.array([[row, column]]))[0]
    assert abs(float(placed.sum()) / float(BLOB.sum()) - 1) < 0.02
    angle, (down, right) = np.deg2rad(degrees), middle(BLOB) - 13.5
    turned = np.array([np.cos(angle) * down - np.sin(angle) * right, np.sin(angle) * down + np.cos(angle) * right])  # anticlockwise, rows down
    np.testing.assert_allclose(middle(placed), turned + 13.5 + [row, column], atol=0.1)


def test_a_quarter_turn_is_rot90() -> None:
    placed = place(BLOB[None], np.array([90.0]), np.array([[6, 6]]))[0]
    np.testing.assert_array_equal(placed[6:34, 6:34], np.rot90(BLOB))


def test_angles_and_places_fill_their_ranges_evenly() -> None:
    degrees, offset = placements(np.arange(20_000), 28, seed=0, stream=0)
    assert -20 <= degrees.min() < -19.9 and 19.9 < degrees.max() <= 20 and abs(degrees.mean()) < 0.3
    assert abs(degrees.std() - 40 / 12**0.5) < 0.2
    for axis in range(2):
        counts = np.bincount(offset[:, axis], minlength=13)
        assert len(counts) == 13 and ((counts - 20_000 / 13) ** 2 / (20_000 / 13)).sum() < 33  # chi-square, 12 degrees of freedom, p = 0.001
    assert abs(np.corrcoef([degrees, *offset.T])[np.triu_indices(3, 1)]).max() < 0.03


def test_an_image_depends_on_its_number_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 1, 28, 28), dtype=np.uint8)
    whole = affine(image, 5)
    assert whole.shape == (9, 1, FRAME, FRAME) and whole.dtype == np.uint8
    np.testing.assert_array_equal(np.concatenate([affine(image[:4], 5), affine(image[4:], 9)]), whole)
    assert (affine(image, 5, seed=1) != whole).any() and (affine(image, 5, stream=1) != whole).any()


@pytest.mark.parametrize("side", [20, 28, 40])
def test_other_sides_fit_too(side: int) -> None:
    assert affine(np.full((3, 1, side, side), 255, np.uint8), 0).shape == (3, 1, 40, 40)


def test_digits_of_a_combination() -> None:
    assert digits_of(np.array([0, 7, 42, 305, 999])).tolist() == [[0, 0, 0], [0, 0, 7], [0, 4, 2], [3, 0, 5], [9, 9, 9]]
    np.testing.assert_array_equal(digits_of(np.arange(1000)) @ [100, 10, 1], np.arange(1000))


@pytest.mark.parametrize(("split", "each"), [("train", 50), ("test", 10)])
def test_every_combination_equally_often_from_digits_of_the_split(tmp_path: Path, split: str, each: int) -> None:
    data, digits = (load(name, split=split, cache=tmp_path, progress=False) for name in ("stacked-digits", "digits"))
    assert data.label is not None and digits.label is not None
    assert data.image.shape == (1000 * each, 3, 8, 8) and np.bincount(data.label).tolist() == [each] * 1000
    assert data.classes[305] == "305" and len(data.classes) == 1000
    of_class = {image.tobytes(): int(label) for image, label in zip(digits.image, digits.label, strict=True)}
    sample = np.arange(0, len(data), len(data) // 500)
    for image, label in zip(data.image[sample], data.label[sample], strict=True):
        assert [of_class[channel.tobytes()] for channel in image] == digits_of(np.array([label]))[0].tolist()


def test_all_images_of_a_digit_are_used_alike_and_channels_are_independent() -> None:
    image = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    drawn, combination = stacked(image, np.arange(40) % 10, 50_000)
    uses = np.stack([np.bincount(drawn[:, place, 0, 0], minlength=40) for place in range(3)])
    assert ((uses - 1250) ** 2 / 1250).sum() < 160, "chi-square of 90 degrees of freedom, p = 1e-5"
    which = drawn[:, :, 0, 0] // 10  # which of the four images of its digit
    assert np.abs(np.corrcoef(which.T)[np.triu_indices(3, 1)]).max() < 0.02
    again, _ = stacked(image, np.arange(40) % 10, 1000)
    np.testing.assert_array_equal(again, drawn[:1000])
    other, same = stacked(image, np.arange(40) % 10, 50_000, stream=1)
    np.testing.assert_array_equal(same, combination)
    assert (other != drawn).mean() > 0.5


def test_they_lie_in_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stacked-digits: .*in no folder"):
        load("stacked-digits", folder=tmp_path, cache=tmp_path, progress=False)


@given(counts=st.lists(st.integers(1, 300), min_size=2, max_size=8), share=st.floats(0.05, 1.0), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_class_k_keeps_its_share_to_the_power_of_k_and_never_nothing(counts: list[int], share: float, seed: int) -> None:
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = tail_rows(label, share)
    kept = np.bincount(label[rows], minlength=len(counts))
    wanted = np.array(counts) * share ** np.arange(len(counts))
    assert (np.diff(rows) > 0).all() and (kept >= 1).all()
    assert (np.abs(kept - np.maximum(wanted, 1)) <= 0.5 + 1e-9).all()


def test_a_larger_share_keeps_all_that_a_smaller_one_keeps() -> None:
    label = np.arange(2000) % 5
    few, many = tail_rows(label, 0.5), tail_rows(label, 0.8)
    assert set(few) < set(many)
    first = few[label[few] == 3]
    assert abs(first.mean() - 1000) < 250, "drawn from the whole set, not from its beginning"


def test_only_the_training_split_is_thinned(tmp_path: Path) -> None:
    options = DataOptions(long_tail=0.6)
    whole, train = (load("digits", options=option, cache=tmp_path, progress=False) for option in (DataOptions(), options))
    assert train.label is not None and whole.label is not None
    assert np.bincount(train.label).tolist() == [max(1, round(0.6**k * n)) for k, n in enumerate(np.bincount(whole.label))]
    assert train.digest == digest(train.image, train.label) != whole.digest
    assert {image.tobytes() for image in train.image} <= {image.tobytes() for image in whole.image}
    assert load("digits", split="test", options=options, cache=tmp_path, progress=False).digest[:12] == "99ac20baf448"
    again = load("digits", options=options, cache=tmp_path, progress=False)
    assert again.digest == train.digest and len(list((tmp_path / "images").glob("digits-*"))) == 2, "thinned after the cache, which holds all"


def test_what_cannot_be_thinned_is_refused() -> None:
    with pytest.raises(InputError, match="no labels to thin it by"):
        long_tailed(ImageData(np.zeros((4, 1, 2, 2), np.uint8)), 0.5)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="long_tail"):
            DataOptions(long_tail=share)
