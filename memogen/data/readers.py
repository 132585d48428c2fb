"""Published array formats to NumPy: IDX, both versions of CIFAR-10, letter.data, MATLAB 5. Headers are checked against the content."""

from __future__ import annotations

import gzip
import math
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from memogen.data.arrays import as_images, as_labels
from memogen.data.files import DAMAGED, Readable, at_most, most_bytes, open_regular
from memogen.data.plain_pickle import loads
from memogen.types import InputError

_CIFAR_ROW = 1 + 3 * 32 * 32
_LETTER_HEAD, _LETTER_BITS = 6, 16 * 8  # columns of letter.data
_UNSIGNED_BYTE = 8  # IDX type code


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, plain or gzipped (told apart by content): uint8 of the shape in its header."""
    try:
        with _maybe_gzipped(path) as file:
            start = file.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] != _UNSIGNED_BYTE or not 1 <= start[3] <= 4:
                raise InputError(f"IDX: {path}: does not begin like an IDX file of unsigned bytes: fetch the file again")
            sides = file.read(4 * start[3])
            shape = [int.from_bytes(sides[place : place + 4], "big") for place in range(0, len(sides), 4)]
            wanted = math.prod(shape)
            if len(sides) < 4 * start[3] or wanted > most_bytes():
                raise InputError(f"IDX: {path}: its header is damaged: fetch the file again")
            content = at_most(file, wanted + 1)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise InputError(f"IDX: {path}: cannot be read to its end ({error}): fetch the file again") from error
    if len(content) != wanted:
        many = "more than " if len(content) > wanted else ""
        raise InputError(f"IDX: {path}: the header promises {wanted:,} bytes, there are {many}{min(len(content), wanted):,}: fetch the file again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _maybe_gzipped(path: Path) -> BufferedIOBase:
    with open_regular(path) as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if gzipped else path.open("rb")


def _whole(file: Readable) -> bytes:
    """All that is there. OSError where that is more than memory holds."""
    content = at_most(file, most_bytes() + 1)
    if len(content) > most_bytes():
        raise OSError(f"unpacks to more than {most_bytes():,} bytes")
    return bytes(content)


def read_idx_pair(images: Path, labels: Path, classes: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 1, h, w) and int64 (n,) in 0 .. ``classes`` - 1 of an image file and its label file. InputError for anything else."""
    image, label = read_idx(images), read_idx(labels)
    if image.ndim != 3 or label.ndim != 1 or len(image) != len(label):
        raise InputError(f"IDX: {images}: shape {image.shape} and labels {label.shape} do not belong together: fetch both files again")
    if label.max(initial=0) >= classes:
        raise InputError(f"IDX: {labels}: labels reach {label.max()}, there are {classes} classes: fetch the file again")
    return image[:, None], label.astype(np.int64)


def read_cifar(place: Path, names: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 batches from a folder or tar file: uint8 (n, 3, 32, 32), int64 (n,). Names ending in ``.bin`` are of the binary version."""
    batches = [_cifar_binary(blob, where) if where.endswith(".bin") else _cifar_python(blob, where) for where, blob in _blobs(place, list(names))]
    return np.concatenate([image for image, _ in batches]), np.concatenate([label for _, label in batches])


def _blobs(place: Path, names: list[str]) -> list[tuple[str, bytes]]:
    """(where, content) of the named files, in order."""
    if place.is_dir():
        found = []
        for path in (place / name for name in names):
            try:
                with open_regular(path) as file:
                    found.append((str(path), _whole(file)))
            except OSError as error:
                raise InputError(f"cifar10: {path}: cannot be read ({error.strerror or error}): fetch the file again") from error
        return found
    try:
        with tarfile.open(place) as tar:
            members = {Path(member.name).name: member for member in tar if member.isfile()}
            opened = [(f"{place}: {name}", tar.extractfile(members[name])) for name in names]
            return [(where, _whole(file) if file else b"") for where, file in opened]
    except KeyError as error:
        raise InputError(f"cifar10: {place}: does not hold {error.args[0]}: give another file") from error
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"cifar10: {place}: cannot be read to its end ({error}): fetch the file again") from error


def _cifar_binary(blob: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one label byte and 3,072 pixel bytes."""
    if not blob or len(blob) % _CIFAR_ROW:
        raise InputError(f"cifar10: {where}: {len(blob):,} bytes are not a whole number of {_CIFAR_ROW}-byte rows: fetch the file again")
    rows = np.frombuffer(blob, np.uint8).reshape(-1, _CIFAR_ROW)
    return _cifar_checked(rows[:, 1:], rows[:, 0], where)


def _cifar_python(blob: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dict with ``data`` (n, 3072) and ``labels``; read by the allow-list reader alone."""
    content = loads(blob, where=where)
    items = content.items() if isinstance(content, dict) else ()
    batch = {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in items}
    rows, label = batch.get("data"), batch.get("labels")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _CIFAR_ROW - 1 or label is None:
        raise InputError(f"cifar10: {where}: holds no data of shape (n, 3072) with labels: give the files of the published python version")
    try:
        plain = np.asarray(label)
    except ValueError as error:  # lists of several lengths
        raise InputError(f"cifar10: {where}: its labels are not a list of numbers: give the files of the published python version") from error
    return _cifar_checked(rows, as_labels(plain, len(rows), where), where)


def _cifar_checked(rows: np.ndarray, label: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    if label.max(initial=0) > 9 or label.min(initial=0) < 0:
        raise InputError(f"cifar10: {where}: labels reach {label.max()}, there are 10 classes: fetch the file again")
    return rows.reshape(-1, 3, 32, 32), label.astype(np.int64)


def read_letters(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """letter.data, plain or gzipped: uint8 (n, 1, 16, 8) of 0 and 255, int64 (n,) with 0 for a, in the order of the file.

    A line holds the letter's number, the letter, the next letter's number, word, position, fold and 128 bits (Kassel 1995, Taskar et al. 2003).
    """
    try:
        with _maybe_gzipped(path) as file:
            rows = [line.split() for line in _whole(file).splitlines() if line.strip()]
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise InputError(f"letter.data: {path}: cannot be read to its end ({error}): fetch the file again") from error
    columns = _LETTER_HEAD + _LETTER_BITS
    bad = next((number for number, row in enumerate(rows, start=1) if len(row) != columns or not re.fullmatch(b"[a-z]", row[1])), None)
    if bad is not None or not rows:
        where = f"line {bad}" if bad else "it is empty, which"
        raise InputError(f"letter.data: {path}: {where} is not a row of {columns} columns with a letter: fetch the file again")
    bits = np.array([row[_LETTER_HEAD:] for row in rows])
    if not np.isin(bits, (b"0", b"1")).all():
        raise InputError(f"letter.data: {path}: holds pixels that are neither 0 nor 1: fetch the file again")
    label = np.array([row[1][0] - ord("a") for row in rows], np.int64)
    return ((bits == b"1") * np.uint8(255)).reshape(-1, 1, 16, 8), label


def read_frames(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The columns of a MATLAB file's matrix ``ff`` as uint8 (n, 1, height, width)."""
    (columns,) = read_matrices(path, "ff")
    if columns.ndim != 2 or len(columns) != math.prod(size):
        raise InputError(f"MATLAB: {path}: holds no matrix ff of {math.prod(size)} rows: give the published file")
    return as_images(columns.T.reshape(-1, *size), str(path))


def read_house_numbers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 3, 32, 32) and int64 (n,) of a cropped SVHN file: X (32, 32, 3, n) and y (n, 1), in which 10 stands for the digit 0."""
    image, label = read_matrices(path, "X", "y")
    if image.shape[:3] != (32, 32, 3) or image.ndim != 4 or image.dtype != np.uint8:
        raise InputError(f"MATLAB: {path}: X is {image.dtype} of shape {image.shape}, not bytes of shape (32, 32, 3, n): give the published file")
    digit = as_labels(label, image.shape[3], str(path))
    if digit.max(initial=1) > 10 or digit.min(initial=1) < 1:
        raise InputError(f"MATLAB: {path}: labels from {digit.min()} to {digit.max()}, not from 1 to 10: give the published file")
    return np.ascontiguousarray(image.transpose(3, 2, 0, 1)), digit % 10


# --- MATLAB 5, read strictly: every tag is checked before it is followed, and nothing else of the format is known ---
# MathWorks, "MAT-File Format": a header of 128 bytes, then elements of a tag (type, bytes) and data padded to 8 bytes. An element of type 15 is
# another one compressed by zlib, one of type 14 a matrix of flags, sizes, name and values, column by column.

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
