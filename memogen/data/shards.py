"""Shards of a webdataset: pictures in tar files, read in place, each with its label beside it (https://github.com/webdataset/webdataset).

The members of a sample have one name up to the first dot: 000017.jpg, 000017.cls. Nothing is unpacked to disk, and nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from memogen.data.files import DAMAGED, open_regular, readable
from memogen.errors import printable
from memogen.types import InputError

SUFFIX = ".tar"
LABELS = (".cls", ".json", ".txt")  # the first that says the class; captions in .json are left alone
_IN_JSON = ("cls", "label", "class", "class_name")
_MOST_LABEL = 1 << 20  # bytes
_BLOCK = 1 << 20
_LONGEST = 100  # characters of the name of a class


class Member(NamedTuple):
    """A file in a shard: its name there, the shard, where its bytes begin, and how many they are."""

    name: str
    shard: Path
    start: int
    size: int

    @property
    def sample(self) -> str:
        """The name up to the first dot after the last slash."""
        folder, slash, file = self.name.rpartition("/")
        return folder + slash + file.partition(".")[0]

    @property
    def suffix(self) -> str:
        """What follows, in small letters."""
        return self.name[len(self.sample) :].lower()

    def read(self) -> io.BytesIO:
        """Its bytes. Any number of threads and processes may read at once."""
        with open_regular(self.shard) as file:
            file.seek(self.start)
            return io.BytesIO(file.read(self.size))


def is_shard(place: Path) -> bool:
    """Whether a path is that of a shard, or a pattern of their names, such as train-*.tar."""
    return place.suffix.lower() == SUFFIX and not place.is_dir()


def is_there(place: Path) -> bool:
    """Whether the path exists, or is a pattern that some shard fits."""
    return place.exists() or (_is_pattern(place) and any(place.parent.glob(place.name)))


def _is_pattern(place: Path) -> bool:
    return is_shard(place) and re.search(r"[*?\[]", place.name) is not None and not place.exists()


def shards_of(place: Path) -> list[Path]:
    """The shard at a path, or those that a pattern fits, in the order of their names. InputError where there is none."""
    if not _is_pattern(place):
        return [readable(place, "tar")]
    found = sorted(path for path in place.parent.glob(place.name) if path.is_file())
    if not found:
        raise InputError(f"data: {place}: no file has such a name: check the pattern")
    return found


def members_of(shard: Path) -> Iterator[Member]:
    """Every file in a shard. InputError for one that is damaged or compressed, or that holds links or names that lead out of it."""
    again = "write or fetch it again"
    try:
        with open_regular(readable(shard, "tar")) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            size = file.seek(0, io.SEEK_END)
            for info in tar:
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise InputError(f"tar: {shard}: {printable(info.name)} is a link or no plain file: write the pictures themselves into it")
                if info.name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", info.name):
                    raise InputError(f"tar: {shard}: holds {printable(info.name)}, a name that leads out of it: write it again with plain names")
                if info.offset_data + info.size > size:
                    raise InputError(f"tar: {shard}: ends within {printable(info.name)}: {again}")
                yield Member("/".join(part for part in info.name.split("/") if part not in ("", ".")), shard, info.offset_data, info.size)
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
                raise InputError(f"tar: {shard}: is damaged after {tar.offset:,} bytes, or cut off there: {again}")
            if any(block.strip(b"\0") for block in iter(lambda: file.read(_BLOCK), b"")):
                raise InputError(f"tar: {shard}: goes on after its end, as files joined by cat do: give them one by one, in a folder")
    except InputError:
        raise
    except DAMAGED as error:
        mend = "unpack it to a plain .tar, whose members can be read in place" if _is_packed(shard) else again
        raise InputError(f"tar: {shard}: is not a complete tar file: {mend}") from error


def _is_packed(shard: Path) -> bool:
    with shard.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def class_of(member: Member) -> str | None:
    """The class that a label's file says; None for a .json without one. InputError for what is no name of a class."""
    where = f"tar: {member.shard}: {printable(member.name)}"
    if member.size > _MOST_LABEL:
        raise InputError(f"{where}: is {member.size:,} bytes, too long for a label: leave it out")
    try:
        text = member.read().getvalue().decode().strip()
        found = json.loads(text) if member.suffix == ".json" else text
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not {'JSON' if member.suffix == '.json' else 'text'}: write it again, or leave it out") from error
    if member.suffix == ".cls" and not (text.isascii() and text.isdecimal()):
        raise InputError(f"{where}: says {printable(text)[:40]!r}: a .cls holds the number of a class")
    if member.suffix == ".cls":
        found = text.lstrip("0") or "0"
    if isinstance(found, dict):
        found = next((found[name] for name in _IN_JSON if name in found), None)
    if found is None:
        return None
    name = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    if not name or len(name) > _LONGEST or re.search(r"[/\\\x00-\x1f]", name) or name in (".", ".."):
        raise InputError(
            f"{where}: says {printable(str(found))[:40]!r}, no name of a class (up to {_LONGEST} characters without slashes): leave it out"
        )
    return name


def classes_of(members: list[Member], pictures: list[Member]) -> dict[Member, str]:
    """The class of each picture; empty where no sample has one. InputError where two members share a name, or where some samples have no class."""
    seen: dict[tuple[str, str], Member] = {}
    for member in members:
        other = seen.setdefault((member.sample, member.suffix), member)
        if other is not member:
            where = "twice" if other.shard == member.shard else f"as {other.shard.name} does"
            raise InputError(f"tar: {member.shard}: holds {printable(member.name)} {where}: give every sample a name of its own")
    found = dict[Member, str]()
    for picture in pictures:
        labels = (class_of(seen[key]) for suffix in LABELS if (key := (picture.sample, suffix)) in seen)
        if (name := next((label for label in labels if label is not None), None)) is not None:
            found[picture] = name
    if found and len(found) < len(pictures):
        missing = next(picture for picture in pictures if picture not in found)
        raise InputError(
            f"tar: {missing.shard}: {printable(missing.name)} has no label, others have one: "
            f"add {printable(missing.sample)}.cls with the number of its class, or leave all labels out"
        )
    return found
