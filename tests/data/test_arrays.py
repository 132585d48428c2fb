"""Arrays and torch data sets as image data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from memogen.data import from_arrays, from_dataset
from memogen.data.arrays import in_channels
from memogen.types import InputError

BYTES = np.random.default_rng(0).integers(0, 256, (7, 3, 6, 5), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        BYTES,
        BYTES.transpose(0, 2, 3, 1),
        torch.from_numpy(BYTES),
        BYTES.astype(np.int32),
        BYTES.astype(np.float64),
        BYTES / 255,
        BYTES.astype(np.float32) / 255,
    ],
)
def test_every_form_gives_the_same_bytes(image) -> None:
    data = from_arrays(image, np.arange(7.0))
    np.testing.assert_array_equal(data.image, BYTES)
    assert data.label is not None and data.label.dtype == np.int64 and data.classes == tuple("0123456")
    assert data.digest == from_arrays(BYTES, list_label()).digest != from_arrays(BYTES).digest


def test_channels_change_where_nothing_is_lost() -> None:
    colour, grey = from_arrays(BYTES), from_arrays(BYTES[:, :1], np.arange(7))
    threefold = in_channels(grey, 3)
    assert threefold.image_shape == (3, 6, 5) and threefold.label is grey.label
    back = in_channels(threefold, 1)
    np.testing.assert_array_equal(back.image, grey.image)
    assert back.digest == grey.digest != threefold.digest
    assert in_channels(colour, 1) is colour and in_channels(colour, 3) is colour, "colours are never made grey"


def list_label() -> np.ndarray:
    return np.arange(7)


def test_grey_without_a_channel_axis() -> None:
    assert from_arrays(BYTES[:, 0]).image.shape == (7, 1, 6, 5)
    assert from_arrays(BYTES[:, 0] > 127).image.max() == 255


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((2, 4, 4), np.nan), "NaN"),
        (np.where(np.eye(4) > 0, np.inf, 0)[None], "inf"),
        (BYTES / 127.5 - 1, r"\(x \+ 1\) / 2"),
        (BYTES.astype(np.int32) * 257, "0..255"),
        (BYTES.astype(np.float32) * 0.7, "neither whole"),
        (np.zeros((2, 4, 4, 4), np.uint8), "c = 1 or 3"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 4, 4), np.uint8), "shape"),
        (np.zeros((2, 4, 4), complex), "complex"),
    ],
)
def test_other_values_are_refused(image: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_arrays(image)


@pytest.mark.parametrize("vector", [np.eye(4) > 0, np.eye(4), np.eye(4, dtype=np.int64), np.eye(4, dtype=np.uint8), np.eye(4, dtype=np.float16)])
def test_binary_vectors_become_black_and_white(vector: np.ndarray) -> None:
    data = from_arrays(vector, np.arange(4))
    assert data.image.dtype == np.uint8 and data.image_shape == (1, 1, 4)
    np.testing.assert_array_equal(data.image[:, 0, 0], np.eye(4) * 255)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.floats(0, 1, width=32)))
def test_real_vectors_keep_every_bit(vector: np.ndarray) -> None:
    image = from_arrays(vector).image
    plain = image / np.float32(255) if image.dtype == np.uint8 else image
    np.testing.assert_array_equal(plain[:, 0, 0], vector)


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (np.full((2, 4), np.nan), "hold NaN"),
        (np.array([[0.0, np.inf]]), "from 0 to inf, not in"),
        (np.array([[0.0, -0.5]]), "from -0.5 to 0, not in"),
        (np.arange(6).reshape(2, 3), "divide them by 255, or save pictures as"),
        (np.zeros((0, 4)), "shape"),
        (np.zeros((4, 1)), "at least 2"),
        (np.zeros((2, 4), complex), "complex"),
        (np.array([["a", "b"]]), "type <U1"),
        (np.array([[0, None]], object), "type object"),
    ],
)
def test_other_vectors_are_refused(vector: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        from_arrays(vector)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "label", [np.arange(6), np.arange(7) - 1, np.arange(7) + 0.5, np.zeros((7, 2)), np.array(list("abcdefg")), np.arange(7) * 10**6]
)
def test_other_labels_are_refused(label: np.ndarray) -> None:
    with pytest.raises(InputError, match="labels"):
        from_arrays(BYTES, label)


class Pictures(Dataset):
    def __init__(self, mode: str) -> None:
        self.mode = mode

    def __len__(self) -> int:
        return 7

    def __getitem__(self, row: int):
        return Image.fromarray(BYTES[row].transpose(1, 2, 0)).convert(self.mode), row % 3


def test_torch_data_sets() -> None:
    tensors = TensorDataset(torch.from_numpy(BYTES).float() / 255, torch.arange(7) % 3)
    wanted = from_arrays(BYTES, np.arange(7) % 3).digest
    sources = [tensors, DataLoader(tensors, batch_size=3), DataLoader(tensors, batch_size=None), Pictures("RGB"), Pictures("RGBA")]
    assert [from_dataset(source).digest for source in sources] == [wanted] * 5
    assert from_dataset(Pictures("L")).image_shape == (1, 6, 5)
    assert from_dataset(TensorDataset(torch.from_numpy(BYTES))).label is None


class Listed(Dataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int):
        return self.items[row]


@given(sizes=st.lists(st.integers(2, 4), min_size=2, max_size=4))
def test_mixed_shapes_in_a_torch_data_set(sizes: list[int]) -> None:
    items = [torch.zeros(1, size, 3) for size in sizes]
    if len(set(sizes)) == 1:
        assert len(from_dataset(Listed(items))) == len(sizes)
    else:
        with pytest.raises(InputError, match="several shapes"):
            from_dataset(Listed(items))
