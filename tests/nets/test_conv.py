"""The convolutional foot and head at images of any size."""

from __future__ import annotations

import pytest
import torch

from memogen.nets.conv import ConvStem, ConvTail


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 7), (1, 1, 12), (2, 16, 8)])
def test_vectors_of_the_promised_size_and_maps_of_the_images_size(shape: tuple[int, int, int]) -> None:
    stem, tail = ConvStem(shape, width=4), ConvTail(6, shape, width=4)
    flat = stem(torch.rand(5, *shape))
    assert flat.shape == (5, stem.out_dim)
    assert tail(torch.randn(5, 6)).shape == (5, *shape)


def test_an_image_is_seen_by_itself() -> None:
    """No statistics of the batch are in it: what one image gives does not depend on the others."""
    torch.manual_seed(0)
    stem, tail, image, x = ConvStem((1, 12, 10), width=3), ConvTail(4, (1, 12, 10), width=3), torch.rand(4, 1, 12, 10), torch.randn(4, 4)
    torch.testing.assert_close(stem(image)[:1], stem(image[:1]))
    torch.testing.assert_close(tail(x)[:1], tail(x[:1]))
