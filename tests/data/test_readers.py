"""Published formats: what was written comes back, and damaged files are refused in one line."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import pickletools
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat

from memogen.data import load
from memogen.data.arrays import npz_splits, read_npz
from memogen.data.plain_pickle import loads
from memogen.data.readers import read_cifar, read_idx, read_idx_pair, read_letters, read_matrices
from memogen.types import InputError

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def refusal(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@same_folder
@given(array=arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, max_side=7)), zipped=st.booleans())
def test_idx_round_trip(tmp_path: Path, array: np.ndarray, zipped: bool) -> None:
    path = tmp_path / "some-idx"
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)


GOOD = idx_bytes(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
DAMAGED = {
    "empty": (b"", "begin"),
    "another type code": (GOOD[:2] + b"\x0d" + GOOD[3:], "begin"),
    "not IDX": (b"<html>not found</html>", "begin"),
    "header cut": (GOOD[:10], "header is damaged"),
    "header too large": (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "header is damaged"),
    "pixels cut": (GOOD[:-1], "promises 60 bytes, there are 59"),
    "pixels left over": (GOOD + b"x", "more than 60"),
    "gzip cut": (gzip.compress(GOOD)[:-9], "cannot be read to its end"),
    "gzip damaged": (gzip.compress(GOOD)[:-8] + bytes(8), "cannot be read to its end"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_idx_is_named(tmp_path: Path, kind: str) -> None:
    content, words = DAMAGED[kind]
    path = tmp_path / "bad-idx"
    path.write_bytes(content)
    message = refusal(read_idx, path)
    assert words in message and str(path) in message


def test_idx_pairs_must_belong_together(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(idx_bytes(np.zeros((5, 4, 3), np.uint8)))
    (tmp_path / "l").write_bytes(idx_bytes(np.arange(5, dtype=np.uint8)))
    image, label = read_idx_pair(tmp_path / "i", tmp_path / "l")
    assert image.shape == (5, 1, 4, 3) and label.dtype == np.int64
    (tmp_path / "l").write_bytes(idx_bytes(np.arange(4, dtype=np.uint8)))
    assert "do not belong together" in refusal(read_idx_pair, tmp_path / "i", tmp_path / "l")


LETTER = "1\ta\t2\t1\t1\t0\t" + "\t".join("01" * 64) + "\t\n"
BAD_LETTERS = {
    "empty": ("", "it is empty"),
    "a column short": (LETTER + LETTER.replace("\t1\t\n", "\n"), "line 2 is not a row of 134 columns"),
    "no letter": (LETTER.replace("\ta\t", "\t7\t"), "line 1 is not a row"),
    "grey": (LETTER.replace("\t1\t\n", "\t2\t\n"), "neither 0 nor 1"),
}


@pytest.mark.parametrize("kind", BAD_LETTERS)
def test_damaged_letters_are_named(tmp_path: Path, kind: str) -> None:
    content, words = BAD_LETTERS[kind]
    (tmp_path / "letter.data").write_text(content)
    message = refusal(read_letters, tmp_path / "letter.data")
    assert words in message and "letter.data" in message


def test_letters_cut_off(tmp_path: Path) -> None:
    (tmp_path / "letter.data.gz").write_bytes(gzip.compress(LETTER.encode())[:-9])
    assert "cannot be read to its end" in refusal(read_letters, tmp_path / "letter.data.gz")


def cifar_parts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 20)


def python2_pickle(rows: np.ndarray, labels: list[int]) -> bytes:
    """Protocol 2 as Python 2 wrote it: byte strings as SHORT_BINSTRING / BINSTRING, NumPy's old module name."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"M" + struct.pack("<H", value)

    dtype = b"cnumpy\ndtype\nq\x01" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01" + number(len(rows)) + number(3072) + b"\x86" + dtype + b"\x89" + text(rows.tobytes()) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R" + state
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + text(b"batch_label") + text(b"training batch 1 of 5") + b"u."


def test_cifar_binary_and_python_agree(tmp_path: Path) -> None:
    image, label = cifar_parts()
    rows = image.reshape(20, -1)
    (tmp_path / "b.bin").write_bytes(np.concatenate([label[:, None].astype(np.uint8), rows], 1).tobytes())
    contents = {f"p{protocol}": pickle.dumps({b"data": rows, b"labels": label.tolist()}, protocol) for protocol in (2, 3, 4, 5)}
    contents["old"] = python2_pickle(rows, label.tolist())
    assert pickle.loads(contents["old"], encoding="latin1")["labels"] == label.tolist()  # the hand-made pickle is a true one
    for name, blob in contents.items():
        (tmp_path / name).write_bytes(blob)
    for name in ("b.bin", *contents):
        read = read_cifar(tmp_path, [name])
        np.testing.assert_array_equal(read[0], image)
        np.testing.assert_array_equal(read[1], label)
    both = read_cifar(tmp_path, ["b.bin", "old"])
    np.testing.assert_array_equal(both[0], np.concatenate([image, image]))


def test_cifar_from_an_archive(tmp_path: Path) -> None:
    image, label = cifar_parts()
    blob = np.concatenate([label[:, None].astype(np.uint8), image.reshape(20, -1)], 1).tobytes()
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        info.size = len(blob)
        tar.addfile(info, io.BytesIO(blob))
    np.testing.assert_array_equal(read_cifar(path, ["test_batch.bin"])[0], image)
    assert "does not hold data_batch_1.bin" in refusal(read_cifar, path, ["data_batch_1.bin"])
    path.write_bytes(path.read_bytes()[:-200])
    assert "cannot be read to its end" in refusal(read_cifar, path, ["test_batch.bin"])


def test_damaged_cifar_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.bin").write_bytes(bytes(3000))
    (tmp_path / "label.bin").write_bytes(b"\x0b" + bytes(3072))
    (tmp_path / "python").write_bytes(pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]}))
    for name, words in (("cut.bin", "not a whole number"), ("label.bin", "labels reach 11"), ("python", "shape (n, 3072)")):
        assert words in refusal(read_cifar, tmp_path, [name])


class Evil:
    def __reduce__(self):
        return eval, ("open('/nonexistent-marker', 'w')",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_malicious_pickle_is_refused(protocol: int) -> None:
    for thing in (Evil(), {"data": Evil()}, [np.zeros(3), Evil()]):
        message = refusal(lambda blob: loads(blob, where="file"), pickle.dumps(thing, protocol))
        assert "eval" in message or "instruction" in message


@pytest.mark.parametrize(
    "blob",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # the classic
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"\x80\x02cnumpy\nndarray\n}R.",  # a call that arrays do not need
        b"\x80\x04\x82\x01.",  # extension registry
        b"P1\n.",  # persistent id
        pickle.dumps(np.array([{}, []], dtype=object)),
        pickle.dumps(np.zeros(2, "U3")),
        pickle.dumps({"x": np.zeros(2, [("a", "O")])}),
        b"",
        b"\x80\x02]q\x00(K\x01",  # cut off
    ],
)
def test_other_programs_are_refused(blob: bytes) -> None:
    refusal(lambda content: loads(content, where="file"), blob)


@given(blob=st.binary(max_size=60))
def test_no_bytes_crash_the_pickle_reader(blob: bytes) -> None:
    with contextlib.suppress(InputError):
        loads(blob, where="file")


@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=10,
    ),
    protocol=st.integers(2, 5),
)
def test_plain_containers_come_back(content: object, protocol: int) -> None:
    blob = pickle.dumps(content, protocol)
    if any(opcode.name == "GLOBAL" and argument != "_codecs encode" for opcode, argument, _ in pickletools.genops(blob)):
        return  # protocol 2 spells empty bytes as a call of bytes
    assert loads(blob, where="file") == content


@given(
    array=arrays(st.sampled_from([np.uint8, np.int64, np.float32, np.bool_, np.dtype(">i4")]), array_shapes(max_side=4)), protocol=st.integers(2, 5)
)
def test_arrays_come_back(array: np.ndarray, protocol: int) -> None:
    for form in (array, np.asfortranarray(array)):
        np.testing.assert_array_equal(loads(pickle.dumps({"a": form}, protocol), where="file")["a"], array)


@pytest.mark.parametrize("image_key", ["image", "images", "x", "x_train", "train_images"])
@pytest.mark.parametrize("label_key", ["label", "labels", "y", "y_train"])
def test_npz_keys(tmp_path: Path, image_key: str, label_key: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **{image_key: image, label_key: np.arange(6)[:, None]})
    pixels, label = read_npz(path, "train")
    np.testing.assert_array_equal(pixels[:, 0], image)
    assert label is not None and label.tolist() == list(range(6))


def test_npz_splits(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x_train=np.zeros((3, 4, 4), np.uint8), x_test=np.full((2, 4, 4), 7, np.uint8), y_test=np.zeros(2))
    assert npz_splits(path) == ("train", "test")
    assert read_npz(path, "train")[1] is None and read_npz(path, "test")[0].max() == 7
    assert "no images of split 'valid'" in refusal(read_npz, path, "valid")
    np.savez(path, image=np.zeros((3, 4, 4), np.uint8))
    assert npz_splits(path) == ("train",) and "no images of split 'test'" in refusal(read_npz, path, "test")


def test_unusable_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, image=np.array([{}], dtype=object))
    assert "cannot be read" in refusal(read_npz, path, "train")
    path.write_bytes(path.read_bytes()[:100])
    assert "not a complete zip" in refusal(read_npz, path, "train")
    np.savez(path, pictures=np.zeros(3))
    assert "pictures" in refusal(read_npz, path, "train")


TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(array=arrays(st.sampled_from(TYPES), array_shapes(min_dims=2, max_dims=4, max_side=6)), packed=st.booleans())
def test_matrices_come_as_scipy_writes_and_reads_them(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"before": np.zeros((3, 3)), "text": "abc", "ff": array, "box": {"a": 1}}, do_compression=packed)
    found, other = read_matrices(path, "ff", "before")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype == loadmat(path)["ff"].dtype and other.shape == (3, 3)


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matlab(values: bytes, *, sides: tuple[int, ...] = (2, 3), stored: int = 2, made: int = 9, flags: int = 0, order: str = "<") -> bytes:
    """A file with a matrix ff."""
    parts = element(6, struct.pack(f"{order}II", made | flags << 8, 0), order) + element(5, struct.pack(f"{order}{len(sides)}i", *sides), order)
    matrix = parts + element(1, b"ff", order) + element(stored, values, order)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + (b"\0\x01IM" if order == "<" else b"\x01\0MI")
    return head + element(14, matrix, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(tmp_path: Path, order: str) -> None:
    (tmp_path / "a.mat").write_bytes(matlab(np.arange(6).astype(f"{order}u2").tobytes(), stored=4, made=6, order=order))
    (found,) = read_matrices(tmp_path / "a.mat", "ff")
    np.testing.assert_array_equal(found, [[0, 2, 4], [1, 3, 5]])
    assert found.dtype == np.float64


PUBLISHED_FILE = matlab(bytes(6))
DAMAGED_MATRICES = {
    "empty": (b"", "no header of a MATLAB 5 file"),
    "HDF5": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM" + bytes(99), "no header of a MATLAB 5 file"),
    "cut": (PUBLISHED_FILE[:-10], "bytes, of which"),
    "an unknown type of values": (matlab(bytes(6), stored=255), "unknown type 255"),
    "too few values": (matlab(bytes(5)), r"sizes (2, 3) with 5 bytes"),
    "terabytes": (matlab(bytes(6), sides=(2**31 - 1, 2**31 - 1)), "with 6 bytes"),
    "negative sides": (matlab(bytes(6), sides=(-2, -3)), "with 6 bytes"),
    "a cell": (matlab(bytes(6), made=1), "not a matrix of real numbers"),
    "complex": (matlab(bytes(6), flags=8), "not a matrix of real numbers"),
    "another name": (PUBLISHED_FILE.replace(b"ff\0", b"gg\0"), "holds no matrix ff"),
    "values beyond their type": (matlab(np.full(6, 300.0).tobytes(), stored=9), "do not fit their own type"),
    "no zlib": (PUBLISHED_FILE[:128] + element(15, b"nothing at all"), "incorrect header"),
    "a text where a matrix belongs": (PUBLISHED_FILE[:128] + element(1, b"hello"), "type 1 where a matrix"),
}


@pytest.mark.parametrize("kind", DAMAGED_MATRICES)
def test_damaged_files_are_one_line(tmp_path: Path, kind: str) -> None:
    content, words = DAMAGED_MATRICES[kind]
    (tmp_path / "frey_rawface.mat").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load("frey-faces", folder=tmp_path, cache=tmp_path / "cache", progress=False)
    assert words in str(caught.value) and "\n" not in str(caught.value)
