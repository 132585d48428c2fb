"""SAME padding against its definition, and the transposed convolution as the exact adjoint."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.nets.same import SameConv2d, SameConvTranspose2d, pyramid, same_padding

SIDES = st.integers(5, 70)
STRIDES = st.sampled_from([(4, 2), (3, 1), (1, 1), (4, 4), (5, 2), (3, 3), (1, 2)])


@given(height=SIDES, width=SIDES, shape=STRIDES)
def test_output_is_the_size_over_the_stride_rounded_up(height: int, width: int, shape: tuple[int, int]) -> None:
    kernel, stride = shape
    out = SameConv2d(1, 2, kernel, stride)(torch.zeros(1, 1, height, width))
    assert out.shape == (1, 2, -(-height // stride), -(-width // stride))


@given(height=SIDES, width=SIDES, shape=STRIDES)
def test_transposed_convolution_is_the_adjoint(height: int, width: int, shape: tuple[int, int]) -> None:
    kernel, stride = shape
    down = SameConv2d(2, 3, kernel, stride, bias=False).double()
    up = SameConvTranspose2d(3, 2, kernel, stride, size=(height, width), bias=False).double()
    up.weight = down.weight
    image = torch.randn(1, 2, height, width, dtype=torch.float64)
    small = torch.randn(1, 3, -(-height // stride), -(-width // stride), dtype=torch.float64)
    grown = up(small)
    if kernel < stride:  # the last rows are touched by no output: the plain transposed convolution stops before them
        image = image[:, :, : grown.shape[2], : grown.shape[3]]
        torch.testing.assert_close((grown * image).sum(), (small * down(image)).sum())
        return
    assert grown.shape == image.shape
    torch.testing.assert_close((grown * image).sum(), (small * down(image)).sum())


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [(28, 4, 2, (1, 1)), (7, 4, 2, (1, 2)), (4, 4, 4, (0, 0)), (5, 3, 1, (1, 1)), (5, 2, 1, (0, 1)), (1, 4, 2, (1, 2)), (6, 1, 2, (0, 0))],
)
def test_padding_of_known_cases(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == pads


def test_the_odd_row_goes_to_the_end() -> None:
    layer = SameConv2d(1, 1, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
    image = torch.rand(1, 1, 5, 6)
    torch.testing.assert_close(layer(image), image)


def test_pyramids_of_the_paper() -> None:
    assert pyramid((28, 28), largest=5, fewest=2) == [(28, 28), (14, 14), (7, 7), (4, 4)]
    assert pyramid((40, 40), largest=5, fewest=2)[-1] == (5, 5)
    assert pyramid((8, 8), largest=5, fewest=2) == [(8, 8), (4, 4), (2, 2)]
    assert pyramid((20, 9), largest=7, fewest=1) == [(20, 9), (10, 5), (5, 3)]
