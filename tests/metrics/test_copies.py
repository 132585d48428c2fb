"""Nearest training images against the plain search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from memogen.metrics.copies import nearest_images
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
