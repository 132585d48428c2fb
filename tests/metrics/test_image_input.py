"""What a network reads: the published grid to the last bit, ranges in closed form, and refusals that say what to give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.image_input import FILTERS, ImageInput, resize, tensorflow_bilinear
from memogen.types import InputError


def _pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


def _between(values: np.ndarray, place: np.float32) -> np.float32:
    """Pixel ``place`` of a line of float32 numbers, in float32."""
    low = int(np.floor(place))
    first, second = values[low], values[min(low + 1, len(values) - 1)]
    return np.float32(first + np.float32(np.float32(second - first) * np.float32(place - np.float32(low))))


def _one_by_one(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """One grey image, each pixel for itself: along the rows first, then between two rows."""
    down, right = np.float32(image.shape[0]) / np.float32(height), np.float32(image.shape[1]) / np.float32(width)
    wide = np.array([[_between(row, np.float32(j) * right) for j in range(width)] for row in image], np.float32)
    return np.array([[_between(wide[:, j], np.float32(i) * down) for j in range(width)] for i in range(height)], np.float32)


@given(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 23)] * 2), st.integers(0, 99))
def test_tensorflow_grid_to_the_last_bit(old: tuple[int, int], new: tuple[int, int], seed: int) -> None:
    image = _pixels(2, 1, *old, seed=seed).float()
    ours = tensorflow_bilinear(image, new).numpy()
    for number in range(2):
        np.testing.assert_array_equal(ours[number, 0], _one_by_one(image[number, 0].numpy(), *new))


def test_tensorflow_grid_puts_old_pixels_where_it_says() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    wide = tensorflow_bilinear(ramp, (8, 32))
    assert torch.equal(wide[0, 0, 0], (torch.arange(32) / 4).clamp(max=7))  # pixel i at i / 4, and the last one repeated
    assert torch.equal(tensorflow_bilinear(ramp, (2, 2))[0, 0, 0], torch.tensor([0.0, 4.0]))


@pytest.mark.parametrize("filter", FILTERS)
def test_an_image_of_the_right_size_and_a_flat_one_stay(filter: str) -> None:
    image = _pixels(2, 3, 6, 5).float()
    assert torch.equal(resize(image, (6, 5), filter), image) and torch.equal(resize(image, None, filter), image)
    torch.testing.assert_close(resize(torch.full((1, 1, 6, 5), 77.0), (11, 3), filter), torch.full((1, 1, 11, 3), 77.0))


def test_filters_differ_where_they_should() -> None:
    """One bright pixel in the corner, to a quarter: only a smoothing filter spreads it, and only the old grid keeps it whole."""
    image = torch.zeros(1, 1, 8, 8)
    image[..., 0, 0] = 100
    corner = {filter: float(resize(image, (2, 2), filter)[0, 0, 0, 0]) for filter in FILTERS}
    assert corner["bilinear"] == 0 and corner["tensorflow-1-bilinear"] == 100
    assert 0 < corner["antialiased-bilinear"] < 100 and 0 < corner["antialiased-bicubic"] < 100


def test_ranges_in_closed_form() -> None:
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    for reading, wanted in (
        (ImageInput(), [0.0, 128 / 255, 1.0]),
        (ImageInput(mean=127.5, std=127.5), [-1.0, 0.5 / 127.5, 1.0]),
        (ImageInput(mean=128.0, std=128.0), [-1.0, 0.0, 127 / 128]),
        (ImageInput(mean=(0.0, 64.0, 255.0), std=(1.0, 64.0, 2.0)), [0.0, 1.0, 0.0]),
    ):
        torch.testing.assert_close(reading(image).flatten(), torch.tensor(wanted))


def test_grey_becomes_three_equal_channels() -> None:
    grey = _pixels(2, 1, 4, 4)
    three = ImageInput((8, 8), channels=3)(grey)
    assert three.shape == (2, 3, 8, 8)
    assert torch.equal(three, ImageInput((8, 8))(grey).repeat(1, 3, 1, 1))


def test_what_a_row_says() -> None:
    assert ImageInput().resize == "none"
    assert ImageInput((299, 240), "tensorflow-1-bilinear").resize == "tensorflow-1-bilinear to 299x240"


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"'nearest' is unknown: choose bilinear"):
        ImageInput(filter="nearest")
    with pytest.raises(InputError, match=r"size: \(0, 4\)"):
        ImageInput((0, 4))
    with pytest.raises(InputError, match=r"std: \(1.0, 0.0\)"):
        ImageInput(std=(1.0, 0.0))
    with pytest.raises(InputError, match="uint8"):
        ImageInput()(torch.zeros(1, 1, 4, 4))
    with pytest.raises(InputError, match="3 channels, the extractor reads 1"):
        ImageInput(channels=1)(_pixels(1, 3, 4, 4))
    with pytest.raises(InputError, match="3 channels, mean or std has 2"):
        ImageInput(mean=(1.0, 2.0))(_pixels(1, 3, 4, 4))
