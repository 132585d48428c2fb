"""Which image files lie in a folder or an archive, to which split and class each belongs, and how to open one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from memogen.data.files import open_regular, open_zip
from memogen.data.shards import LABELS, Member, classes_of, is_shard, members_of, shards_of
from memogen.errors import printable
from memogen.types import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".avif", ".jp2")
SPLITS = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test", "testing")}
_SPLIT_OF = {alias: split for split, aliases in SPLITS.items() for alias in aliases}
_HIDDEN = re.compile(r"(?:^|/)(?:\.|__MACOSX)")


class Entry(NamedTuple):
    """One file: its ``name`` in sorting and reports (parts joined by /), the ``key`` that opens it, and its size and time of change (in a zip file
    its checksum), which stand for its content."""

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
    """The image files of one place in a fixed order, the names of the other files there, and how to open one by its key.

    ``packed``: they lie in archives; otherwise a key is a path below ``place``.
    """

    place: Path
    entries: tuple[Entry, ...]
    others: tuple[str, ...]
    open: Callable[[str], BufferedIOBase]
    packed: bool = False


_LISTED = ContextVar[dict[Path, Pictures] | None]("listed", default=None)


@contextmanager
def listing_once() -> Iterator[None]:
    """Inside, :func:`pictures_of` searches each folder and shard only once: a run that began with some files continues with the same ones."""
    token = _LISTED.set({})
    try:
        yield
    finally:
        _LISTED.reset(token)


def pictures_of(place: Path) -> Pictures:
    """:func:`find_pictures`, remembered for folders and shards inside :func:`listing_once`."""
    listed = _LISTED.get()
    if listed is None or not (place.is_dir() or is_shard(place)):
        return find_pictures(place)
    key = place.resolve()
    if key not in listed:
        listed[key] = find_pictures(place)
    return listed[key]


def find_pictures(place: Path) -> Pictures:
    """The pictures of a folder with all its sub-folders, of a zip file, or of shards: one, those of a pattern, or a folder with no other pictures.

    Hidden files are left out. InputError where something cannot be read.
    """
    if is_shard(place):
        return _in_shards(place, {"": shards_of(place)})
    archive = None if place.is_dir() else open_zip(place)

    def opener(key: str) -> BufferedIOBase:
        return open_regular(place / key) if archive is None else cast(BufferedIOBase, archive.open(key))

    if archive is None:
        found = list(_walk(place))
    else:
        members = {info.filename: info for info in archive.infolist() if info.filename and not info.is_dir()}
        tidy = {name: "/".join(part for part in name.split("/") if part not in ("", ".")) for name in members}
        found = [Entry(tidy[name], name, info.file_size, info.CRC) for name, info in members.items()]
    visible = [entry for entry in found if not _HIDDEN.search(entry.name)]
    images = [entry for entry in visible if entry.name.lower().endswith(SUFFIXES)]
    others = sorted(entry.name for entry in visible if not entry.name.lower().endswith(SUFFIXES))
    if archive is None and not images and (shards := [entry for entry in visible if is_shard(Path(entry.name))]):
        groups: dict[str, list[Path]] = {}
        for entry in _in_order(shards):
            groups.setdefault(entry.top if entry.top.lower() in _SPLIT_OF else "", []).append(place / entry.key)
        return _in_shards(place, groups, tuple(name for name in others if not is_shard(Path(name))))
    return Pictures(place, _in_order(images), tuple(others), opener, packed=archive is not None)


def _in_shards(place: Path, groups: dict[str, list[Path]], others: tuple[str, ...] = ()) -> Pictures:
    """The pictures of shards by the folder of their split, each in the folder of its class. InputError."""
    known, images, classes, found = dict[str, Member](), list[Entry](), dict[Member, str](), list[Member]()
    for split, shards in groups.items():
        if not split:
            _refuse_mixed(place, shards)
        members = [member for shard in shards for member in members_of(shard) if not _HIDDEN.search(member.name)]
        pictures = [member for member in members if member.suffix in SUFFIXES]
        classes |= classes_of(members, pictures)
        changed = {shard: shard.stat().st_mtime_ns for shard in shards}
        for member in pictures:
            name = "/".join(filter(None, (split, member.name)))
            images.append(Entry(name, f"{member.shard.name}:{member.start}:{len(known)}", member.size, changed[member.shard]))
            known[images[-1].key] = member
        found += [member for member in members if member.suffix not in (*SUFFIXES, *LABELS)]
    if not images and (dotted := next((member for member in found if member.suffix.endswith(SUFFIXES)), None)):
        told = f"is no picture but a {printable(dotted.suffix)}, for a name ends at its first dot: write {printable(dotted.name)} without other dots"
        raise InputError(f"tar: {dotted.shard}: {printable(dotted.name)} {told}")
    entries = _in_order(images)
    if classes:
        entries = tuple(sorted((_in_class(entry, classes.get(known[entry.key])) for entry in entries), key=lambda entry: entry.name))
    return Pictures(place, entries, tuple(sorted((*others, *(member.name for member in found)))), lambda key: known[key].read(), packed=True)


def _in_class(entry: Entry, name: str | None) -> Entry:
    """The entry in the folder of its class, which lies in that of its split."""
    split = f"{entry.top}/" if entry.top.lower() in _SPLIT_OF else ""
    return entry._replace(name=f"{split}{name}/{entry.name.removeprefix(split)}") if name else entry


def _refuse_mixed(place: Path, shards: list[Path]) -> None:
    """InputError where names such as train-000.tar and test-000.tar tell of several splits, for all would be trained on."""
    words = {shard: re.split("[^a-z]+", shard.name.lower()) for shard in shards}
    split = {shard: next((_SPLIT_OF[word] for word in words[shard] if word in _SPLIT_OF), "train") for shard in shards}
    if other := next((shard for shard in shards if split[shard] != split[shards[0]]), None):
        one, two = sorted((shards[0], other), key=lambda shard: split[shard] != "train")
        raise InputError(
            f"data: {place}: {printable(two.name)} is of split {split[two]} by its name, {printable(one.name)} of {split[one]}: "
            f"move them into folders {split[one]}/ and {split[two]}/, or give those of one split by a pattern such as 'train-*.tar'"
        )


def _in_order(images: list[Entry]) -> tuple[Entry, ...]:
    """Sorted by name, without a folder that wraps the whole set, as in many archives, unless it is that of a split."""
    while images and all(entry.name.count("/") > 1 for entry in images) and len({entry.top for entry in images}) == 1:
        if images[0].top.lower() in _SPLIT_OF:
            break
        images = [entry.below for entry in images]
    return tuple(sorted(images, key=lambda entry: entry.name))


def _walk(root: Path) -> Iterator[Entry]:
    """All files below ``root``. Links are followed, but never in a circle."""
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
            name, linked = prefix + item.name, item.is_symlink()
            if os.path.isdir(item) if linked else item.is_dir():
                waiting.append((folder / item.name, f"{name}/"))
                continue
            try:
                stat = item.stat(follow_symlinks=linked and os.path.isfile(item))
            except OSError:  # the file has just gone
                continue
            yield Entry(name, name, stat.st_size, stat.st_mtime_ns)


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
            f"data: {pictures.place}: holds {printable(there)}/, the folder of a split, beside {printable(other)}, which belongs to none: "
            f"move all other images into train/, or give {printable(there)}/ another name if it is a class"
        )
    if "none" in groups or not groups:
        return {"train": pictures.entries}
    return {split: tuple(entry.below for entry in groups[split]) for split in SPLITS if split in groups}


def label_entries(groups: dict[str, tuple[Entry, ...]], split: str) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Class names over all splits (printable), and the labels of this split, int64 (n,): the first sub-folder is the class; numbers sort as numbers.

    Unlabelled, ((), None), when some image lies in no sub-folder or all lie in the same.
    """
    names = {entry.top for entries in groups.values() for entry in entries}
    if len(names) < 2 or "" in names:
        return (), None
    numbered = all(name.isascii() and name.isdecimal() for name in names)
    value = {name: name.lstrip("0") for name in names}  # compared by length and digits: a name may be longer than a number that Python reads
    classes = sorted(names, key=lambda name: (len(value[name]), value[name], name) if numbered else (0, "", name))
    number = {name: k for k, name in enumerate(classes)}
    return tuple(map(printable, classes)), np.array([number[entry.top] for entry in groups[split]], dtype=np.int64)
