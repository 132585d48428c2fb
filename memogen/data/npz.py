"""Images or vectors, and labels, out of npz files: an array's header is checked against the archive before it is read, and no object is made."""

from __future__ import annotations

import math
import zipfile
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from memogen.data.arrays import as_labels, as_pixels
from memogen.data.files import DAMAGED, at_most, most_bytes, readable
from memogen.types import InputError

IMAGE_KEYS = ("image", "images", "x", "X", "data", "arr_0")
LABEL_KEYS = ("label", "labels", "y", "Y", "target", "targets", "arr_1")
_SUFFIX = ".npy"


def read_npz(path: Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Images or vectors, and labels, from an npz file with keys such as ``image``/``label``, ``x``/``y`` or ``x_train``/``y_train``. InputError."""
    with open_zip(path) as archive:
        arrays = [_array(archive, key, path) for key in _keys(_names(archive), split, path) if key]
    image, *label = arrays
    pixels = as_pixels(image, str(path))
    return pixels, as_labels(label[0], len(pixels), str(path)) if label else None


def npz_splits(path: Path) -> tuple[str, ...]:
    """The splits that an npz file names in its keys; ("train",) if it names none."""
    with open_zip(path) as archive:
        names = _names(archive)
    named = [split for split in ("train", "valid", "test") if any(form.format(key) in names for key in IMAGE_KEYS for form in _forms(split))]
    return tuple(named) or ("train",)


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip archive at ``path``. InputError where there is none, or a damaged one."""
    kind = path.suffix.lower().lstrip(".") or "zip"
    try:
        return zipfile.ZipFile(readable(path, kind))
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{kind}: {path}: cannot be read ({error.strerror}): mend its permissions") from error
    except DAMAGED as error:
        raise InputError(f"{kind}: {path}: is not a complete zip archive: write or fetch it again") from error


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(_SUFFIX) for name in archive.namelist()]


def _array(archive: zipfile.ZipFile, key: str, path: Path) -> np.ndarray:
    try:
        info = archive.NameToInfo.get(key + _SUFFIX) or archive.getinfo(key)
        with archive.open(info) as file:
            return _npy(cast(BufferedIOBase, file), info.file_size)
    except DAMAGED as error:
        words = str(error) or type(error).__name__
        raise InputError(f"npz: {path}: {key} cannot be read ({words}): save plain arrays with numpy.savez") from error


def _npy(file: BufferedIOBase, size: int) -> np.ndarray:
    """The array of a .npy file of ``size`` bytes. ValueError where it is none, or its header says otherwise."""
    shape, column_major, dtype = _header(file)
    if dtype.kind not in "biufc":
        raise ValueError(f"values of type {dtype}, not numbers")
    wanted, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or wanted != there:
        raise ValueError(f"its header promises {wanted:,} bytes, there are {there:,}")
    if wanted > most_bytes():
        raise ValueError(f"{wanted:,} bytes are more than memory holds")
    content = at_most(file, wanted)
    if len(content) != wanted:
        raise ValueError(f"its header promises {wanted:,} bytes, there are {len(content):,}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if column_major else "C")


def _header(file: BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format {version[0]}.{version[1]}, which plain arrays do not need")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        return read(file)
    except Exception as error:  # NumPy reads a damaged header as Python, and fails as Python does
        raise ValueError("its header is damaged") from error


def _forms(split: str) -> list[str]:
    return [f"{{}}_{split}", f"{split}_{{}}"]


def _keys(names: list[str], split: str, path: Path) -> tuple[str, str | None]:
    """The names of the image array and of the label array of this split."""
    forms = _forms(split) + (["{}"] if split == "train" else [])
    image, label = (
        next((name for name in (form.format(key) for form in forms for key in known) if name in names), None) for known in (IMAGE_KEYS, LABEL_KEYS)
    )
    if image:
        return image, label
    wanted = "image (and label)" if split == "train" else f"x_{split} (and y_{split})"
    found = f" among its arrays {', '.join(names[:20])}" if names else ", nor any other array"
    raise InputError(f"npz: {path}: no images of split {split!r}{found}: name them {wanted}")
