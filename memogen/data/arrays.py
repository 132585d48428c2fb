"""Arrays, tensors, torch data sets and npz files to one form: uint8 (n, c, h, w), real vectors float32 (n, 1, 1, d); int64 labels (n,)."""

from __future__ import annotations

import hashlib
import math
import zipfile
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from memogen.data.files import DAMAGED, at_most, most_bytes, open_zip
from memogen.data.images import UnusableImage, values_of
from memogen.data.values import Kind, WrongRange, check_range, kind_of, to_bytes, white_of
from memogen.types import ImageData, InputError

IMAGE_KEYS = ("image", "images", "x", "X", "data", "arr_0")
LABEL_KEYS = ("label", "labels", "y", "Y", "target", "targets", "arr_1")
_MOST_CLASSES = 100_000


def from_arrays(image: np.ndarray | Tensor, label: np.ndarray | Tensor | None = None, *, name: str = "arrays", split: str = "train") -> ImageData:
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w), or vectors (n, d) in [0, 1], as data.

    Images hold whole numbers in 0..255, floats in [0, 1] or uint16 in 0..65,535. Where all values are 0 or 1, in any type, 1 is white.
    InputError for anything else, and for uint16 that do not exceed 4,095.
    """
    pixels = as_pixels(_array(image), name)
    labels = None if label is None else as_labels(_array(label), len(pixels), name)
    return ImageData(pixels, labels, class_numbers(labels), name, split, digest(pixels, labels))


def in_channels(data: ImageData, channels: int) -> ImageData:
    """The images in 1 or 3 channels where that loses nothing: grey is repeated, of three equal channels one is taken. Other images are unchanged."""
    have = data.image_shape[0]
    if (have, channels) == (1, 3):
        pixels = np.repeat(data.image, 3, axis=1)
    elif (have, channels) == (3, 1) and all(np.array_equal(data.image[:, 0], data.image[:, other]) for other in (1, 2)):
        pixels = data.image[:, :1]
    else:
        return data
    return replace(data, image=pixels, digest=digest(pixels, data.label))


def from_dataset(source: Dataset[Any] | DataLoader[Any], *, name: str = "dataset", split: str = "train") -> ImageData:
    """One pass over a torch data set or loader of images or (image, label, ...): Pillow images, (c, h, w) tensors or (h, w[, c]) arrays."""
    batched = isinstance(source, (DataLoader, IterableDataset))
    items = iter(source) if batched else (source[row] for row in range(len(source)))  # type: ignore[arg-type, index]
    pairs = [item if isinstance(item, (tuple, list)) else (item, None) for item in items]
    if not pairs:
        raise InputError(f"{name}: the data set is empty: give another")
    batched = isinstance(source, DataLoader) and source.batch_size is not None
    pictures = [item[0] for item in pairs]
    if all(isinstance(picture, Image.Image) for picture in pictures):
        images = _from_pillow(pictures, name)
    else:
        images = [_array(picture) if batched else _array(picture)[None] for picture in pictures]
    if len({image.shape[1:] for image in images}) > 1:
        sizes = sorted({str(image.shape[1:]) for image in images})
        raise InputError(f"{name}: images of several shapes, {', '.join(sizes[:3])}: resize them in the data set's transform")
    types = {image.dtype.kind.replace("i", "u"): image.dtype.name for image in images}
    if len(types) > 1:  # one range must hold for all
        raise InputError(f"{name}: images of several types, {', '.join(sorted(types.values()))}: give all in one type")
    labels = [np.atleast_1d(_array(item[1])) for item in pairs if len(item) > 1 and item[1] is not None]
    return from_arrays(np.concatenate(images), np.concatenate(labels) if labels else None, name=name, split=split)


def _from_pillow(pictures: list[Image.Image], name: str) -> list[np.ndarray]:
    """uint8 (1, c, h, w) each, like a folder of the same pictures: one white for all of a kind, three channels as soon as one has colour."""
    try:
        values = [values_of(picture) for picture in pictures]
        largest: dict[Kind, float] = {}
        for one in values:
            largest[one.kind] = max(largest.get(one.kind, 0), one.largest)
        pixels = [to_bytes(one.array, white_of(one.kind, largest[one.kind])) for one in values]
    except (UnusableImage, WrongRange) as error:
        raise InputError(f"images: {name}: {error}{'' if ': ' in str(error) else ': mend or leave out these images'}") from error
    colour = any(one.ndim == 3 for one in pixels)
    return [(one.transpose(2, 0, 1) if one.ndim == 3 else np.repeat(one[None], 3 if colour else 1, 0))[None] for one in pixels]


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.detach().cpu().to(torch.float32).numpy() if value.dtype == torch.bfloat16 else value.detach().cpu().numpy()
    if isinstance(value, Image.Image):
        return _from_pillow([value], "dataset")[0][0]
    return np.asarray(value)


def as_pixels(array: np.ndarray, where: str) -> np.ndarray:
    """An array of two dimensions as :func:`as_vectors`, any other as :func:`as_images`."""
    return as_vectors(array, where) if array.ndim == 2 else as_images(array, where)


def as_vectors(vector: np.ndarray, where: str) -> np.ndarray:
    """Vectors (n, d) as (n, 1, 1, d): uint8 0 and 255 where all numbers are 0 or 1, else float32 in [0, 1]. InputError for NaN and other values."""
    if 0 in vector.shape or vector.shape[1] < 2:
        raise InputError(f"vectors: {where}: shape {vector.shape}: give (n, d), n vectors of d numbers, d at least 2")
    if vector.dtype.kind not in "biuf":
        raise InputError(f"vectors: {where}: values of type {vector.dtype}: give numbers in [0, 1]")
    low, high = float(vector.min()), float(vector.max())  # NaN anywhere makes both NaN
    if not (low >= 0 and high <= 1):
        found = "hold NaN" if low != low else f"from {low:g} to {high:g}"
        hint = "divide them by 255, or save pictures as (n, h, w)" if low >= 0 and high <= 255 else "bring them to [0, 1]"
        raise InputError(f"vectors: {where}: values {found}, not in [0, 1]: {hint}")
    binary = bool(((vector == 0) | (vector == 1)).all())
    plain = vector.astype(np.uint8) * np.uint8(255) if binary else vector.astype(np.float32)
    return np.ascontiguousarray(plain[:, None, None])


def as_images(image: np.ndarray, where: str) -> np.ndarray:
    """uint8 (n, c, h, w). InputError for other shapes, NaN, and a range that :mod:`memogen.data.values` does not know."""
    if image.ndim == 3:
        image = image[:, None]
    elif image.ndim == 4 and image.shape[1] not in (1, 3) and image.shape[3] in (1, 3):
        image = image.transpose(0, 3, 1, 2)
    if image.ndim != 4 or image.shape[1] not in (1, 3) or 0 in image.shape:
        raise InputError(f"images: {where}: shape {image.shape}: give (n, h, w), (n, h, w, c) or (n, c, h, w) with c = 1 or 3, or vectors (n, d)")
    try:
        kind = kind_of(image.dtype)
        check_range(image)
        return np.ascontiguousarray(to_bytes(image, white_of(kind, float(image.max()))))
    except WrongRange as error:
        raise InputError(f"images: {where}: {error}") from error


def as_labels(label: np.ndarray, count: int, where: str) -> np.ndarray:
    """int64 (n,), not negative; (n, 1) and whole floats are taken."""
    flat = label.reshape(-1) if label.ndim == 2 and label.shape[1] == 1 else label
    if flat.shape != (count,):
        raise InputError(f"labels: {where}: shape {label.shape} for {count} images: give one class number per image")
    with np.errstate(invalid="ignore"):  # NaN and numbers beyond int64 become others
        whole = flat.dtype.kind in "iufb" and np.array_equal(flat, flat.astype(np.int64))
    if not whole or flat.min(initial=0) < 0:
        raise InputError(f"labels: {where}: not all are whole numbers from 0 up: give class numbers 0, 1, 2, ...")
    if flat.max(initial=0) >= _MOST_CLASSES:
        raise InputError(f"labels: {where}: the largest is {flat.max():,}: give class numbers 0, 1, 2, ... below {_MOST_CLASSES:,}")
    return flat.astype(np.int64)


def class_numbers(label: np.ndarray | None) -> tuple[str, ...]:
    """Names for classes that have none: their numbers."""
    return () if label is None or not len(label) else tuple(str(number) for number in range(int(label.max()) + 1))


def digest(image: np.ndarray, label: np.ndarray | None) -> str:
    """SHA-256 of the pixels followed by the labels (little-endian int64)."""
    hasher = hashlib.sha256(np.ascontiguousarray(image).data)
    if label is not None:
        hasher.update(np.ascontiguousarray(label, "<i8").data)
    return hasher.hexdigest()


# --- npz files: an array's header is checked against the archive before it is read, and no object is made ---


def read_npz(path: Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Images or vectors, and labels, from an npz file with keys such as ``image``/``label``, ``x``/``y`` or ``x_train``/``y_train``. InputError."""
    with open_zip(path) as archive:
        arrays = [_member(archive, key, path) for key in _keys(_names(archive), split, path) if key]
    image, *label = arrays
    pixels = as_pixels(image, str(path))
    return pixels, as_labels(label[0], len(pixels), str(path)) if label else None


def npz_splits(path: Path) -> tuple[str, ...]:
    """The splits that an npz file names in its keys; ("train",) if it names none."""
    with open_zip(path) as archive:
        names = _names(archive)
    named = [split for split in ("train", "valid", "test") if any(form.format(key) in names for key in IMAGE_KEYS for form in _forms(split))]
    return tuple(named) or ("train",)


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _member(archive: zipfile.ZipFile, key: str, path: Path) -> np.ndarray:
    try:
        info = archive.NameToInfo.get(key + ".npy") or archive.getinfo(key)
        with archive.open(info) as file:
            return _npy(cast(BufferedIOBase, file), info.file_size)
    except DAMAGED as error:
        words = str(error) or type(error).__name__
        raise InputError(f"npz: {path}: {key} cannot be read ({words}): save plain arrays with numpy.savez") from error


def _npy(file: BufferedIOBase, size: int) -> np.ndarray:
    """The array of a .npy file of ``size`` bytes. ValueError where it is none, or its header says otherwise."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format {version[0]}.{version[1]}, which plain arrays do not need")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, column_major, dtype = read(file)
    except Exception as error:  # NumPy reads a damaged header as Python, and fails as Python does
        raise ValueError("its header is damaged") from error
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
