"""Reads a run folder: configuration, metrics, result rows, sample grids, and the memory in each checkpoint.

Reading never fails on a run that is unfinished or was cut off: lines that are no JSON objects and unreadable checkpoints are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from safetensors import SafetensorError, safe_open

from memogen.memory.inspect import SavedSlots
from memogen.metrics.rows import ResultRow
from memogen.parsing import parse_yaml, read_lines, read_regular
from memogen.types import InputError

Entry = dict[str, Any]
"""A line of metrics.jsonl, or a configuration."""

RANK = "rank_"
"""The last part of a metric of the sorted prior begins with this; the rank follows."""


@dataclass(frozen=True)
class Run:
    """The readable parts of a run folder. ``config`` is empty without a config.yaml; ``samples`` are (step, file), oldest first."""

    path: Path
    config: Entry
    metrics: tuple[Entry, ...]
    results: tuple[ResultRow, ...]
    samples: tuple[tuple[int, Path], ...]

    def setting(self, dotted: str) -> Any:
        """A value of the configuration by its dotted name, or None."""
        found: Any = self.config
        for name in dotted.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def last(self, key: str) -> float | None:
        """The newest number of a metric, or None."""
        return next((row[key] for row in reversed(self.metrics) if is_number(row.get(key))), None)

    def count(self, key: str) -> int | None:
        """The newest number of a metric that counts, or None."""
        found = self.last(key)
        return None if found is None else int(found)


def read_run(path: Path) -> Run:
    """Read a run folder. Raises InputError if there is no such folder or nothing of a run in it."""
    if not path.is_dir():
        raise InputError(f"run {path}: no such folder: name a folder that memogen train wrote")
    try:
        config = parse_yaml(read_regular(path / "config.yaml"))
    except (OSError, ValueError):
        config = {}
    parts = (path, *task_folders(path))
    samples = tuple(sorted((_step_in(file), file) for part in parts for file in (part / "samples").glob("*.png")))
    metrics = tuple(row for part in parts for row in read_lines(part / "metrics.jsonl"))
    run = Run(path, config if isinstance(config, dict) else {}, metrics, tuple(read_rows(path / "results.jsonl")), samples)
    if not (run.config or run.metrics or run.results or samples or (path / "model").is_dir()):
        raise InputError(f"run {path}: holds no config.yaml, metrics.jsonl, samples or model: name a folder that memogen train wrote")
    return run


def task_folders(path: Path) -> tuple[Path, ...]:
    """The folders of a run's tasks in their order, finished or not; empty for a run without tasks."""
    return tuple(sorted((path / "tasks").glob("task-*")))


def read_rows(path: Path) -> list[ResultRow]:
    """The complete rows of a results file; empty without a file."""
    return list(map(ResultRow.read, read_lines(path)))


def _step_in(path: Path) -> int:
    """The last number in a file's name, or -1."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1


def series(metrics: tuple[Entry, ...], key: str) -> tuple[list[float], list[float]]:
    """(steps, values) of a metric."""
    points = [(row["step"], row[key]) for row in metrics if is_number(row.get("step")) and is_number(row.get(key))]
    return [float(step) for step, _ in points], [float(value) for _, value in points]


def speed(metrics: tuple[Entry, ...]) -> tuple[list[float], list[float]]:
    """(steps, images per second) between successive lines. A line after a restart, whose clock is not ahead, is left out."""
    steps, rates = [], []
    counted = [row for row in metrics if all(is_number(row.get(key)) for key in ("step", "images_seen", "seconds"))]
    for before, after in pairwise(counted):
        seconds = after["seconds"] - before["seconds"]
        if seconds > 0 and after["images_seen"] > before["images_seen"]:
            steps.append(float(after["step"]))
            rates.append((after["images_seen"] - before["images_seen"]) / seconds)
    return steps, rates


def priors_logged(metrics: tuple[Entry, ...]) -> list[tuple[int, dict[int, float]]]:
    """(step, {rank: p(c | v = 1)}) of every evaluation of the sorted prior."""
    found = []
    for row in metrics:
        ranks = {int(key.rpartition(RANK)[2]): float(value) for key, value in row.items() if f"/{RANK}" in key and is_number(value)}
        if ranks and is_number(row.get("step")):
            found.append((int(row["step"]), dict(sorted(ranks.items()))))
    return found


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number, and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def protocol_of(row: ResultRow) -> Mapping[str, Any]:
    """How a result row was scored; empty if it does not say."""
    return row.protocol if isinstance(row.protocol, Mapping) else {}


def cut_short(row: ResultRow) -> bool:
    """Whether a result row has fewer samples than were asked for, because the scoring was stopped."""
    return bool(protocol_of(row).get("interrupted"))


def saved_memories(run: Path) -> tuple[tuple[int, SavedSlots], ...]:
    """(step, memory) of every checkpoint that holds one, oldest first."""
    found = []
    for folder in sorted((run / "checkpoints").glob("step-*"), key=_step_in):
        memory = next(filter(None, (_saved_memory(file) for file in sorted(folder.glob("*.safetensors")))), None)
        if memory is not None:
            found.append((_step_in(folder), memory))
    return tuple(found)


def _saved_memory(path: Path) -> SavedSlots | None:
    """The memory's four buffers from a safetensors file, under any module name."""
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            prefix = next((name.removesuffix("memory.mass") for name in sorted(names) if name.endswith("memory.mass")), None)
            parts = [f"{prefix}memory.{part}" for part in ("keys", "values", "mass", "age")]
            return SavedSlots(*(file.get_tensor(part) for part in parts)) if prefix is not None and names.issuperset(parts) else None
    except (OSError, SafetensorError):
        return None
