"""Result rows: one number with what made it, as a line of results.jsonl."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memogen import __version__
from memogen.types import InputError

if TYPE_CHECKING:
    from memogen.metrics.extractors import Extractor


@dataclass(frozen=True, eq=False)
class ResultRow(Mapping[str, Any]):
    """One number. Fields that the row does not have are None.

    ``protocol`` says how it was measured, ``paper`` is the number that a paper printed; ``seed`` is that of the training, ``config`` names its
    configuration. ``data`` and ``weights`` are digests, of the training images and of the scored model's file. ``seconds`` is the time since the
    scoring began. ``extra`` holds other names. As a mapping, the row has the names of its JSON, with "class" for ``class_``, only those ``given``,
    in their order.
    """

    recipe: str | None = None
    seed: int | None = None
    budget: str | None = None
    config: str | None = None
    steps: int | None = None
    images: int | None = None
    training_seconds: float | None = None
    processor_seconds: float | None = None
    data: str | None = None
    parameters: Mapping[str, int] | None = None
    weights: str | None = None
    command: str | None = None
    variant: str | None = None
    metric: str | None = None
    value: float | None = None
    spread: float | None = None
    protocol: Mapping[str, Any] | None = None
    split: str | None = None
    task: int | None = None
    class_: int | None = None
    device: str | None = None
    hardware: str | None = None
    date: str | None = None
    version: str | None = None
    commit: str | None = None
    seconds: float | None = None
    paper: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[str, ...] = ()

    @classmethod
    def read(cls, mapping: Mapping[str, Any]) -> ResultRow:
        """A row from its JSON. Names that are no fields, and values of another type than the field's, as of other versions, go to ``extra``."""
        if isinstance(mapping, ResultRow):
            return mapping
        own = {name: value for name, value in mapping.items() if name in _FIELDS and (value is None or isinstance(value, _KINDS[name]))}
        extra = {name: value for name, value in mapping.items() if name not in own}
        return cls(**{_FIELDS[name]: value for name, value in own.items()}, extra=extra, given=tuple(mapping))

    def to_json(self) -> dict[str, Any]:
        """The row's JSON, equal to what :meth:`read` was given."""
        return {name: self[name] for name in self.given}

    def but(self, **changes: Any) -> ResultRow:
        """The row with other values, by their names in JSON (``class_`` for "class"); new names come last."""
        return ResultRow.read({**self, **{"class" if name == "class_" else name: value for name, value in changes.items()}})

    def __getitem__(self, name: str) -> Any:
        if name not in self.given:
            raise KeyError(name)
        return self.extra[name] if name in self.extra else getattr(self, _FIELDS[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)


_FIELDS = {part.name.rstrip("_"): part.name for part in fields(ResultRow) if part.name not in ("extra", "given")}  # by their names in JSON
_NUMBERS = ("value", "spread", "paper", "seconds", "training_seconds", "processor_seconds")
_KINDS: dict[str, Any] = (
    dict.fromkeys(_FIELDS, str)
    | dict.fromkeys(_NUMBERS, (int, float))
    | dict.fromkeys(("seed", "steps", "images", "task", "class"), int)
    | dict.fromkeys(("protocol", "parameters"), Mapping)
)


def made(device: torch.device) -> dict[str, Any]:
    """What every row says about its making: the kind of device, the machine, the day (UTC), the program's version and commit."""
    day = datetime.now(UTC).date().isoformat()
    return {"device": device.type, "hardware": hardware(device), "date": day, "version": __version__, "commit": commit()}


@cache
def commit() -> str | None:
    """The commit of the running program, with a "+" if its files have changed since; None if it does not run from a repository."""
    folder = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an installed package may lie inside another repository
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


UNSEEN: dict[str, Any] = {"extractor": None, "extractor_accuracy": None, "resize": "none"}
"""The protocol's entries for a number without an extractor."""


def judged(extractor: Extractor) -> dict[str, Any]:
    """The protocol's entries for a number with this extractor."""
    return {"extractor": extractor.version, "extractor_accuracy": extractor.accuracy, "resize": extractor.resize}


def hardware(device: torch.device) -> str:
    """The name of the GPU; or that of the CPU, and the number of torch's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


def _processor(listing: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's name from the kernel's list, or else from Python."""
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine() or "CPU"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped a scoring. ``rows`` holds the numbers so far: append them, then raise again. ``where`` names the stage.

    The protocol of a row over fewer samples than requested has their true number and ``interrupted``.
    """

    def __init__(self, rows: list[ResultRow], where: str = "") -> None:
        kept = f"{len(rows)} score{'s' * (len(rows) > 1)} of what was seen until then" if rows else "no score was finished"
        super().__init__(f"scoring stopped{' at ' if where else ''}{where}; {kept}")
        self.rows = rows


class ScoringError(InputError):
    """One of several metrics could not be computed; ``rows`` holds the numbers before it."""

    def __init__(self, error: InputError, rows: list[ResultRow]) -> None:
        super().__init__(str(error))
        self.rows = rows


def append_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows to a JSONL file in one write, so that other processes see all of them or none; flushed to disk."""
    text = "".join(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is not a regular file: name a file to append rows to")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # an earlier write was cut off: lose only that row
                text = "\n" + text
    with open(path, "ab", buffering=0) as file:
        file.write(text.encode())
        os.fsync(file.fileno())
