"""The cache: a data set's pixels as one memory-mapped array, built once and opened in milliseconds.

A cache folder holds image.npy, label.npy (where there are labels), report.txt, report.json and cache.json. It is written under another name and
renamed when complete, so what has the right name is whole, whenever the writing was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from memogen.data.findings import DataReport, Tally
from memogen.data.progress import bar
from memogen.data.source import Contents, Source, counted
from memogen.types import ImageData, InputError

DTYPES = ("|u1", "<f4")  # images, and real vectors
_HEADER_BYTES = 128
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
        data = _opened(folder)  # another process may have built it while we waited
        if data is None:
            with _being_built(folder) as part:
                _build(source, part, progress)
            data = _opened(folder)
    if data is None:
        raise InputError(f"cache: {folder}: cannot be read back after it was written: check the disk, or give another folder in MEMOGEN_CACHE")
    return data


def _opened(folder: Path) -> ImageData | None:
    """The cached data; None when it is missing or its files are not as they were written."""
    try:
        facts = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        image = np.load(folder / "image.npy", mmap_mode="r", allow_pickle=False)
        label = np.load(folder / "label.npy", allow_pickle=False) if facts["labelled"] else None
    except (OSError, ValueError, KeyError):
        return None
    if list(image.shape) != facts["shape"] or image.dtype.str not in DTYPES or (label is not None and len(label) != len(image)):
        return None
    return ImageData(image, label, tuple(facts["classes"]), facts["name"], facts["split"], facts["digest"])


def report_of(source: Source, root: Path) -> str:
    """The text that was written when the source's cache was built; empty when there is none."""
    found = list((root / "images").glob(f"*-{source.fingerprint[:16]}/report.txt"))
    return found[0].read_text(encoding="utf-8") if found else ""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process of several builds a cache, the others wait. InputError where nothing can be written."""
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
    """A folder to write in, which gets the right name at the end; after an error nothing is left."""
    _sweep(folder)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        _rename(part, folder)
    except OSError as error:
        raise InputError(f"cache: {folder}: could not be written ({error}): make room, or give another folder in MEMOGEN_CACHE") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what killed processes left unfinished, and a damaged cache of this name."""
    for part in folder.parent.glob(f".{folder.name}.*"):
        if part.is_dir() and time.time() - part.stat().st_mtime > _ABANDONED:
            shutil.rmtree(part, ignore_errors=True)
    if folder.exists() and _opened(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)


def _rename(part: Path, folder: Path) -> None:
    """Another process may have finished the same cache in the meantime: then its copy stays."""
    os.chmod(part, 0o755)
    try:
        part.rename(folder)
    except OSError:
        if _opened(folder) is None:
            raise


def _build(source: Source, part: Path, progress: bool) -> None:
    tally = Tally()
    try:
        contents = source.open(tally, progress)
        shape, labelled, digest = _write_images(contents, source.name, part, tally, progress)
    except InputError:
        if tally.kept == 0 and not tally.report(source.place).clean:  # the reasons belong to the refusal
            print(tally.report(source.place).text(), file=sys.stderr)
        raise
    report = tally.report(source.place)
    _write_report(report, part, progress)
    facts: dict[str, Any] = {"name": source.name, "split": source.split, "classes": contents.classes, "shape": shape, "labelled": labelled}
    facts |= {"digest": digest, "place": source.place, "fingerprint": source.fingerprint}
    (part / "cache.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _write_images(contents: Contents, name: str, part: Path, tally: Tally, progress: bool) -> tuple[tuple[int, ...], bool, str]:
    """Streams the pixels to image.npy: (shape, whether there are labels, digest)."""
    hasher, labels = hashlib.sha256(), []
    with (part / "image.npy").open("wb") as file, bar(f"caching {name}", contents.total, shown=progress) as advance:
        file.write(bytes(_HEADER_BYTES))  # no valid array until the count is known
        for image, label in counted(contents, tally):
            pixels = np.ascontiguousarray(image, DTYPES[contents.real]).data
            file.write(pixels)
            hasher.update(pixels)
            labels += [] if label is None else [label]
            advance(len(image))
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
    return shape, bool(labels), hasher.hexdigest()


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """A header of fixed length (format 1.0), so that it can be written after the data."""
    words = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode("latin-1")
    length = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + words.ljust(length - 1) + b"\n"


def _write_report(report: DataReport, part: Path, progress: bool) -> None:
    (part / "report.txt").write_text(report.text() + "\n", encoding="utf-8", errors="backslashreplace")
    (part / "report.json").write_text(report.json() + "\n", encoding="utf-8")
    if progress or not report.clean:
        print(report.text(), file=sys.stderr)
