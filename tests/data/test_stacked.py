"""Stacked digits: equally frequent combinations, each channel a real digit of the right class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memogen.data import load
from memogen.data.derived import digits_of, stacked
from memogen.types import InputError


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
