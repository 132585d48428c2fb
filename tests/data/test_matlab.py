"""MATLAB files: the same matrices as SciPy reads, and damaged files in one line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat

from memogen.data import load
from memogen.data.readers import read_matrices
from memogen.types import InputError

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


GOOD = matlab(bytes(6))
DAMAGED = {
    "empty": (b"", "no header of a MATLAB 5 file"),
    "HDF5": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM" + bytes(99), "no header of a MATLAB 5 file"),
    "cut": (GOOD[:-10], "bytes, of which"),
    "an unknown type of values": (matlab(bytes(6), stored=255), "unknown type 255"),
    "too few values": (matlab(bytes(5)), r"sizes (2, 3) with 5 bytes"),
    "terabytes": (matlab(bytes(6), sides=(2**31 - 1, 2**31 - 1)), "with 6 bytes"),
    "negative sides": (matlab(bytes(6), sides=(-2, -3)), "with 6 bytes"),
    "a cell": (matlab(bytes(6), made=1), "not a matrix of real numbers"),
    "complex": (matlab(bytes(6), flags=8), "not a matrix of real numbers"),
    "another name": (GOOD.replace(b"ff\0", b"gg\0"), "holds no matrix ff"),
    "values beyond their type": (matlab(np.full(6, 300.0).tobytes(), stored=9), "do not fit their own type"),
    "no zlib": (GOOD[:128] + element(15, b"nothing at all"), "incorrect header"),
    "a text where a matrix belongs": (GOOD[:128] + element(1, b"hello"), "type 1 where a matrix"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_are_one_line(tmp_path: Path, kind: str) -> None:
    content, words = DAMAGED[kind]
    (tmp_path / "frey_rawface.mat").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load("frey-faces", folder=tmp_path, cache=tmp_path / "cache", progress=False)
    assert words in str(caught.value) and "\n" not in str(caught.value)
