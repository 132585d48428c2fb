"""Black and white images: one draw, addressed by image and pixel, with the right means."""

from __future__ import annotations

import numpy as np
import pytest

from memogen.metrics.log_likelihood import Binarisation
from memogen.types import ImageData, InputError


def test_a_pixel_is_white_as_often_as_it_is_bright() -> None:
    image = np.tile(np.array([0, 64, 128, 255], np.uint8), (20_000, 1))[:, None, :, None]
    white = Binarisation().apply(ImageData(image)).image
    assert set(np.unique(white)) == {0, 1} and white.dtype == np.float32
    for pixel, mean in zip((0, 64, 128, 255), white.mean(axis=(0, 1, 3)), strict=True):
        p = pixel / 255
        assert abs(mean - p) <= 4 * (p * (1 - p) / 20_000) ** 0.5
    dark = Binarisation(levels=256).apply(ImageData(image)).image
    assert 0 < (dark[..., 3, :] == 0).mean() < 0.01


def test_black_and_white_stay_and_real_numbers_are_probabilities() -> None:
    letters = np.random.default_rng(0).integers(0, 2, (50, 1, 16, 8)).astype(np.uint8)
    np.testing.assert_array_equal(Binarisation().apply(ImageData(letters * 255)).image, letters)
    real = np.full((20_000, 1, 1, 2), [0.3, 1.0], np.float32)
    found = Binarisation(levels=256).apply(ImageData(real)).image.mean(axis=(0, 1, 2))
    assert abs(found[0] - 0.3) < 4 * (0.21 / 20_000) ** 0.5 and found[1] == 1


def test_the_same_draw_for_everybody_and_another_for_another_seed() -> None:
    data = ImageData(np.random.default_rng(0).integers(0, 256, (1200, 1, 3, 3)).astype(np.uint8), np.arange(1200), digest="grey")
    first, again, other = (Binarisation(seed).apply(data) for seed in (1, 1, 2))
    assert np.array_equal(first.image, again.image) and first.digest == again.digest
    assert first.digest not in (other.digest, data.digest) and first.label is data.label
    part = Binarisation(1).apply(ImageData(data.image[:7]))
    assert np.array_equal(part.image, first.image[:7])


def test_it_names_itself_and_knows_two_scales() -> None:
    assert Binarisation(3, 256).protocol == {"binarisation": "one draw, p = v / 256", "binarisation_seed": 3}
    with pytest.raises(InputError, match="choose 255, or 256"):
        Binarisation(levels=1)
