"""A run folder describes one run at every moment: one command at a time works in it, and a fresh start begins with an empty one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..training.checkpoint import checkpoints
from ..types import InputError
from .rows import leads

_LOCK = ".lock"


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Within, no other command works in the folder, which is made where it does not exist. Raises InputError where one does.

    Of several processes of one training the leading one holds the lock for all.
    """
    if not leads():
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file: name another folder for the run")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder}: another command is using this run folder: wait until it ends, or name another folder") from error
    try:
        yield
    finally:
        lock.release()
        (folder / _LOCK).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # refused before anything was written


def set_aside(folder: Path, *, console: bool = True) -> Path | None:
    """Move what a run left in ``folder`` to a new name beside it, in one step, so that a fresh start finds nothing; None where there is nothing.

    The folder must not be :func:`occupied` by this process.
    """
    if not leads() or not folder.is_dir() or not any(folder.iterdir()):
        return None
    with occupied(folder):
        number = next(n for n in range(1, 1 << 30) if not folder.with_name(f"{folder.name}.{n}").exists())
        aside = folder.rename(folder.with_name(f"{folder.name}.{number}"))
        (aside / _LOCK).unlink(missing_ok=True)
    if console:
        print(f"{folder}: moved the earlier run to {aside}", file=sys.stderr)
    return aside


def begun(folder: Path) -> bool:
    """Whether a training has saved a checkpoint here, of a single run or of its tasks."""
    return bool(checkpoints(folder)) or any(checkpoints(task) for task in folder.glob("tasks/*"))
