"""Image files to pixels: first all headers, so that mixed sizes are found before anything is decoded, then the pixels in chunks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from memogen.data.files import DAMAGED, NoRegularFile, open_regular
from memogen.data.findings import Tally
from memogen.data.images import DataOptions, Header, UnusableImage, decode, read_header, read_values, shaped
from memogen.data.listing import Entry, Pictures
from memogen.data.source import CHUNK, Chunk, Contents, Request, Source, keeper, nothing_kept
from memogen.data.values import Kind, WrongRange, settled, white_of
from memogen.errors import printable
from memogen.progress import Bar
from memogen.types import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
_Image = tuple[np.ndarray, tuple[str, ...], int]  # its pixels, the changes that were made, and a value as bright as any of its picture
_AT_ONCE = 8  # pictures that a thread takes at once, since handing over a single one takes as long as opening it
_FAULTS: tuple[type[Exception], ...] = (UnusableImage, *DAMAGED)
_MOST_BYTES = 1 << 30  # more than 89 million pixels take in any format
_THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes without holding Python's lock


def read_picture(path: Path, options: DataOptions, channels: int) -> np.ndarray:
    """One picture file as uint8 (c, h, w), brought to shape like the images of a data set. Raises InputError."""
    try:
        with open_regular(path) as file:
            return shaped(decode(file, options=options)[0], options, channels)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}): name a picture file") from error
    except UnusableImage as error:
        raise InputError(f"{path}: {error}: name another picture") from error


def sizes_of(pictures: Pictures) -> list[tuple[int, int]]:
    """(height, width) of every picture whose header can be read; no pixel is decoded."""
    return [(found.height, found.width) for found in _headers(pictures, progress=False) if isinstance(found, Header)]


def picture_source(asked: Request, pictures: Pictures, classes: tuple[str, ...], label: np.ndarray | None, name: str) -> Source:
    """The source of these image files, with the class of each. InputError where there are none."""
    if not pictures.entries:
        found = ", ".join(map(printable, pictures.others[:5])) or "nothing"
        raise InputError(
            f"{asked.name}: {pictures.place}: looked for image files (.png, .jpg, ...) of split {asked.split}, found {found}: "
            f"give the folder that holds the images"
        )

    def begin(tally: Tally, progress: bool) -> Contents:
        return _contents(asked, pictures, classes, label, tally, progress)

    stamps = tuple((entry.key, entry.size, entry.changed) for entry in pictures.entries)
    return Source(name, asked.split, str(pictures.place.resolve()), stamps, asked.options, begin)


def _contents(asked: Request, pictures: Pictures, classes: tuple[str, ...], label: np.ndarray | None, tally: Tally, progress: bool) -> Contents:
    """InputError where images have no common size or a range that cannot be right, and, at the end, where the split keeps none of them."""
    options, tally.others = asked.options, pictures.others
    usable: list[tuple[int, Header]] = []
    for row, found in enumerate(_headers(pictures, progress)):
        if isinstance(found, str):
            tally.skip(found, pictures.entries[row].name)
            continue
        tally.sizes[f"{found.height} x {found.width}"] += 1
        tally.modes[found.mode] += 1
        usable.append((row, found))
    cut = options.centre or 1 << 31
    sizes = [(min(header.height, cut), min(header.width, cut)) for _, header in usable]
    height, width = _common_size(sizes, options, pictures.place)
    channels = options.channels if options.channels != "auto" else 3 if any(not header.grey for _, header in usable) else 1
    for (row, _), size in zip(usable, sizes, strict=True):
        if options.target and (size[0] < options.target[0] or size[1] < options.target[1]):
            tally.change("smaller than the size, enlarged", pictures.entries[row].name)
    whites, keep, white_seen = _whites(pictures, usable), keeper(options.test_share, asked.split), False

    def read(row: int) -> _Image | str | None:
        """The image, or the reason why it is left out, or None where it lies in another split."""
        nonlocal white_seen
        try:
            with pictures.open(pictures.entries[row].key) as file:
                picture, notes = decode(file, whites, None if keep else options)
                if keep is not None and not keep(shaped(picture, DataOptions(), len(picture.getbands()))):
                    return None
                brightest = 255 if white_seen else max(np.ravel(picture.getextrema()).tolist())
                white_seen = brightest == 255  # no pixel is brighter: nothing is left to look for
                return shaped(picture, options, channels), notes, brightest
        except _FAULTS as error:
            return _reason(error)

    def chunks() -> Iterator[Chunk]:
        """While one chunk is used, the next is decoded."""
        rows, empty = [row for row, _ in usable], True
        parts = [rows[start : start + CHUNK // 2] for start in range(0, len(rows), CHUNK // 2)]
        with ThreadPoolExecutor(_THREADS) as pool:
            ahead = _in_threads(pool, read, parts[0])
            for number, part in enumerate(parts):
                results = ahead
                ahead = _in_threads(pool, read, parts[number + 1]) if number + 1 < len(parts) else iter(())
                kept = dict[int, np.ndarray]()
                for row, image in zip(part, results, strict=True):
                    if image is None:
                        tally.elsewhere += 1
                    elif isinstance(image, str) or image[0].shape != (channels, height, width):
                        tally.skip(image if isinstance(image, str) else "size differs from its header", pictures.entries[row].name)
                    else:
                        kept[row], notes, brightest = image
                        tally.brightest = max(tally.brightest or 0, brightest)
                        for note in notes:
                            tally.change(note, pictures.entries[row].name)
                if kept:
                    empty = False
                    yield np.stack(list(kept.values())), None if label is None else label[list(kept)]
        if empty and keep is not None:
            raise InputError(nothing_kept(options.test_share, asked.split, str(pictures.place)))

    return Contents((channels, height, width), len(usable), classes, chunks())


_surveyed: list[tuple[tuple[Path, tuple[Entry, ...]], list[Header | str]]] = []
"""The headers that were read last: a recipe is fitted to the sizes of the pictures that are read next. An entry has its time of change."""


def _headers(pictures: Pictures, progress: bool) -> list[Header | str]:
    """The header of every entry, or the reason why it has none."""

    def header(entry: Entry) -> Header | str:
        try:
            with pictures.open(entry.key) as file:
                return read_header(file) if 0 < entry.size <= _MOST_BYTES else "empty file" if not entry.size else "more than a gigabyte"
        except _FAULTS as error:
            return _reason(error)

    asked = (pictures.place.resolve(), pictures.entries)
    if not _surveyed or _surveyed[0][0] != asked:
        found = []
        with ThreadPoolExecutor(_THREADS) as pool, Bar(shown=progress) as bar:
            bar.stage("reading headers", len(pictures.entries))
            for one in _in_threads(pool, header, pictures.entries):
                found.append(one)
                bar.advance(1)
        _surveyed[:] = [(asked, found)]
    return _surveyed[0][1]


def _in_threads(pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results for all items, in their order; the work begins at once."""
    parts = [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
    return chain.from_iterable(pool.map(lambda part: [function(item) for item in part], parts))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (UnusableImage, NoRegularFile)) else "cannot be opened"


def _whites(pictures: Pictures, usable: list[tuple[int, Header]]) -> dict[Kind, int]:
    """The white value of each kind of picture, from the largest value of all of that kind. Reads only as many pictures as settle it.

    InputError for a range that cannot be right.
    """
    whites: dict[Kind, int] = {}
    for kind in dict.fromkeys(header.kind for _, header in usable):
        largest = 0.0
        for row in (row for row, header in usable if header.kind == kind):
            try:
                with pictures.open(pictures.entries[row].key) as file:
                    largest = max(largest, read_values(file).largest)
            except _FAULTS:  # counted when the pixels are read
                continue
            if settled(kind, largest):
                break
        try:
            whites[kind] = white_of(kind, largest)
        except WrongRange as error:
            raise InputError(f"images: {pictures.place}: {error}") from error
    return whites


def _common_size(found: list[tuple[int, int]], options: DataOptions, place: Path) -> tuple[int, int]:
    """The one (height, width) of the images. InputError naming the sizes when there is none."""
    sizes = Counter(found)
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
