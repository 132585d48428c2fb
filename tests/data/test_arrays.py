"""Arrays, tensors, torch data sets and npz files: one form, or one line that says what to mend."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from memogen.data import check, files, from_arrays, from_dataset, load
from memogen.data.arrays import in_channels, npz_splits, read_npz
from memogen.data.readers import read_idx, read_letters
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


class Evil:
    def __reduce__(self):
        return eval, ("open('/nonexistent-marker', 'w')",)


def npy(header: bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + body


def head(descr: str, shape: str) -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def pickled() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Evil()], dtype=object), allow_pickle=True)
    return out.getvalue()


MEMBERS = {
    "no array": (b"hello", "magic string"),
    "objects": (pickled(), "values of type object, not numbers"),
    "3.7 TiB": (npy(head("'<f8'", "(1000000, 1, 720, 720)")), "its header promises 4,147,200,000,000 bytes, there are 0"),
    "a shape that overflows": (npy(head("'|u1'", f"({2**62}, 4)")), "promises"),
    "a negative shape": (npy(head("'|u1'", "(-1, -4)"), bytes(4)), "promises"),
    "no tuple": (npy(head("'|u1'", "7"), bytes(7)), "header is damaged"),
    "deep brackets": (npy(b"(" * 9000 + b"\n"), "header is damaged"),
    "a long header": (npy(head("'|u1'", "(1,)").ljust(60000)), "header is damaged"),
    "5,000 digits": (npy(head("'|u1'", f"({'9' * 5000},)")), "header is damaged"),
    "texts": (npy(head("'<U4'", "(2, 2)"), bytes(64)), "not numbers"),
    "records": (npy(head("[('a', '<f8')]", "(2, 2)"), bytes(32)), "not numbers"),
    "a later format": (npy(head("'|u1'", "(2, 2)"), bytes(4), b"\x03\x00"), "format 3.0"),
    "cut": (npy(head("'|u1'", "(2, 2)"), bytes(3)), "promises 4 bytes, there are 3"),
    "too long": (npy(head("'|u1'", "(2, 2)"), bytes(5)), "promises 4 bytes, there are 5"),
}


@pytest.mark.parametrize("kind", MEMBERS)
@pytest.mark.parametrize("key", ["image.npy", "label.npy", "image"])
def test_members_that_are_no_plain_arrays(tmp_path: Path, kind: str, key: str) -> None:
    content, words = MEMBERS[kind]
    good = npy(head("'|u1'", "(2, 3, 3)"), bytes(range(18)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(key, content)
        if key == "label.npy":
            archive.writestr("image.npy", good)
    with pytest.raises(InputError) as caught:
        read_npz(tmp_path / "a.npz", "train")
    assert words in str(caught.value) and "\n" not in str(caught.value) and f"{key.removesuffix('.npy')} cannot be read" in str(caught.value)
    assert check(str(tmp_path / "a.npz"), progress=False).problems == (str(caught.value),)


@pytest.mark.parametrize("kind", ["image.npy", "big.png", "letter.data", "idx"])
def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What unpacks to more than memory holds is refused before it is unpacked, as far as it says so itself; else in time."""
    import gzip

    for module in ("arrays", "readers"):
        monkeypatch.setattr(f"memogen.data.{module}.most_bytes", lambda: 1 << 20)
    if kind == "image.npy":
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("image.npy", npy(head("'|u1'", "(2048, 32, 32)"), bytes(1 << 21)))
        with pytest.raises(InputError, match="2,097,152 bytes are more than memory holds"):
            read_npz(tmp_path / "a.npz", "train")
    elif kind == "big.png":
        monkeypatch.setattr("memogen.data.pictures._MOST_BYTES", 1 << 20)
        out = io.BytesIO()
        Image.new("L", (4, 4)).save(out, "PNG")
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", out.getvalue())
            archive.writestr("b.png", out.getvalue() + bytes(1 << 21))
        report = check(str(tmp_path / "a.zip"), progress=False)
        assert report.kept == 1 and report.skipped["more than a gigabyte"].files == ("b.png",)
    elif kind == "letter.data":
        (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(1 << 21)))
        with pytest.raises(InputError, match="unpacks to more than 1,048,576 bytes"):
            read_letters(tmp_path / "a.gz")
    else:
        (tmp_path / "a").write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 1 << 21) + bytes(1 << 21)))
        with pytest.raises(InputError, match="header is damaged"):
            read_idx(tmp_path / "a")


def test_memory_bounds_what_is_believed() -> None:
    assert 1 << 28 < files.most_bytes() <= 1 << 34


def test_damaged_archives(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", image=np.arange(27).reshape(3, 3, 3))
    whole = (tmp_path / "a.npz").read_bytes()
    for name, blob in {"cut": whole[:-30], "flipped": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:], "none": b"PK"}.items():
        for suffix in ("npz", "zip"):
            path = tmp_path / f"{name}.{suffix}"
            path.write_bytes(blob)
            with pytest.raises(InputError) as caught:
                load(str(path), cache=tmp_path / "cache", progress=False)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_splits_named_before_the_key(tmp_path: Path) -> None:
    """The splits that are found are those that can be read."""
    np.savez(tmp_path / "a.npz", train_images=np.full((2, 3, 3), 9, np.uint8), test_images=np.full((1, 3, 3), 9, np.uint8))
    assert npz_splits(tmp_path / "a.npz") == ("train", "test")
    assert len(read_npz(tmp_path / "a.npz", "test")[0]) == 1


def test_a_suffix_in_capitals(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.full((2, 3, 3), 9, np.uint8))
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert len(load(str(tmp_path / "A.NPZ"), cache=tmp_path / "cache", progress=False)) == 2


def test_a_folder_may_be_called_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "a.npz" / "a.png")
    assert len(load(str(tmp_path / "a.npz"), cache=tmp_path / "cache", progress=False)) == 1


def test_a_png_whose_pixels_are_damaged_is_left_out(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8))
    for name in ("a", "b"):
        image.save(tmp_path / f"{name}.png")
    blob = bytearray((tmp_path / "b.png").read_bytes())
    place = blob.find(b"IDAT") + 30
    blob[place] ^= 1
    (tmp_path / "b.png").write_bytes(blob)
    assert check(str(tmp_path), progress=False).kept == 1


def test_a_zip_member_without_a_name_is_no_image(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("L", (4, 4)).save(out, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", out.getvalue())
        archive.writestr("x", b"")
    blob = (tmp_path / "a.zip").read_bytes()
    place = blob.rfind(b"PK\x01\x02")
    whole = blob[: place + 28] + b"\0\0" + blob[place + 30 : place + 46] + blob[place + 47 :]
    end = whole.rfind(b"PK\x05\x06")
    size = int.from_bytes(whole[end + 12 : end + 16], "little") - 1
    (tmp_path / "a.zip").write_bytes(whole[: end + 12] + struct.pack("<I", size) + whole[end + 16 :])
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["a.png", ""]
    assert check(str(tmp_path / "a.zip"), progress=False).kept == 1
