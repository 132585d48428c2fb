"""The user's own images: a folder, a zip file, shards or an npz file, and how they are split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from memogen.data.arrays import npz_splits, read_npz
from memogen.data.files import readable
from memogen.data.listing import Pictures, by_split, label_entries, pictures_of
from memogen.data.pictures import picture_source, sizes_of
from memogen.data.shards import SUFFIX, is_shard
from memogen.data.source import Chunk, Request, Source, array_source, keeper, nothing_kept
from memogen.errors import printable
from memogen.types import InputError


def is_npz(place: Path) -> bool:
    """Whether a user's own images come in one npz file."""
    return place.suffix.lower() == ".npz" and not place.is_dir()


def holds_images(place: Path) -> bool:
    """Whether a place may be a user's own images: an npz, or a folder, zip or shards with a picture in them. Raises InputError."""
    return is_npz(place) or ((place.is_dir() or place.suffix.lower() == ".zip" or is_shard(place)) and bool(pictures_of(place).entries))


def picture_sizes(place: Path) -> tuple[list[tuple[int, int]], tuple[str, ...]]:
    """(height, width) of every training picture of a folder, zip or shards whose header can be read, and the splits found there; nothing for an npz.

    Raises InputError.
    """
    if is_npz(place):
        return [], ()
    pictures = _own_pictures(place)
    groups = by_split(pictures)
    return sizes_of(replace(pictures, entries=groups.get("train", ()))), tuple(groups)


def own_place(asked: Request) -> Path:
    """The user's own folder or file. InputError when it was not given or is not there."""
    if asked.folder is None:
        mend = "their folder, zip, tar or npz" if asked.name == "folder" else f"FOLDER/{asked.name}, where FOLDER holds its files,"
        raise InputError(f"{asked.name}: this set cannot be downloaded: give {mend} as data")
    return asked.folder if asked.folder.is_dir() or is_shard(asked.folder) else readable(asked.folder, asked.name)


def own_splits(asked: Request) -> tuple[str, ...]:
    """The splits of the user's own images: those found there, and "test" where a share of them is held out.

    InputError where a share is asked for of images that are split already.
    """
    place = own_place(asked)
    return _with_share(asked, place, npz_splits(place) if is_npz(place) else tuple(by_split(_own_pictures(place))))


def _with_share(asked: Request, place: Path, found: tuple[str, ...]) -> tuple[str, ...]:
    if not asked.options.test_share:
        return found
    if "test" in found or "train" not in found:
        raise InputError(f"test_share: {place}: has {', '.join(found)}: leave the share at 0, as the images are sorted already")
    return (*found, "test")


def _own_pictures(place: Path) -> Pictures:
    if place.is_file() and place.suffix.lower() not in (".zip", SUFFIX):
        raise InputError(f"data: {place}: is not a folder, zip, tar or npz file: give one of these")
    return pictures_of(place)


def folder(asked: Request) -> Source:
    """The user's own images: a folder, zip or shards (sub-folder or label = class; train/, valid/, test/ = splits), or an npz of images or vectors.

    With ``options.test_share`` a share of the training images is held out as split "test".
    """
    place = own_place(asked)
    pictures = None if is_npz(place) else _own_pictures(place)
    groups = {} if pictures is None else by_split(pictures)
    splits = _with_share(asked, place, npz_splits(place) if pictures is None else tuple(groups))
    if asked.split not in splits:
        mend = f"sort the images into train/ and {asked.split}/" if pictures is not None else f"name the arrays x_{asked.split} (and y_{asked.split})"
        mend += ", or hold some out with test_share (of a run: --data.options.test_share 0.1)" if asked.split == "test" else ""
        raise InputError(f"split: {place}: has {', '.join(splits)}: choose one of these, or {mend}")
    if asked.split == "valid":
        asked = replace(asked, options=replace(asked.options, test_share=0.0))
    share = asked.options.test_share
    part = "train" if share else asked.split  # the images that the share divides

    def read() -> Chunk:
        image, label = read_npz(place, part)
        keep = keeper(share, asked.split)
        if keep is None:
            return image, label
        rows = np.flatnonzero([keep(one) for one in image])
        if not len(rows):
            raise InputError(nothing_kept(share, asked.split, str(place)))
        return image[rows], None if label is None else label[rows]

    if pictures is None:
        return array_source(replace(asked, name=printable(place.stem)), [place], (), read)
    classes, label = label_entries(groups, part)
    return picture_source(asked, replace(pictures, entries=groups[part]), classes, label, printable(place.resolve().stem) or "data")
