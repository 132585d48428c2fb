"""Downloads of published files from their mirrors: resumed after a break, and verified before they get their name."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from memogen.progress import Bar
from memogen.types import InputError

_PIECE = 1 << 18
_PATIENCE = 20.0  # seconds without a byte


@dataclass(frozen=True)
class Remote:
    """A published file: its name, its checksum ("md5:..." or "sha256:...") and the addresses it can be had from, best first."""

    name: str
    checksum: str
    urls: tuple[str, ...]


class _WrongContentError(Exception):
    """All bytes arrived, but they are not the published ones."""


def fetch(remote: Remote, folder: Path, *, wanted_by: str, progress: bool = True) -> Path:
    """The verified file in ``folder``, downloaded if it is not there. InputError when no mirror delivers."""
    target = folder / remote.name
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{remote.name}.lock"):  # of several processes one downloads
            return target if target.exists() else _from_mirrors(remote, target, wanted_by, progress)
    except PermissionError as error:
        raise InputError(f"cache: {folder}: cannot be written ({error.strerror}): give a writable folder in MEMOGEN_CACHE") from error


def _from_mirrors(remote: Remote, target: Path, wanted_by: str, progress: bool) -> Path:
    part, failures = target.with_name(remote.name + ".part"), []
    for url in remote.urls:
        try:
            _from_mirror(url, part, remote, progress)
            return part.replace(target)
        except (OSError, HTTPException, _WrongContentError) as error:
            failures.append(f"{url} ({_reason(error)})")
    raise InputError(
        f"{wanted_by}: {remote.name} could not be downloaded, tried {'; '.join(failures)}: "
        f"go online, or give FOLDER/NAME as data, where FOLDER holds the file"
    )


def _from_mirror(url: str, part: Path, remote: Remote, progress: bool) -> None:
    """Leaves the complete, verified file at ``part``, or raises."""
    while True:
        before = _size(part)
        try:
            _download(url, part, remote.name, progress)
            if matches(part, remote.checksum):
                return
            raise _WrongContentError("its content does not match the published checksum")
        except _WrongContentError:
            part.unlink(missing_ok=True)
            if not before:  # a fresh copy of this mirror is wrong: no use asking it again
                raise
        except (OSError, HTTPException):
            if _size(part) <= before:  # otherwise go on where it broke off
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(url: str, part: Path, name: str, progress: bool) -> None:
    """Appends what is missing to ``part``."""
    have = _size(part)
    headers = {"User-Agent": "memogen"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is missing; the checksum will tell
            return
        raise
    with answer:
        goes_on = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
        if answer.status == 206 and not goes_on:
            part.unlink()
            raise OSError("the server answered with another range than was asked for")
        have = have if goes_on else 0
        missing = int(answer.headers["Content-Length"]) if answer.headers.get("Content-Length") else None
        total = None if missing is None else have + missing
        with part.open("ab" if goes_on else "wb") as file, Bar(shown=progress) as bar:
            bar.stage(name, total, done=have, unit="bytes")
            while piece := answer.read(_PIECE):
                file.write(piece)
                bar.advance(len(piece))
        if total is not None and part.stat().st_size < total:
            raise OSError(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")


def matches(path: Path, checksum: str) -> bool:
    """Whether the file has this "algorithm:hexdigest"."""
    algorithm, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest() == wanted


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    return str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__
