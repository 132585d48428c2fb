"""What a caller asks for, the source of its images before they are cached, and images that come in one array."""

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
from memogen.data.images import DataOptions, shaped
from memogen.types import InputError

CHUNK = 512  # images in memory at once
_VERSION = 3  # raise it when the same files give other pixels than before

Chunk = tuple[np.ndarray, np.ndarray | None]
Stamp = tuple[str, int, int]  # name, bytes, time of change
Keep = Callable[[np.ndarray], bool]


@dataclass(frozen=True)
class Request:
    """What the caller of :func:`memogen.data.load` asked for; ``root`` is the folder of caches and downloads."""

    name: str
    folder: Path | None
    split: str
    options: DataOptions
    root: Path
    progress: bool = True


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


def counted(contents: Contents, tally: Tally) -> Iterator[Chunk]:
    """The chunks, counted into the tally."""
    for image, label in contents.chunks:
        tally.kept += len(image)
        if label is not None:
            numbers = np.bincount(label, minlength=len(contents.classes))
            tally.labels.update({contents.classes[k]: int(numbers[k]) for k in np.flatnonzero(numbers)})
        yield image, label


# --- images that come in one array ---


def array_source(asked: Request, files: list[Path], classes: tuple[str, ...], read: Callable[[], Chunk]) -> Source:
    """A source that is read as one array; ``read`` runs only when there is no cache."""
    place = str(files[0].parent if len(files) > 1 else files[0]) if files else f"{asked.name} (embedded)"

    def begin(tally: Tally, progress: bool) -> Contents:
        image, label = read()
        return array_contents(image, label, classes, asked.options, tally, place)

    stamps = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return Source(asked.name, asked.split, place, stamps, asked.options, begin)


def array_contents(image: np.ndarray, label: np.ndarray | None, classes: tuple[str, ...], options: DataOptions, tally: Tally, where: str) -> Contents:
    """Contents of uint8 (n, c, h, w) in memory, brought to the shape that the options ask for.

    Vectors come as (n, 1, 1, d), uint8 where they are binary and float32 where they are not; a size of d pixels makes them images.
    """
    total, found, height, width = image.shape
    if classes and label is not None and label.max(initial=0) >= len(classes):
        raise InputError(f"labels: {where}: reach {label.max()}, there are {len(classes)} classes: give class numbers below {len(classes)}")
    vectors = height == 1 and found == 1
    if vectors:
        height, width = options.target or (1, width)
        if height * width != image.shape[3] or options.centre or options.channels == 3:
            raise InputError(f"size: {where}: holds vectors of {image.shape[3]} numbers: give a size of as many pixels, as 28x28 for 784, or none")
        shape = (1, height, width)
        tally.modes["binary vectors" if image.dtype == np.uint8 else "real vectors"] += total
    else:
        if height < 2 or width < 2:
            raise InputError(f"images: {where}: {height} x {width} pixels: give images of at least 2 x 2")
        channels = found if options.channels == "auto" else options.channels
        shape = (channels, *_array_size(height, width, options, where))
        tally.modes["L" if found == 1 else "RGB"] += total
        tally.brightest = int(image.max())
    tally.sizes[f"{height} x {width}"] += total

    def chunks() -> Iterator[Chunk]:
        for start in range(0, total, CHUNK):
            piece = image[start : start + CHUNK]
            if vectors:
                piece = piece.reshape(len(piece), *shape)
            elif shape != piece.shape[1:]:
                pictures = (Image.fromarray(one[0] if len(one) == 1 else np.ascontiguousarray(one.transpose(1, 2, 0))) for one in piece)
                piece = np.stack([shaped(picture, options, shape[0]) for picture in pictures])
            yield piece, None if label is None else label[start : start + CHUNK]

    return Contents(shape, total, classes or class_numbers(label), chunks(), vectors and image.dtype != np.uint8)


def _array_size(height: int, width: int, options: DataOptions, where: str) -> tuple[int, int]:
    """(height, width) that images of this one size get. InputError when that needs a ``fit`` that was not given."""
    size = (min(height, options.centre), min(width, options.centre)) if options.centre else (height, width)
    if options.target and options.target != size and options.fit == "error":
        asked = " x ".join(map(str, options.target))
        mend = 'give fit="resize" or fit="crop" as well (of a run: --data.options.fit)'
        raise InputError(f"size: {where}: images are {size[0]} x {size[1]}, but the size asked for is {asked}: {mend}")
    return options.target or size


# --- a test split for images that have none ---


def place_of(image: np.ndarray) -> float:
    """A number in [0, 1) that depends on the pixels of an image alone: uint8 (1 or 3, h, w), or a real vector (1, 1, d).

    The same picture has the same number under any name, in any lossless format and in any set. A picture of three equal channels has the number of
    the same picture in grey.
    """
    if len(image) == 3 and (image == image[:1]).all():
        image = image[:1]
    named = f"{image.dtype.str} {image.shape}".encode()
    mixed = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8, key=hashlib.sha256(named).digest())
    return (int.from_bytes(mixed.digest(), "big") >> 11) / 2**53


def keeper(share: float, split: str) -> Keep | None:
    """Whether a split keeps an image where a ``share`` of all is held out to test: those whose :func:`place_of` is below it. None keeps all."""
    return (lambda image: (place_of(image) < share) == (split == "test")) if share else None


def nothing_kept(share: float, split: str, place: str) -> str:
    """The error message where a split keeps no image."""
    return f"test_share: {place}: none of its images falls to {split} at a share of {share:g}: give another share, or sort them into train/ and test/"
