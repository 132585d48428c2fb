"""Opening files safely: regular files only, read up to a bound. Reading a pipe, a socket or a device might never end."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Protocol

from memogen.types import InputError

DAMAGED: tuple[type[Exception], ...] = (  # raised by the readers of archives on damaged ones
    *(OSError, EOFError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)
_PIECE = 1 << 24
_MOST_BYTES = 1 << 34  # a header that claims more is not believed


class Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


class NoRegularFile(OSError):  # noqa: N818  the file is at fault
    """A folder, a pipe, a socket or a device where a file is looked for."""

    def __init__(self, path: Path) -> None:
        super().__init__("a folder, not a file" if path.is_dir() else "no regular file, but a pipe, a socket or a device")


def open_regular(path: Path) -> BufferedIOBase:
    """The file, opened to read bytes. NoRegularFile for a folder, a pipe, a socket or a device, which is not touched; OSError as usual."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise NoRegularFile(path)
    return path.open("rb")


def readable(path: Path, kind: str) -> Path:
    """The path again, if it leads to a regular file; InputError otherwise, which begins with ``kind``."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{kind}: {path}: cannot be read ({error.strerror}): check the path") from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{kind}: {path}: is not a regular file but {found}: give a file")
    return path


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip archive at ``path``. InputError where there is none, or a damaged one."""
    kind = path.suffix.lower().lstrip(".") or "zip"
    try:
        return zipfile.ZipFile(readable(path, kind))
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{kind}: {path}: cannot be read ({error.strerror}): mend its permissions") from error
    except DAMAGED as error:
        raise InputError(f"{kind}: {path}: is not a complete zip archive: write or fetch it again") from error


def most_bytes() -> int:
    """The largest size of one array that a header may claim: 16 GiB, or the machine's memory where that is less."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not every platform tells
        return _MOST_BYTES
    return min(_MOST_BYTES, memory) if memory > 0 else _MOST_BYTES


def at_most(file: Readable, count: int) -> bytearray:
    """Up to ``count`` bytes, in pieces, so that a lying header costs no memory."""
    content = bytearray()
    while len(content) < count and (piece := file.read(min(_PIECE, count - len(content)))):
        content += piece
    return content
