"""The geometry of affine-MNIST."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memogen.data.derived import FRAME, affine, place, placements

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
