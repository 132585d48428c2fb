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

from memogen.types import ImageData, InputError

_MOST_CLASSES = 100_000


def from_arrays(image: np.ndarray | Tensor, label: np.ndarray | Tensor | None = None, *, name: str = "arrays", split: str = "train") -> ImageData:
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w) as data: whole numbers in 0..255 or floats in [0, 1]; vectors (n, d) in [0, 1].

    InputError for anything else.
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
    streamed = isinstance(source, (DataLoader, IterableDataset))
    items = iter(source) if streamed else (source[row] for row in range(len(source)))  # type: ignore[arg-type, index]
    pairs = [item if isinstance(item, (tuple, list)) else (item, None) for item in items]
    if not pairs:
        raise InputError(f"{name}: the data set is empty: give another")
    batched = isinstance(source, DataLoader) and source.batch_size is not None
    images = [_array(item[0]) if batched else _array(item[0])[None] for item in pairs]
    if len({image.shape[1:] for image in images}) > 1:
        sizes = sorted({str(image.shape[1:]) for image in images})
        raise InputError(f"{name}: images of several shapes, {', '.join(sizes[:3])}: resize them in the data set's transform")
    labels = [np.atleast_1d(_array(item[1])) for item in pairs if len(item) > 1 and item[1] is not None]
    return from_arrays(np.concatenate(images), np.concatenate(labels) if labels else None, name=name, split=split)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.detach().cpu().to(torch.float32).numpy() if value.dtype == torch.bfloat16 else value.detach().cpu().numpy()
    if isinstance(value, Image.Image) and value.mode not in ("1", "L", "RGB"):
        value = value.convert("RGB")
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
    """uint8 (n, c, h, w). InputError for other shapes, NaN, and values that are neither 0..255 nor [0, 1]."""
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
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype.kind not in "iuf":
        raise InputError(f"images: {where}: values of type {image.dtype}: give uint8, or floats in [0, 1]")
    low, high = float(image.min()), float(image.max())  # NaN anywhere makes both NaN
    if not (low >= 0 and high <= 255):
        hint = "(x + 1) / 2 brings [-1, 1] to [0, 1]" if low >= -1 and high <= 1 else "bring them to 0..255 or [0, 1]"
        raise InputError(f"images: {where}: values {'hold NaN' if low != low else f'from {low:g} to {high:g}'}: {hint}")
    if image.dtype.kind == "f" and high <= 1:
        return np.rint(image * 255).astype(np.uint8)
    whole = image.astype(np.uint8)
    if image.dtype.kind == "f" and not np.array_equal(whole, image):
        raise InputError(f"images: {where}: values from {low:g} to {high:g} are neither whole numbers nor within [0, 1]: bring them to [0, 1]")
    return whole


def as_labels(label: np.ndarray, count: int, where: str) -> np.ndarray:
    """int64 (n,), not negative; (n, 1) and whole floats are taken."""
    flat = label.reshape(-1) if label.ndim == 2 and label.shape[1] == 1 else label
    if flat.shape != (count,):
        raise InputError(f"labels: {where}: shape {label.shape} for {count} images: give one class number per image")
    if flat.dtype.kind not in "iufb" or not np.array_equal(flat, flat.astype(np.int64)) or flat.min(initial=0) < 0:
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
