"""The cache: a data set's pixels as one memory-mapped array, built once and opened in milliseconds.

A cache folder holds image.npy, label.npy (where there are labels), report.txt, report.json and cache.json. It is written under another name and
renamed when complete: a folder of the right name is whole, even after an interruption. At every opening its size, header, labels and a few
blocks of its pixels are compared with what was written; ``data check`` compares all pixels. A damaged cache is removed and built anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from memogen.data.arrays import digest as data_digest
from memogen.data.findings import Tally
from memogen.data.source import Contents, Source, counted
from memogen.errors import printable
from memogen.parsing import parse_json, read_regular
from memogen.progress import Bar
from memogen.types import ImageData, InputError

DTYPES = ("|u1", "<f4")  # images, and real vectors
_HEADER_BYTES = 128
_BLOCK, _BLOCKS = 1 << 16, 64  # bytes, and how many blocks are compared at an opening: up to 4 MiB all of them
_ABANDONED = 24 * 3600.0  # seconds after which an unfinished cache belongs to a process that is gone


def cache_root(cache: Path | None = None) -> Path:
    """The folder for caches and downloads: ``cache``, else $MEMOGEN_CACHE, else the platform's place for caches."""
    if cache is not None or os.environ.get("MEMOGEN_CACHE"):
        return Path(cache or os.environ["MEMOGEN_CACHE"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "memogen"
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "memogen"


def cached(source: Source, root: Path, *, progress: bool = True) -> ImageData:
    """The data of a source, from its cache, which is built if it is not there."""
    folder = root / "images" / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', source.name)}-{source.split}-{source.fingerprint[:16]}"
    if data := _opened(folder):
        return data
    with _locked(folder):
        data = _opened(folder)  # another process may have built it in the meantime
        if data is None:
            with _being_built(folder) as part:
                _build(source, part, progress)
            data = _opened(folder)
    if data is None:
        raise InputError(f"cache: {folder}: cannot be read back after it was written: check the disk, or give another folder in MEMOGEN_CACHE")
    return data


class _DamagedError(Exception):
    """A cache that is not as it was written; the message says what differs."""


def _opened(folder: Path) -> ImageData | None:
    """The cached data; None when they are missing or damaged."""
    try:
        return _read(folder)
    except _DamagedError:
        return None


def _read(folder: Path) -> ImageData | None:
    """The cached data; None when they are missing. Raises _DamagedError."""
    if not folder.exists():
        return None
    facts = _facts(folder)
    shape, path = tuple(facts["shape"]), folder / "image.npy"
    try:
        if path.stat().st_size != _HEADER_BYTES + math.prod(shape) * np.dtype(facts["dtype"]).itemsize:
            raise _DamagedError("image.npy has another size")
        with path.open("rb") as file:
            if file.read(_HEADER_BYTES) != _npy_header(shape, facts["dtype"]):
                raise _DamagedError("image.npy has another header")
        if _blocks(path) != facts["blocks"]:
            raise _DamagedError("image.npy holds other pixels")
        image = np.load(path, mmap_mode="r", allow_pickle=False)
        label = None
        if facts["labels"]:
            content = (folder / "label.npy").read_bytes()
            if hashlib.sha256(content).hexdigest() != facts["labels"]:
                raise _DamagedError("label.npy holds other labels")
            label = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, MemoryError) as error:
        raise _DamagedError(f"{str(error) or type(error).__name__}") from error
    if label is not None and label.shape != shape[:1]:
        raise _DamagedError("label.npy has another size")
    return ImageData(image, label, tuple(facts["classes"]), facts["name"], facts["split"], facts["digest"])


_KINDS = {"name": str, "split": str, "classes": list, "shape": list, "dtype": str, "digest": str, "labels": str, "blocks": int, "place": str}


def _facts(folder: Path) -> dict[str, Any]:
    """The content of cache.json. Raises _DamagedError where it is of another shape."""
    try:
        facts = parse_json(read_regular(folder / "cache.json"))
    except (OSError, ValueError) as error:
        raise _DamagedError("cache.json cannot be read") from error
    if not isinstance(facts, dict) or any(type(facts.get(name)) is not kind for name, kind in _KINDS.items()):
        raise _DamagedError("cache.json has another shape")
    whole = all(type(side) is int and side > 0 for side in facts["shape"]) and len(facts["shape"]) == 4
    if not whole or facts["dtype"] not in DTYPES or not all(isinstance(name, str) for name in facts["classes"]):
        raise _DamagedError("cache.json has another shape")
    if facts.get("seal") != _seal(facts):
        raise _DamagedError("cache.json holds other facts")
    return facts


def _seal(facts: dict[str, Any]) -> str:
    """A digest of all other facts."""
    others = {name: fact for name, fact in facts.items() if name != "seal"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _blocks(path: Path) -> int:
    """A checksum of some blocks of a file, evenly spaced, with the first and the last."""
    size, check = path.stat().st_size, 0
    last = max(0, -(-size // _BLOCK) - 1)
    places = sorted({round(last * part / (_BLOCKS - 1)) for part in range(_BLOCKS)})
    with path.open("rb", buffering=0) as file:
        for place in places:
            file.seek(place * _BLOCK)
            check = zlib.crc32(file.read(_BLOCK), check)
    return check


def damaged_caches(root: Path, place: str, split: str) -> tuple[str, ...]:
    """Reads the caches of a split of the images at ``place`` to their ends, removes those that are damaged, and says so, a line each."""
    told = []
    for folder in sorted((root / "images").glob("[!.]*")):
        try:
            facts = _facts(folder)
            if (facts["place"], facts["split"]) != (place, split):
                continue
            data = _read(folder)
            if data is not None and data_digest(data.image, data.label) != data.digest:
                raise _DamagedError("image.npy holds other pixels")
        except _DamagedError as error:
            if _place_in(folder) == place:
                shutil.rmtree(folder, ignore_errors=True)
                told.append(f"cache: {printable(str(folder))}: damaged ({error}), removed: the next run builds it anew")
    return tuple(told)


def _place_in(folder: Path) -> object:
    """The place of the images of a damaged cache, if its cache.json can still be read."""
    try:
        facts = parse_json(read_regular(folder / "cache.json"))
    except (OSError, ValueError):
        return None
    return facts.get("place") if isinstance(facts, dict) else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One of several processes builds a cache while the others wait. InputError where nothing can be written."""
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise InputError(f"cache: {folder.parent}: cannot be written ({error.strerror}): give a writable folder in MEMOGEN_CACHE") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _being_built(folder: Path) -> Iterator[Path]:
    """A folder to write in, which gets its final name at the end; after an error nothing is left."""
    _sweep(folder)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        os.chmod(part, 0o755)
        try:
            part.rename(folder)
        except OSError:
            if _opened(folder) is None:  # otherwise another process has finished the same cache, which stays
                raise
    except OSError as error:
        raise InputError(f"cache: {folder}: could not be written ({error}): make room, or give another folder in MEMOGEN_CACHE") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what killed processes left unfinished, and a damaged cache of this name."""
    for part in folder.parent.glob(f".{folder.name}.*"):
        if part.is_dir() and time.time() - part.stat().st_mtime > _ABANDONED:
            shutil.rmtree(part, ignore_errors=True)
    try:
        _read(folder)
    except _DamagedError as error:
        print(f"cache: {printable(str(folder))}: damaged ({error}): built anew", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)


def _build(source: Source, part: Path, progress: bool) -> None:
    tally = Tally()
    try:
        contents = source.open(tally, progress)
        facts = _write_images(contents, source.name, part, tally, progress)
    except InputError:
        if tally.kept == 0 and not tally.report(source.place).clean:  # the reasons belong to the refusal
            print(tally.report(source.place).text(), file=sys.stderr)
        raise
    report = tally.report(source.place)
    (part / "report.txt").write_text(report.text() + "\n", encoding="utf-8", errors="backslashreplace")
    (part / "report.json").write_text(report.json() + "\n", encoding="utf-8")
    if progress or not report.clean:
        print(report.text(), file=sys.stderr)
    facts |= {"name": source.name, "split": source.split, "classes": list(contents.classes), "place": source.place, "fingerprint": source.fingerprint}
    facts["seal"] = _seal(facts)
    (part / "cache.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _write_images(contents: Contents, name: str, part: Path, tally: Tally, progress: bool) -> dict[str, Any]:
    """Streams the pixels to image.npy; returns shape, dtype, digest of pixels and labels, and checksums of the files."""
    hasher, labels = hashlib.sha256(), []
    with (part / "image.npy").open("wb") as file, Bar(shown=progress) as bar:
        bar.stage(f"caching {name}", contents.total)
        file.write(bytes(_HEADER_BYTES))  # no valid array until the count is known
        for image, label in counted(contents, tally):
            pixels = np.ascontiguousarray(image, DTYPES[contents.real]).data
            file.write(pixels)
            hasher.update(pixels)
            labels += [] if label is None else [label]
            bar.advance(len(image))
        shape = (tally.kept, *contents.shape)
        file.seek(0)
        file.write(_npy_header(shape, DTYPES[contents.real]))
        file.flush()
        os.fsync(file.fileno())
    if not tally.kept:
        raise InputError(f"data: {name}: none of its images can be used, for the reasons above: mend or replace them")
    if labels:
        label = np.concatenate(labels)
        np.save(part / "label.npy", label)
        hasher.update(np.ascontiguousarray(label, "<i8").data)
    check = hashlib.sha256((part / "label.npy").read_bytes()).hexdigest() if labels else ""
    facts = {"shape": list(shape), "dtype": DTYPES[contents.real], "digest": hasher.hexdigest()}
    return {**facts, "labels": check, "blocks": _blocks(part / "image.npy")}


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """A header of fixed length (format 1.0), so that it can be written after the data."""
    words = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode("latin-1")
    length = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + words.ljust(length - 1) + b"\n"
