"""Image files below a folder or inside a zip file: which they are, to which class they belong, and their pixels."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from PIL import Image

from memogen.data.files import DAMAGED, NoRegularFile, open_regular
from memogen.data.findings import Tally
from memogen.data.images import Header, UnusableImage, decode, read_header, read_values, shaped
from memogen.data.npz import open_zip
from memogen.data.options import DataOptions
from memogen.data.source import CHUNK, Chunk, Contents
from memogen.data.test_split import Keep
from memogen.data.values import Kind, WrongRange, settled, white_of
from memogen.errors import printable
from memogen.progress import Bar
from memogen.types import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".avif", ".jp2")
SPLITS = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test", "testing")}
_SPLIT_OF = {alias: split for split, aliases in SPLITS.items() for alias in aliases}
_FEW = 8  # pictures that a thread takes at once
_HIDDEN = re.compile(r"(?:^|/)(?:\.|__MACOSX)")
Labels = tuple[tuple[str, ...], np.ndarray | None]  # the names of the classes, and the class of each image
_FAULTS: tuple[type[Exception], ...] = (UnusableImage, *DAMAGED)
_MOST_BYTES = 1 << 30  # more than 89 million pixels take in any format
_THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes without holding Python's lock


class Entry(NamedTuple):
    """One file: ``name`` as it is sorted and shown, ``key`` to open it by, and the stamp of its content. A name's parts are joined by /."""

    name: str
    key: str
    size: int
    changed: int

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))

    @property
    def top(self) -> str:
        """The first folder; empty without one."""
        folder, slash, _ = self.name.partition("/")
        return folder if slash else ""

    @property
    def below(self) -> Entry:
        """The same without the first folder."""
        return self._replace(name=self.name.partition("/")[2])


@dataclass(frozen=True)
class Pictures:
    """The image files of one place in a fixed order, the names of the other files there, and how to open one."""

    place: Path
    entries: tuple[Entry, ...]
    others: tuple[str, ...]
    open: Callable[[str], BufferedIOBase]


def find_pictures(place: Path) -> Pictures:
    """The pictures of a folder (searched through all its sub-folders) or zip file. InputError where it cannot be read."""
    if place.is_dir():
        return _sorted_out(place, list(_walk(place)), lambda key: open_regular(place / key))
    archive = open_zip(place)
    files = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    found = {info.filename: Entry(_tidy(info.filename), info.filename, info.file_size, info.CRC) for info in files}
    return _sorted_out(place, list(found.values()), lambda key: cast(BufferedIOBase, archive.open(key)))


def _tidy(name: str) -> str:
    """A member's name without empty parts and those that stay where they are."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _walk(root: Path) -> Iterator[Entry]:
    """All files below ``root``; links are followed, but never in a circle."""
    waiting, known = [(root, "")], set()
    while waiting:
        folder, prefix = waiting.pop()
        if (real := folder.resolve()) in known:
            continue
        known.add(real)
        try:
            items = sorted(os.scandir(folder), key=lambda item: item.name)
        except OSError as error:
            raise InputError(f"data: {folder}: cannot be read ({error.strerror}): mend its permissions or move it away") from error
        for item in items:
            name = prefix + item.name
            if _leads_to(item.is_dir):
                waiting.append((folder / item.name, f"{name}/"))
            elif stamp := _stamp(item):
                yield Entry(name, name, *stamp)


def _leads_to(question: Callable[[], bool]) -> bool:
    """The answer; False where a link cannot be followed."""
    try:
        return question()
    except OSError:
        return False


def _stamp(item: os.DirEntry[str]) -> tuple[int, int] | None:
    """Bytes and time of change; None for a file that has just gone."""
    try:
        stat = item.stat(follow_symlinks=_leads_to(item.is_file))
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _sorted_out(place: Path, found: list[Entry], opener: Callable[[str], BufferedIOBase]) -> Pictures:
    visible = [entry for entry in found if not _HIDDEN.search(entry.name)]
    images = [entry for entry in visible if entry.name.lower().endswith(SUFFIXES)]
    others = sorted(entry.name for entry in visible if not entry.name.lower().endswith(SUFFIXES))
    return Pictures(place, tuple(sorted(_without_wrapper(images), key=lambda entry: entry.name)), tuple(others), opener)


def _without_wrapper(entries: list[Entry]) -> list[Entry]:
    """Drops folders that merely wrap the whole set, as archives often have one; a split's folder is none of them."""
    while entries and all(entry.name.count("/") > 1 for entry in entries) and len({entry.top for entry in entries}) == 1:
        if entries[0].top.lower() in _SPLIT_OF:
            break
        entries = [entry.below for entry in entries]
    return entries


def read_picture(path: Path, options: DataOptions, channels: int) -> np.ndarray:
    """One picture file as uint8 (c, h, w), brought to shape as those of a data set are. Raises InputError."""
    try:
        with open_regular(path) as file:
            return shaped(decode(file, options=options)[0], options, channels)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}): name a picture file") from error
    except UnusableImage as error:
        raise InputError(f"{path}: {error}: name another picture") from error


def by_split(pictures: Pictures) -> dict[str, tuple[Entry, ...]]:
    """The entries by split where all top folders are train/, valid/ or test/; otherwise all are "train".

    InputError where valid/ or test/ lie beside other images: held-out images must not become a class of the training images.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in pictures.entries:
        groups.setdefault(_SPLIT_OF.get(entry.top.lower(), "none"), []).append(entry)
    held_out = [split for split in ("valid", "test") if split in groups]
    if "none" in groups and held_out:
        there, other = groups[held_out[0]][0].parts[0], groups["none"][0].parts[0]
        raise InputError(
            f"data: {pictures.place}: holds {printable(there)}/, as of a split, beside {printable(other)}, which is of none: "
            f"move all other images into train/, or give {printable(there)}/ another name if it is a class"
        )
    if "none" in groups or not groups:
        return {"train": pictures.entries}
    return {split: tuple(entry.below for entry in groups[split]) for split in SPLITS if split in groups}


def label_entries(groups: dict[str, tuple[Entry, ...]], split: str) -> Labels:
    """Class names over all splits and the labels of this one: the first sub-folder is the class, numbers sort as numbers. The names are printable.

    Unlabelled, ((), None), when some image lies in no sub-folder or all lie in the same.
    """
    everything = [entry for entries in groups.values() for entry in entries]
    names = {entry.top for entry in everything}
    if len(names) < 2 or "" in names:
        return (), None
    numbered = all(name.isascii() and name.isdecimal() for name in names)
    value = {name: name.lstrip("0") for name in names}  # compared by length and digits: a name may be longer than a number that Python reads
    classes = sorted(names, key=lambda name: (len(value[name]), value[name], name) if numbered else (0, "", name))
    number = {name: k for k, name in enumerate(classes)}
    return tuple(map(printable, classes)), np.array([number[entry.top] for entry in groups[split]], dtype=np.int64)


def picture_contents(pictures: Pictures, named: Labels, options: DataOptions, tally: Tally, progress: bool, keep: Keep | None = None) -> Contents:
    """Contents of image files: their headers are read first, so that mixed sizes are found before anything is decoded.

    ``keep`` chooses images by their decoded pixels, uint8 (c, h, w). InputError where images have no common size, or a range that cannot be right.
    """
    tally.others = pictures.others
    usable = _survey(pictures, tally, progress)
    headers = [header for _, header in usable]
    height, width = common_size(headers, options, str(pictures.place))
    colour = 3 if any(not header.grey for header in headers) else 1
    shape = (colour if options.channels == "auto" else options.channels, height, width)
    tally.change_all("smaller than the size, enlarged", _enlarged(pictures, usable, options))
    reading = _Reading(pictures, options, shape, _whites(pictures, usable), keep)
    return Contents(shape, len(usable), named[0], _decoded(reading, [row for row, _ in usable], named[1], tally))


def _survey(pictures: Pictures, tally: Tally, progress: bool) -> list[tuple[int, Header]]:
    """(row, header) of every entry whose header can be read."""
    usable = []
    for row, found in enumerate(_headers(pictures, progress)):
        if isinstance(found, str):
            tally.skip(found, pictures.entries[row].name)
            continue
        tally.sizes[f"{found.height} x {found.width}"] += 1
        tally.modes[found.mode] += 1
        usable.append((row, found))
    return usable


_surveyed: list[tuple[tuple[Path, tuple[Entry, ...]], list[Header | str]]] = []
"""The headers that were read last: a recipe is fitted to the sizes of the same pictures that are read next. An entry has its time of change."""


def _headers(pictures: Pictures, progress: bool) -> list[Header | str]:
    """The header of every entry, or the reason why it has none."""

    def header(entry: Entry) -> Header | str:
        try:
            with pictures.open(entry.key) as file:
                return read_header(file) if 0 < entry.size <= _MOST_BYTES else "empty file" if not entry.size else "more than a gigabyte"
        except _FAULTS as error:
            return _reason(error)

    def headers(rows: list[int]) -> list[Header | str]:
        return [header(pictures.entries[row]) for row in rows]

    asked = (pictures.place.resolve(), pictures.entries)
    if not _surveyed or _surveyed[0][0] != asked:
        found = list[Header | str]()
        with ThreadPoolExecutor(_THREADS) as pool, Bar(shown=progress) as bar:
            bar.stage("reading headers", len(pictures.entries))
            for some in pool.map(headers, _few(list(range(len(pictures.entries))))):
                found += some
                bar.advance(len(some))
        _surveyed[:] = [(asked, found)]
    return _surveyed[0][1]


def sizes_of(pictures: Pictures, *, progress: bool = False) -> list[tuple[int, int]]:
    """(height, width) of every picture whose header can be read; no pixel is decoded."""
    return [(header.height, header.width) for _, header in _survey(pictures, Tally(), progress)]


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (UnusableImage, NoRegularFile)) else "cannot be opened"


def _whites(pictures: Pictures, usable: list[tuple[int, Header]]) -> dict[Kind, int]:
    """Which value is white, for each kind of picture: by the largest value of all of a kind. Reads no more of them than settle it.

    InputError for a range that cannot be right.
    """
    whites: dict[Kind, int] = {}
    for kind in dict.fromkeys(header.kind for _, header in usable):
        largest = 0.0
        for row in (row for row, header in usable if header.kind == kind):
            try:
                with pictures.open(pictures.entries[row].key) as file:
                    largest = max(largest, read_values(file).largest)
            except _FAULTS:  # counted when it is read for good
                continue
            if settled(kind, largest):
                break
        try:
            whites[kind] = white_of(kind, largest)
        except WrongRange as error:
            raise InputError(f"images: {pictures.place}: {error}") from error
    return whites


def _size(header: Header, options: DataOptions) -> tuple[int, int]:
    most = options.centre or max(header.height, header.width)
    return min(header.height, most), min(header.width, most)


def common_size(headers: list[Header], options: DataOptions, place: str) -> tuple[int, int]:
    """The one (height, width) of the images. InputError naming the sizes when there is none."""
    sizes = Counter(_size(header, options) for header in headers)
    if not sizes:
        raise InputError(f"data: {place}: none of its image files can be used, for the reasons above: mend or replace them")
    if options.fit != "error" and options.target:
        return options.target
    if len(sizes) > 1 or (options.target and options.target not in sizes):
        named = ", ".join(f"{height} x {width} ({count})" for (height, width), count in sizes.most_common(3))
        more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
        size = " x ".join(map(str, options.target)) if options.target else "one size"
        fitting = max(2, min(64, *sizes.most_common(1)[0][0]))  # nothing is gained by enlarging
        example, option = ("", "") if options.target else (f"size={fitting} with ", f"--data.options.size {fitting} ")
        mend = f'{example}fit="resize" or fit="crop" (of a run: {option}--data.options.fit crop)'
        raise InputError(f"size: {place}: images are {named}{more}, not {size}: give {mend}")
    return next(iter(sizes))


def _enlarged(pictures: Pictures, usable: list[tuple[int, Header]], options: DataOptions) -> list[str]:
    height, width = options.target or (0, 0)
    sizes = [(row, _size(header, options)) for row, header in usable]
    return [pictures.entries[row].name for row, size in sizes if size[0] < height or size[1] < width]


@dataclass(frozen=True)
class _Image:
    """An image as it is kept, what was changed, and the brightest value of its picture."""

    pixels: np.ndarray
    notes: tuple[str, ...]
    brightest: int


def _brightest(picture: Image.Image) -> int:
    return max(np.ravel(picture.getextrema()).tolist())


@dataclass(frozen=True)
class _Reading:
    """How the pictures of one place become images of one shape (c, h, w)."""

    pictures: Pictures
    options: DataOptions
    shape: tuple[int, int, int]
    whites: dict[Kind, int]
    keep: Keep | None

    def images(self, rows: list[int]) -> list[_Image | str | None]:
        """Some at a time, since handing one to a thread takes as long as opening it."""
        return [self.image(row) for row in rows]

    def image(self, row: int) -> _Image | str | None:
        """The image, or the reason why it is left out, or None where ``keep`` leaves it to another split."""
        try:
            with self.pictures.open(self.pictures.entries[row].key) as file:
                picture, notes = decode(file, self.whites, None if self.keep else self.options)
                if self.keep is not None and not self.keep(shaped(picture, DataOptions(), len(picture.getbands()))):
                    return None
                return _Image(shaped(picture, self.options, self.shape[0]), notes, _brightest(picture))
        except _FAULTS as error:
            return _reason(error)


def _decoded(reading: _Reading, rows: list[int], label: np.ndarray | None, tally: Tally) -> Iterator[Chunk]:
    """Chunks of the images that decode to the shape; the others are counted. While one chunk is used, the next is decoded."""
    parts = [rows[start : start + CHUNK // 2] for start in range(0, len(rows), CHUNK // 2)]
    with ThreadPoolExecutor(_THREADS) as pool:
        ahead = [pool.map(reading.images, _few(part)) for part in parts[:1]]
        for number, part in enumerate(parts):
            ahead += [pool.map(reading.images, _few(following)) for following in parts[number + 1 : number + 2]]
            kept = {}
            for row, result in zip(part, chain.from_iterable(ahead.pop(0)), strict=True):
                if result is None:
                    tally.elsewhere += 1
                elif (image := _accepted(result, reading.shape, reading.pictures.entries[row].name, tally)) is not None:
                    kept[row] = image
            if kept:
                yield np.stack(list(kept.values())), None if label is None else label[list(kept)]


def _few(rows: list[int]) -> list[list[int]]:
    return [rows[start : start + _FEW] for start in range(0, len(rows), _FEW)]


def _accepted(result: _Image | str, shape: tuple[int, int, int], name: str, tally: Tally) -> np.ndarray | None:
    if isinstance(result, str) or result.pixels.shape != shape:
        tally.skip(result if isinstance(result, str) else "size differs from its header", name)
        return None
    for note in result.notes:
        tally.change(note, name)
    tally.brightest = max(tally.brightest or 0, result.brightest)
    return result.pixels
