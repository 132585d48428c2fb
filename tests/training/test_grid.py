"""Contact sheets: every image in its place, and vectors in rows that can be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memogen.training.grid import grid
from memogen.types import folded


def test_images_stand_row_by_row_magnified() -> None:
    images = torch.arange(3 * 4 * 6, dtype=torch.uint8).view(3, 1, 4, 6)
    sheet = np.asarray(grid(images, columns=2))
    assert sheet.shape == (2 * (32 + 2) + 2, 2 * (48 + 2) + 2)
    np.testing.assert_array_equal(sheet[2 + 34 : 2 + 34 + 32 : 8, 2:50:8], images[2, 0])
    with pytest.raises(ValueError, match="1 or 3 channels"):
        grid(images.view(3, 2, 2, 6))


@pytest.mark.parametrize(("length", "shape"), [(64, (8, 8)), (10, (3, 4)), (2, (1, 2)), (7, (3, 3))])
def test_a_vector_is_folded_and_keeps_its_numbers_in_order(length: int, shape: tuple[int, int]) -> None:
    vectors = torch.randint(1, 256, (5, 1, 1, length), dtype=torch.uint8)
    found = folded(vectors)
    assert found.shape == (5, 1, *shape)
    assert torch.equal(found.flatten(2)[..., :length], vectors[:, :, 0]) and int(found.flatten(2)[..., length:].sum()) == 0


def test_images_of_several_rows_are_not_folded() -> None:
    images = torch.zeros(2, 3, 2, 9, dtype=torch.uint8)
    assert folded(images) is images
