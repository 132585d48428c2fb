"""Arrays, tensors and torch data sets to the one form the rest knows: uint8 (n, c, h, w), real vectors float32 (n, 1, 1, d); int64 labels (n,)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from memogen.data.images import UnusableImage, values_of
from memogen.data.values import Kind, WrongRange, check_range, kind_of, to_bytes, white_of
from memogen.types import ImageData, InputError

_MOST_CLASSES = 100_000


def from_arrays(image: np.ndarray | Tensor, label: np.ndarray | Tensor | None = None, *, name: str = "arrays", split: str = "train") -> ImageData:
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w), or vectors (n, d) in [0, 1], as data.

    Images hold whole numbers in 0..255, floats in [0, 1] or uint16 in 0..65,535. Where all values are 0 or 1, of whatever type, 1 is white.
    InputError for anything else, and for uint16 that reach no more than 4,095.
    """
    pixels = as_pixels(_array(image), name)
    labels = None if label is None else as_labels(_array(label), len(pixels), name)
    return ImageData(pixels, labels, class_numbers(labels), name, split, digest(pixels, labels))


def in_channels(data: ImageData, channels: int) -> ImageData:
    """The same pictures in 1 or 3 channels, where that loses nothing: grey repeated, or one of three equal channels; else as they are."""
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
    _refuse_mixture(images, name)
    labels = [np.atleast_1d(_array(item[1])) for item in pairs if len(item) > 1 and item[1] is not None]
    return from_arrays(np.concatenate(images), np.concatenate(labels) if labels else None, name=name, split=split)


def _refuse_mixture(images: list[np.ndarray], name: str) -> None:
    """InputError where images differ in shape, or some are whole numbers and others are not: one range must hold for all."""
    if len({image.shape[1:] for image in images}) > 1:
        sizes = sorted({str(image.shape[1:]) for image in images})
        raise InputError(f"{name}: images of several shapes, {', '.join(sizes[:3])}: resize them in the data set's transform")
    types = {image.dtype.kind.replace("i", "u"): image.dtype.name for image in images}
    if len(types) > 1:
        raise InputError(f"{name}: images of several types, {', '.join(sorted(types.values()))}: give all in one type")


def _from_pillow(pictures: list[Image.Image], name: str) -> list[np.ndarray]:
    """uint8 (1, c, h, w) each, as a folder of the same pictures is read: one white for all of a kind, three channels as soon as one has colour."""
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
    return np.ascontiguousarray(_bytes(_channels_first(image, where), where))


def _channels_first(image: np.ndarray, where: str) -> np.ndarray:
    if image.ndim == 3:
        image = image[:, None]
    elif image.ndim == 4 and image.shape[1] not in (1, 3) and image.shape[3] in (1, 3):
        image = image.transpose(0, 3, 1, 2)
    if image.ndim != 4 or image.shape[1] not in (1, 3) or 0 in image.shape:
        raise InputError(f"images: {where}: shape {image.shape}: give (n, h, w), (n, h, w, c) or (n, c, h, w) with c = 1 or 3, or vectors (n, d)")
    return image


def _bytes(image: np.ndarray, where: str) -> np.ndarray:
    try:
        kind = kind_of(image.dtype)
        check_range(image)
        return to_bytes(image, white_of(kind, float(image.max())))
    except WrongRange as error:
        raise InputError(f"images: {where}: {error}") from error


def as_labels(label: np.ndarray, count: int, where: str) -> np.ndarray:
    """int64 (n,), not negative; (n, 1) and whole floats are taken."""
    flat = label.reshape(-1) if label.ndim == 2 and label.shape[1] == 1 else label
    if flat.shape != (count,):
        raise InputError(f"labels: {where}: shape {label.shape} for {count} images: give one class number per image")
    if flat.dtype.kind not in "iufb" or not _are_whole(flat) or flat.min(initial=0) < 0:
        raise InputError(f"labels: {where}: not all are whole numbers from 0 up: give class numbers 0, 1, 2, ...")
    if flat.max(initial=0) >= _MOST_CLASSES:
        raise InputError(f"labels: {where}: the largest is {flat.max():,}: give class numbers 0, 1, 2, ... below {_MOST_CLASSES:,}")
    return flat.astype(np.int64)


def _are_whole(label: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):  # NaN and numbers beyond int64 become others
        return np.array_equal(label, label.astype(np.int64))


def class_numbers(label: np.ndarray | None) -> tuple[str, ...]:
    """Names for classes that have none: their numbers."""
    return () if label is None or not len(label) else tuple(str(number) for number in range(int(label.max()) + 1))


def digest(image: np.ndarray, label: np.ndarray | None) -> str:
    """SHA-256 of the pixels followed by the labels (little-endian int64)."""
    hasher = hashlib.sha256(np.ascontiguousarray(image).data)
    if label is not None:
        hasher.update(np.ascontiguousarray(label, "<i8").data)
    return hasher.hexdigest()
