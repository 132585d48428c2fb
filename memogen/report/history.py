"""What a run folder tells about its course: lines of metrics, rows of results, sample grids, and the memory in each checkpoint.

Reading never fails on a run that is half done or was cut off: a line that is no JSON object, or a checkpoint that cannot be read, is left out.
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


@dataclass(frozen=True)
class Run:
    """The readable parts of a run folder. ``config`` is empty where config.yaml is missing; ``samples`` are (step, file), oldest first."""

    path: Path
    config: Entry
    metrics: tuple[Entry, ...]
    results: tuple[ResultRow, ...]
    samples: tuple[tuple[int, Path], ...]

    def setting(self, dotted: str) -> Any:
        """A value of the configuration by its dotted name; None where it is not there."""
        found: Any = self.config
        for name in dotted.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def last(self, key: str) -> float | None:
        """The newest number of a metric; None if there is none."""
        return next((row[key] for row in reversed(self.metrics) if is_number(row.get(key))), None)

    def count(self, key: str) -> int | None:
        """The same for what is counted."""
        found = self.last(key)
        return None if found is None else int(found)


def read_run(path: Path) -> Run:
    """Read a run folder. Raises InputError when there is no such folder or it holds nothing of a run."""
    if not path.is_dir():
        raise InputError(f"run {path}: no such folder: name a folder that memogen train wrote")
    config = read_config(path / "config.yaml")
    parts = (path, *task_folders(path))
    samples = tuple(sorted((step_in(file), file) for part in parts for file in (part / "samples").glob("*.png")))
    metrics = tuple(row for part in parts for row in read_lines(part / "metrics.jsonl"))
    run = Run(path, config, metrics, tuple(read_rows(path / "results.jsonl")), samples)
    if not (config or run.metrics or run.results or samples or (path / "model").is_dir()):
        raise InputError(f"run {path}: holds no config.yaml, metrics.jsonl, samples or model: name a folder that memogen train wrote")
    return run


def task_folders(path: Path) -> tuple[Path, ...]:
    """Those of the tasks of a run that learns tasks one after another, in their order, finished or not."""
    return tuple(sorted((path / "tasks").glob("task-*")))


def read_config(path: Path) -> Entry:
    """A YAML mapping; empty where there is none."""
    try:
        found = parse_yaml(read_regular(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_rows(path: Path) -> list[ResultRow]:
    """The rows of a results file, without lines that are cut off; none where there is no file."""
    return list(map(ResultRow.read, read_lines(path)))


def step_in(path: Path) -> int:
    """The last number in a file's name; -1 where there is none."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1


def series(metrics: tuple[Entry, ...], key: str) -> tuple[list[float], list[float]]:
    """(steps, values) of one metric, where both are numbers."""
    points = [(row["step"], row[key]) for row in metrics if is_number(row.get("step")) and is_number(row.get(key))]
    return [float(step) for step, _ in points], [float(value) for _, value in points]


def speed(metrics: tuple[Entry, ...]) -> tuple[list[float], list[float]]:
    """(steps, images per second) between successive lines; a line written after a restart, with the clock not ahead, is left out."""
    steps, rates = [], []
    counted = [row for row in metrics if all(is_number(row.get(key)) for key in ("step", "images_seen", "seconds"))]
    for before, after in pairwise(counted):
        seconds = after["seconds"] - before["seconds"]
        if seconds > 0 and after["images_seen"] > before["images_seen"]:
            steps.append(float(after["step"]))
            rates.append((after["images_seen"] - before["images_seen"]) / seconds)
    return steps, rates


RANK = "rank_"
"""How the metrics of a sorted prior begin, behind the evaluator's name."""


def priors_logged(metrics: tuple[Entry, ...]) -> list[tuple[int, dict[int, float]]]:
    """(step, {rank: p(c | v = 1)}) of every look at the sorted prior during training."""
    found = []
    for row in metrics:
        ranks = {int(key.rpartition(RANK)[2]): float(value) for key, value in row.items() if f"/{RANK}" in key and is_number(value)}
        if ranks and is_number(row.get("step")):
            found.append((int(row["step"]), dict(sorted(ranks.items()))))
    return found


def is_number(value: object) -> TypeGuard[float]:
    """A finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def protocol_of(row: ResultRow) -> Mapping[str, Any]:
    """How a result row was scored; empty where it does not say."""
    return row.protocol if isinstance(row.protocol, Mapping) else {}


def cut_short(row: ResultRow) -> bool:
    """Whether a result row is of fewer samples than were asked for, since the scoring was stopped."""
    return bool(protocol_of(row).get("interrupted"))


def saved_memories(run: Path) -> tuple[tuple[int, SavedSlots], ...]:
    """(step, memory) of every checkpoint of a run that holds one, oldest first."""
    found = []
    for folder in sorted((run / "checkpoints").glob("step-*"), key=step_in):
        memory = next(filter(None, (_saved_memory(file) for file in sorted(folder.glob("*.safetensors")))), None)
        if memory is not None:
            found.append((step_in(folder), memory))
    return tuple(found)


def _saved_memory(path: Path) -> SavedSlots | None:
    """The memory's four buffers from a safetensors file, whatever the module that holds them is called."""
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            prefix = next((name.removesuffix("memory.mass") for name in sorted(names) if name.endswith("memory.mass")), None)
            parts = [f"{prefix}memory.{part}" for part in ("keys", "values", "mass", "age")]
            return SavedSlots(*(file.get_tensor(part) for part in parts)) if prefix is not None and names.issuperset(parts) else None
    except (OSError, SafetensorError):
        return None
