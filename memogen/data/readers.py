"""Published array formats to NumPy: IDX, both versions of CIFAR-10, letter.data, MATLAB. Headers are checked against what follows."""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from collections.abc import Iterable
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from memogen.data.arrays import as_images, as_labels
from memogen.data.files import DAMAGED, Readable, at_most, most_bytes, open_regular
from memogen.data.matlab import read_matrices
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
        return [(str(place / name), _content(place / name)) for name in names]
    try:
        with tarfile.open(place) as tar:
            members = {Path(member.name).name: member for member in tar if member.isfile()}
            found = [(f"{place}: {name}", tar.extractfile(members[name])) for name in names]
            return [(where, _whole(file) if file else b"") for where, file in found]
    except KeyError as error:
        raise InputError(f"cifar10: {place}: does not hold {error.args[0]}: give another file") from error
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"cifar10: {place}: cannot be read to its end ({error}): fetch the file again") from error


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return _whole(file)
    except OSError as error:
        raise InputError(f"cifar10: {path}: cannot be read ({error.strerror or error}): fetch the file again") from error


def _cifar_binary(blob: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one label byte and 3,072 pixel bytes."""
    if not blob or len(blob) % _CIFAR_ROW:
        raise InputError(f"cifar10: {where}: {len(blob):,} bytes are not a whole number of {_CIFAR_ROW}-byte rows: fetch the file again")
    rows = np.frombuffer(blob, np.uint8).reshape(-1, _CIFAR_ROW)
    return _cifar_checked(rows[:, 1:], rows[:, 0], where)


def _cifar_python(blob: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dict with ``data`` (n, 3072) and ``labels``; read by the allow-list reader alone."""
    content = loads(blob, where=where)
    batch = {_name(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    rows, label = batch.get("data"), batch.get("labels")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _CIFAR_ROW - 1 or label is None:
        raise InputError(f"cifar10: {where}: holds no data of shape (n, 3072) with labels: give the files of the published python version")
    try:
        plain = np.asarray(label)
    except ValueError as error:  # lists of several lengths
        raise InputError(f"cifar10: {where}: its labels are not a list of numbers: give the files of the published python version") from error
    return _cifar_checked(rows, as_labels(plain, len(rows), where), where)


def _name(key: object) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


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
    bad = next((number for number, row in enumerate(rows, start=1) if len(row) != _LETTER_HEAD + _LETTER_BITS or not _is_letter(row[1])), None)
    if bad is not None or not rows:
        where = f"line {bad}" if bad else "it is empty, which"
        raise InputError(f"letter.data: {path}: {where} is not a row of {_LETTER_HEAD + _LETTER_BITS} columns with a letter: fetch the file again")
    bits = np.array([row[_LETTER_HEAD:] for row in rows])
    if not np.isin(bits, (b"0", b"1")).all():
        raise InputError(f"letter.data: {path}: holds pixels that are neither 0 nor 1: fetch the file again")
    label = np.array([row[1][0] - ord("a") for row in rows], np.int64)
    return ((bits == b"1") * np.uint8(255)).reshape(-1, 1, 16, 8), label


def _is_letter(word: bytes) -> bool:
    return len(word) == 1 and word.isalpha() and word.islower()


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
