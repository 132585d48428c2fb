"""Image files below a folder or inside a zip file: which they are, to which class they belong, and their pixels."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np

from memogen.data.findings import Tally
from memogen.data.images import Header, UnusableImage, decode, read_header, shaped
from memogen.data.options import DataOptions
from memogen.data.progress import bar
from memogen.data.readers import zipfile_only
from memogen.data.source import CHUNK, Chunk, Contents
from memogen.types import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".avif", ".jp2")
SPLITS = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test", "testing")}
_THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes without holding Python's lock


@dataclass(frozen=True)
class Entry:
    """One file: ``name`` as it is sorted and shown, ``key`` to open it by, and the stamp of its content."""

    name: str
    key: str
    size: int
    changed: int

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.name).parts


@dataclass(frozen=True)
class Pictures:
    """The image files of one place in a fixed order, the names of the other files there, and how to open one."""

    place: Path
    entries: tuple[Entry, ...]
    others: tuple[str, ...]
    open: Callable[[str], BufferedIOBase]


def find_pictures(place: Path) -> Pictures:
    """The pictures of a folder (searched through all its sub-folders) or zip file."""
    if place.is_dir():
        return _sorted_out(place, list(_walk(place)), lambda key: open(place / key, "rb"))
    archive = zipfile.ZipFile(zipfile_only(place))
    found = [Entry(info.filename, info.filename, info.file_size, info.CRC) for info in archive.infolist() if not info.is_dir()]
    return _sorted_out(place, found, lambda key: cast(BufferedIOBase, archive.open(key)))


def _walk(root: Path) -> Iterator[Entry]:
    """All files below ``root``; links are followed, but never in a circle."""
    waiting, known = [root], set()
    while waiting:
        folder = waiting.pop()
        if (real := folder.resolve()) in known:
            continue
        known.add(real)
        try:
            items = sorted(os.scandir(folder), key=lambda item: item.name)
        except OSError as error:
            raise InputError(f"data: {folder}: cannot be read ({error.strerror}): mend its permissions or move it away") from error
        waiting += [Path(item.path) for item in items if item.is_dir()]
        for item in items:
            if not item.is_dir():
                stat = item.stat(follow_symlinks=item.is_file())
                name = Path(item.path).relative_to(root).as_posix()
                yield Entry(name, name, stat.st_size, stat.st_mtime_ns)


def _sorted_out(place: Path, found: list[Entry], opener: Callable[[str], BufferedIOBase]) -> Pictures:
    visible = [entry for entry in found if not any(part.startswith((".", "__MACOSX")) for part in entry.parts)]
    images = [entry for entry in visible if PurePosixPath(entry.name).suffix.lower() in SUFFIXES]
    others = sorted(entry.name for entry in visible if PurePosixPath(entry.name).suffix.lower() not in SUFFIXES)
    return Pictures(place, tuple(sorted(_without_wrapper(images), key=lambda entry: entry.name)), tuple(others), opener)


def _without_wrapper(entries: list[Entry]) -> list[Entry]:
    """Drops folders that merely wrap the whole set, as archives often have one."""
    while entries and all(len(entry.parts) > 2 for entry in entries) and len({entry.parts[0] for entry in entries}) == 1:
        entries = [_shorter(entry) for entry in entries]
    return entries


def _shorter(entry: Entry) -> Entry:
    return Entry("/".join(entry.parts[1:]), entry.key, entry.size, entry.changed)


def by_split(pictures: Pictures) -> dict[str, tuple[Entry, ...]]:
    """The entries by split where the top folders are train/, valid/ and test/; otherwise all are "train"."""
    names = {alias: split for split, aliases in SPLITS.items() for alias in aliases}
    groups: dict[str, list[Entry]] = {}
    for entry in pictures.entries:
        top = entry.parts[0].lower() if len(entry.parts) > 1 else ""
        groups.setdefault(names.get(top, "none"), []).append(_shorter(entry))
    if "none" in groups or "train" not in groups:
        return {"train": pictures.entries}
    return {split: tuple(entries) for split, entries in groups.items()}


def label_entries(groups: dict[str, tuple[Entry, ...]], split: str) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Class names over all splits and the labels of this one: the first sub-folder is the class, numbers sort as numbers.

    Unlabelled, ((), None), when some image lies in no sub-folder or all lie in the same.
    """
    everything = [entry for entries in groups.values() for entry in entries]
    names = {entry.parts[0] for entry in everything}
    if len(names) < 2 or any(len(entry.parts) < 2 for entry in everything):
        return (), None
    numbered = all(name.isdecimal() for name in names)
    classes = sorted(names, key=lambda name: (int(name) if numbered else 0, name))
    number = {name: k for k, name in enumerate(classes)}
    return tuple(classes), np.array([number[entry.parts[0]] for entry in groups[split]], dtype=np.int64)


def picture_contents(
    pictures: Pictures, classes: tuple[str, ...], label: np.ndarray | None, options: DataOptions, tally: Tally, progress: bool
) -> Contents:
    """Contents of image files: their headers are read first, so that mixed sizes are found before anything is decoded."""
    tally.others = pictures.others
    usable = _survey(pictures, tally, progress)
    headers = [header for _, header in usable]
    height, width = common_size(headers, options, str(pictures.place))
    colour = 3 if any(not header.grey for header in headers) else 1
    shape = (colour if options.channels == "auto" else options.channels, height, width)
    tally.change_all("smaller than the size, enlarged", _enlarged(pictures, usable, options))
    return Contents(shape, len(usable), classes, _decoded(pictures, [row for row, _ in usable], label, options, shape, tally))


def _survey(pictures: Pictures, tally: Tally, progress: bool) -> list[tuple[int, Header]]:
    """(row, header) of every entry whose header can be read."""

    def header(entry: Entry) -> Header | str:
        try:
            with pictures.open(entry.key) as file:
                return read_header(file) if entry.size else "empty file"
        except (UnusableImage, OSError, RuntimeError, zipfile.BadZipFile) as error:
            return str(error) if isinstance(error, UnusableImage) else "cannot be opened"

    usable = []
    with ThreadPoolExecutor(_THREADS) as pool, bar("reading headers", len(pictures.entries), shown=progress) as advance:
        for row, found in enumerate(pool.map(header, pictures.entries)):
            advance(1)
            if isinstance(found, str):
                tally.skip(found, pictures.entries[row].name)
                continue
            tally.sizes[f"{found.height} x {found.width}"] += 1
            tally.modes[found.mode] += 1
            usable.append((row, found))
    return usable


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


def _decoded(
    pictures: Pictures, rows: list[int], label: np.ndarray | None, options: DataOptions, shape: tuple[int, int, int], tally: Tally
) -> Iterator[Chunk]:
    """Chunks of the images that decode to ``shape``; the others are counted."""

    def pixels(row: int) -> tuple[np.ndarray, tuple[str, ...]] | str:
        try:
            with pictures.open(pictures.entries[row].key) as file:
                image, notes = decode(file)
                return shaped(image, options, shape[0]), notes
        except (UnusableImage, OSError, RuntimeError, zipfile.BadZipFile) as error:
            return str(error) if isinstance(error, UnusableImage) else "cannot be opened"

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(rows), CHUNK):
            chosen = rows[start : start + CHUNK]
            kept = {}
            for row, result in zip(chosen, pool.map(pixels, chosen), strict=True):
                if (image := _accepted(result, shape, pictures.entries[row].name, tally)) is not None:
                    kept[row] = image
            if kept:
                yield np.stack(list(kept.values())), None if label is None else label[list(kept)]


def _accepted(result: tuple[np.ndarray, tuple[str, ...]] | str, shape: tuple[int, int, int], name: str, tally: Tally) -> np.ndarray | None:
    if isinstance(result, str) or result[0].shape != shape:
        tally.skip(result if isinstance(result, str) else "size differs from its header", name)
        return None
    for note in result[1]:
        tally.change(note, name)
    return result[0]
