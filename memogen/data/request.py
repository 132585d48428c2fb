"""What a caller asks for, and the two ways to a source of it: images that are read as one array, and image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from memogen.data.cache import cache_root
from memogen.data.findings import Tally
from memogen.data.options import DataOptions
from memogen.data.pictures import Pictures, picture_contents
from memogen.data.source import Chunk, Contents, Source, array_contents, stamps_of
from memogen.data.test_split import keeper, nothing_kept
from memogen.errors import printable
from memogen.types import InputError


@dataclass(frozen=True)
class Request:
    """What the caller of :func:`memogen.data.load` asked for."""

    name: str
    folder: Path | None = None
    split: str = "train"
    options: DataOptions = field(default_factory=DataOptions)
    root: Path = field(default_factory=cache_root)
    progress: bool = True


def array_source(asked: Request, files: list[Path], classes: tuple[str, ...], read: Callable[[], Chunk]) -> Source:
    """A source that is read as one array; ``read`` runs only when there is no cache."""
    place = str(files[0].parent if len(files) > 1 else files[0]) if files else f"{asked.name} (embedded)"

    def begin(tally: Tally, progress: bool) -> Contents:
        image, label = read()
        return array_contents(image, label, classes, asked.options, tally, place)

    return Source(asked.name, asked.split, place, stamps_of(*files), asked.options, begin)


def picture_source(asked: Request, pictures: Pictures, classes: tuple[str, ...], label: np.ndarray | None, name: str) -> Source:
    if not pictures.entries:
        found = ", ".join(map(printable, pictures.others[:5])) or "nothing"
        raise InputError(
            f"{asked.name}: {pictures.place}: looked for image files (.png, .jpg, ...) of split {asked.split}, found {found}: "
            f"give the folder that holds the images"
        )
    stamps = tuple((entry.key, entry.size, entry.changed) for entry in pictures.entries)
    share = asked.options.test_share

    def begin(tally: Tally, progress: bool) -> Contents:
        contents = picture_contents(pictures, (classes, label), asked.options, tally, progress, keeper(share, asked.split))
        return _not_empty(contents, asked, str(pictures.place)) if share else contents

    return Source(name, asked.split, str(pictures.place.resolve()), stamps, asked.options, begin)


def _not_empty(contents: Contents, asked: Request, place: str) -> Contents:
    """The same contents, which end in InputError where no image was kept."""

    def chunks() -> Iterator[Chunk]:
        empty = True
        for chunk in contents.chunks:
            empty = False
            yield chunk
        if empty:
            raise InputError(nothing_kept(asked.options.test_share, asked.split, place))

    return replace(contents, chunks=chunks())
