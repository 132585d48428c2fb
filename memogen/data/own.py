"""The user's own images: a folder, a zip or an npz file, and how they are split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import numpy as np

from memogen.data.files import readable
from memogen.data.npz import npz_splits, read_npz
from memogen.data.pictures import Pictures, by_split, find_pictures, label_entries, sizes_of
from memogen.data.request import Request, array_source, picture_source
from memogen.data.source import Chunk, Source
from memogen.data.test_split import keeper, nothing_kept
from memogen.errors import printable
from memogen.types import InputError

_LISTED = ContextVar[dict[Path, Pictures] | None]("listed", default=None)


@contextmanager
def listing_once() -> Iterator[None]:
    """Within, a folder is searched once, however often :func:`pictures_of` is asked: what begins with some files goes on with the same ones."""
    token = _LISTED.set({})
    try:
        yield
    finally:
        _LISTED.reset(token)


def pictures_of(place: Path) -> Pictures:
    """:func:`memogen.data.pictures.find_pictures`, remembered for folders within :func:`listing_once`."""
    listed = _LISTED.get()
    if listed is None or not place.is_dir():
        return find_pictures(place)
    key = place.resolve()
    if key not in listed:
        listed[key] = find_pictures(place)
    return listed[key]


def own_place(asked: Request) -> Path:
    """The user's own folder or file. InputError when it was not given or is not there."""
    if asked.folder is None:
        mend = "their folder, zip or npz" if asked.name == "folder" else f"FOLDER/{asked.name}, where FOLDER holds its files,"
        raise InputError(f"{asked.name}: this set cannot be downloaded: give {mend} as data")
    if not asked.folder.exists():
        raise InputError(f"{asked.name}: {asked.folder}: there is no such folder or file: check the path")
    return asked.folder if asked.folder.is_dir() else readable(asked.folder, asked.name)


def is_npz(place: Path) -> bool:
    """Whether a user's own images come in one npz file."""
    return place.suffix.lower() == ".npz" and not place.is_dir()


def holds_images(place: Path) -> bool:
    """Whether a place may be images of the user's own: an npz, or a folder or zip with a picture in it. Raises InputError."""
    return is_npz(place) or ((place.is_dir() or place.suffix.lower() == ".zip") and bool(pictures_of(place).entries))


def picture_sizes(place: Path) -> tuple[list[tuple[int, int]], tuple[str, ...]]:
    """(height, width) of every training picture of a folder or zip whose header can be read, and the splits found there; of an npz neither.

    Raises InputError.
    """
    if is_npz(place):
        return [], ()
    pictures = _own_pictures(place)
    groups = by_split(pictures)
    return sizes_of(replace(pictures, entries=groups.get("train", ()))), tuple(groups)


def own_splits(asked: Request) -> tuple[str, ...]:
    """The splits of the user's own images: those found there, and "test" where a share of them is held out. InputError."""
    place = own_place(asked)
    return _with_share(asked, place, npz_splits(place) if is_npz(place) else tuple(by_split(_own_pictures(place))))


def _with_share(asked: Request, place: Path, found: tuple[str, ...]) -> tuple[str, ...]:
    """The splits ``found`` at a place, and "test" where a share is held out. Raises InputError where they are sorted already."""
    if not asked.options.test_share:
        return found
    if "test" in found or "train" not in found:
        raise InputError(f"test_share: {place}: has {', '.join(found)}: leave the share at 0, as the images are sorted already")
    return (*found, "test")


def _own_pictures(place: Path) -> Pictures:
    if place.is_file() and place.suffix.lower() != ".zip":
        raise InputError(f"data: {place}: is not a folder, zip or npz file: give one of these")
    return pictures_of(place)


def folder(asked: Request) -> Source:
    """The user's own images: a folder or zip (sub-folder = class; train/, valid/, test/ = splits), or an npz file of images or vectors.

    With ``options.test_share`` a share of the training images is held out as split "test".
    """
    place = own_place(asked)
    pictures = None if is_npz(place) else _own_pictures(place)
    groups = {} if pictures is None else by_split(pictures)
    splits = _with_share(asked, place, npz_splits(place) if pictures is None else tuple(groups))
    if asked.split not in splits:
        mend = f"sort the images into train/ and {asked.split}/" if not is_npz(place) else f"name the arrays x_{asked.split} (and y_{asked.split})"
        share = ", or hold some out with test_share (of a run: --data.options.test_share 0.1)" if asked.split == "test" else ""
        raise InputError(f"split: {place}: has {', '.join(splits)}: choose one of these, or {mend}{share}")
    divided = asked if asked.split in ("train", "test") else replace(asked, options=replace(asked.options, test_share=0.0))
    part = "train" if divided.options.test_share else asked.split
    if pictures is None:
        return array_source(replace(divided, name=printable(place.stem)), [place], (), lambda: _own_arrays(divided, place, part))
    classes, label = label_entries(groups, part)
    return picture_source(divided, replace(pictures, entries=groups[part]), classes, label, printable(place.resolve().stem) or "data")


def _own_arrays(asked: Request, place: Path, part: str) -> Chunk:
    image, label = read_npz(place, part)
    keep = keeper(asked.options.test_share, asked.split)
    if keep is None:
        return image, label
    rows = np.flatnonzero([keep(one) for one in image])
    if not len(rows):
        raise InputError(nothing_kept(asked.options.test_share, asked.split, str(place)))
    return image[rows], None if label is None else label[rows]
