"""Numeric matrices out of MATLAB 5 files, read strictly: every tag is checked before it is followed, and nothing else of the format is known.

MathWorks, "MAT-File Format": a header of 128 bytes, then elements of a tag (type, bytes) and data padded to 8 bytes; an element of type 15 is another
one compressed by zlib, one of type 14 a matrix of flags, sizes, name and values, column by column.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from memogen.data.files import at_most, most_bytes, open_regular
from memogen.types import InputError

_HEADER = 128
_MATRIX, _COMPRESSED, _NAME = 14, 15, 1
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # how values lie in the file
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}  # what MATLAB calls them
_COMPLEX = 0x08  # in the second byte of the flags
_HEAD = 4096  # bytes in which a matrix's flags, sizes and name end


class _DamagedError(ValueError):
    """The file is not as the format asks; the message says where."""


def read_matrices(path: Path, *names: str) -> list[np.ndarray]:
    """The named matrices of real numbers, in MATLAB's own type and shape. InputError where the file is damaged or one is missing."""
    try:
        with open_regular(path) as file:
            content = memoryview(bytes(at_most(file, most_bytes())))
        found = dict(_matrices(content, names))
    except InputError:
        raise
    except (ValueError, OSError, MemoryError) as error:
        raise InputError(f"MATLAB: {path}: cannot be read ({error or 'too large'}): give the published file") from error
    for name in names:
        if name not in found:
            raise InputError(f"MATLAB: {path}: holds no matrix {name}: give the published file")
    return [found[name] for name in names]


def _matrices(content: memoryview, names: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(bytes(content[_HEADER - 4 : _HEADER]))
    if order is None:
        raise _DamagedError("no header of a MATLAB 5 file; later ones are HDF5")
    place = _HEADER
    while place < len(content):
        kind, data, place = _element(content, place, order)
        if kind == _COMPRESSED:
            head = _Matrix(_inflated(data, _HEAD), order, cut=True)
            matrix = _Matrix(_inflated(data, head.size), order) if head.name in names else head
        elif kind == _MATRIX:
            matrix = _Matrix(content[place - _padded(len(data)) - 8 : place], order)
        else:
            raise _DamagedError(f"an element of type {kind} where a matrix belongs")
        if matrix.name in names:
            yield matrix.name, matrix.values()


def _element(content: memoryview, place: int, order: str, *, cut: bool = False) -> tuple[int, memoryview, int]:
    """(type, data, place of the next element). Where the content is ``cut``, so may the data be."""
    if len(content) < place + 8:
        raise _DamagedError("cut off")
    kind, size = (int(word) for word in np.frombuffer(content[place : place + 8], f"{order}u4"))
    if kind >> 16:  # up to four bytes lie in the tag itself
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise _DamagedError(f"a short element of {size} bytes")
        return kind, content[place + 4 : place + 4 + size], place + 8
    data = content[place + 8 : place + 8 + size]
    if len(data) < size and not cut:
        raise _DamagedError(f"an element of {size:,} bytes, of which {len(data):,} are there")
    return kind, data, place + 8 + (size if kind == _COMPRESSED else _padded(size))


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _inflated(data: memoryview, most: int) -> memoryview:
    """What compressed data begin with, up to ``most`` bytes."""
    if most > most_bytes():
        raise _DamagedError(f"a matrix of {most:,} bytes")
    try:
        return memoryview(zlib.decompressobj().decompress(data, most))
    except zlib.error as error:
        raise _DamagedError(str(error)) from error


class _Matrix:
    """One matrix: its ``name``, its ``size`` in bytes with the tag, and its values when asked for."""

    def __init__(self, content: memoryview, order: str, *, cut: bool = False) -> None:
        kind, self._body, _ = _element(content, 0, order, cut=cut)
        if kind != _MATRIX:
            raise _DamagedError(f"an element of type {kind} where a matrix belongs")
        self.size = 8 + int(np.frombuffer(content[4:8], f"{order}u4")[0])
        self._order = order
        flags = self._numbers(0, "u4", 6)
        sides = self._numbers(self._next, "i4", 5)
        kind, name, self._place = _element(self._body, self._next, order)
        if len(flags) != 2 or len(sides) < 2 or kind != _NAME:
            raise _DamagedError("a matrix without flags, sizes or name")
        self.shape, self.name = tuple(int(side) for side in sides), bytes(name).decode("latin-1")
        self._class, self._complex = int(flags[0]) & 0xFF, int(flags[0]) >> 8 & _COMPLEX

    def _numbers(self, place: int, form: str, wanted: int) -> np.ndarray:
        kind, data, self._next = _element(self._body, place, self._order)
        if kind != wanted or len(data) % 4:
            raise _DamagedError(f"an element of type {kind}, where one of type {wanted} belongs")
        return np.frombuffer(data, self._order + form)

    def values(self) -> np.ndarray:
        if self._class not in _CLASSES or self._complex:
            raise _DamagedError(f"{self.name} is not a matrix of real numbers")
        kind, data, _ = _element(self._body, self._place, self._order)
        if kind not in _STORED:
            raise _DamagedError(f"values of {self.name} are of the unknown type {kind}")
        stored = np.dtype(self._order + _STORED[kind])
        if min(self.shape) < 0 or math.prod(self.shape) * stored.itemsize != len(data):
            raise _DamagedError(f"{self.name} of sizes {self.shape} with {len(data):,} bytes of values")
        flat = np.frombuffer(data, stored)
        with np.errstate(invalid="ignore", over="ignore"):  # what does not fit becomes another number
            plain = flat.astype(_CLASSES[self._class])
        if not np.array_equal(plain, flat, equal_nan=flat.dtype.kind == "f"):
            raise _DamagedError(f"values of {self.name} do not fit their own type")
        return plain.reshape(self.shape, order="F")
