"""A data set before it is cached: what names it, and how its images are read in chunks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from memogen.configs import to_dict
from memogen.data.arrays import class_numbers
from memogen.data.findings import Tally
from memogen.data.images import shaped
from memogen.data.options import DataOptions
from memogen.types import InputError

CHUNK = 512  # images in memory at once
_VERSION = 3  # raise it when the same files give other pixels than before

Chunk = tuple[np.ndarray, np.ndarray | None]
Stamp = tuple[str, int, int]  # name, bytes, time of change


@dataclass(frozen=True)
class Contents:
    """Images of one shape (c, h, w), in chunks of uint8 or, where ``real``, float32 (m, c, h, w), and int64 (m,); at most ``total`` of them."""

    shape: tuple[int, int, int]
    total: int
    classes: tuple[str, ...]
    chunks: Iterator[Chunk]
    real: bool = False


@dataclass(frozen=True)
class Source:
    """A split of a data set: ``place`` is where its files lie, ``open`` begins to read (tally, show progress).

    ``stamps`` stand for the files' content: when one changes, the cache is built anew.
    """

    name: str
    split: str
    place: str
    stamps: tuple[Stamp, ...]
    options: DataOptions
    open: Callable[[Tally, bool], Contents]

    @property
    def fingerprint(self) -> str:
        """Names the source's files, split and options."""
        parts = [_VERSION, self.name, self.split, self.stamps, to_dict(self.options)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def stamps_of(*files: Path) -> tuple[Stamp, ...]:
    """Name, size and time of change of each file."""
    stats = [(file.name, file.stat()) for file in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def counted(contents: Contents, tally: Tally) -> Iterator[Chunk]:
    """The chunks, counted into the tally."""
    for image, label in contents.chunks:
        tally.kept += len(image)
        if label is not None:
            numbers = np.bincount(label, minlength=len(contents.classes))
            tally.labels.update({contents.classes[k]: int(numbers[k]) for k in np.flatnonzero(numbers)})
        yield image, label


def array_contents(image: np.ndarray, label: np.ndarray | None, classes: tuple[str, ...], options: DataOptions, tally: Tally, where: str) -> Contents:
    """Contents of uint8 (n, c, h, w) in memory, brought to the shape that the options ask for; vectors, (n, 1, 1, d), as :func:`vector_contents`."""
    total, found, height, width = image.shape
    if classes and label is not None and label.max(initial=0) >= len(classes):
        raise InputError(f"labels: {where}: reach {label.max()}, there are {len(classes)} classes: give class numbers below {len(classes)}")
    if height == 1 and found == 1:
        return vector_contents(image, label, classes, options, tally, where)
    if height < 2 or width < 2:
        raise InputError(f"images: {where}: {height} x {width} pixels: give images of at least 2 x 2")
    tally.sizes[f"{height} x {width}"] += total
    tally.modes["L" if found == 1 else "RGB"] += total
    tally.brightest = int(image.max())
    channels = found if options.channels == "auto" else options.channels
    shape = (channels, *array_size(height, width, options, where))
    same = shape == image.shape[1:]

    def chunks() -> Iterator[Chunk]:
        for start in range(0, total, CHUNK):
            piece = image[start : start + CHUNK]
            yield piece if same else _reshaped(piece, options, channels), None if label is None else label[start : start + CHUNK]

    return Contents(shape, total, classes or class_numbers(label), chunks())


def vector_contents(
    image: np.ndarray, label: np.ndarray | None, classes: tuple[str, ...], options: DataOptions, tally: Tally, where: str
) -> Contents:
    """Contents of vectors, uint8 where they are binary and float32 where they are not; a size of as many numbers makes them images of that size."""
    total, length = len(image), image.shape[3]
    height, width = options.target or (1, length)
    if height * width != length or options.centre or options.channels == 3:
        raise InputError(f"size: {where}: holds vectors of {length} numbers: give a size of as many pixels, as 28x28 for 784, or none")
    shape = (1, height, width)
    tally.sizes[f"{height} x {width}"] += total
    tally.modes["binary vectors" if image.dtype == np.uint8 else "real vectors"] += total

    def chunks() -> Iterator[Chunk]:
        for start in range(0, total, CHUNK):
            stop = min(start + CHUNK, total)
            yield image[start:stop].reshape(stop - start, *shape), None if label is None else label[start:stop]

    return Contents(shape, total, classes or class_numbers(label), chunks(), image.dtype != np.uint8)


def array_size(height: int, width: int, options: DataOptions, where: str) -> tuple[int, int]:
    """(height, width) that images of this one size get. InputError when that needs a ``fit`` that was not given."""
    size = (min(height, options.centre), min(width, options.centre)) if options.centre else (height, width)
    if options.target and options.target != size and options.fit == "error":
        asked = " x ".join(map(str, options.target))
        mend = 'give fit="resize" or fit="crop" as well (of a run: --data.options.fit)'
        raise InputError(f"size: {where}: images are {size[0]} x {size[1]}, but the size asked for is {asked}: {mend}")
    return options.target or size


def _reshaped(image: np.ndarray, options: DataOptions, channels: int) -> np.ndarray:
    pictures = (Image.fromarray(one[0] if len(one) == 1 else np.ascontiguousarray(one.transpose(1, 2, 0))) for one in image)
    return np.stack([shaped(picture, options, channels) for picture in pictures])
