"""What a training measures and writes: loss terms that wait on the device, metrics.jsonl, train.log and, if asked for, TensorBoard."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from memogen.parsing import read_lines
from memogen.types import InputError, Loss

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_MOST = 4096  # scalars that wait on the device at most


class NonFiniteLoss(RuntimeError):  # noqa: N818  (reads as what it says)
    """A loss became infinite or NaN at ``step``, in ``term``. The last good checkpoint, if any, is untouched and named."""

    def __init__(self, step: int, term: str, note: str = "") -> None:
        super().__init__(f"step {step}: {term} is not finite{note}")
        self.step, self.term = step, term


@dataclass(frozen=True)
class Scalar:
    """One number of one step. It must be finite if ``must``."""

    step: int
    name: str
    value: Tensor
    must: bool


@dataclass
class Window:
    """The numbers since the last line of metrics. They wait on the device until :meth:`look`, so that no step waits for them.

    ``sums`` maps a name to [sum, count] of the numbers that are on the host; ``waiting`` holds the others.
    """

    sums: dict[str, list[float]] = field(default_factory=dict)
    waiting: list[Scalar] = field(default_factory=list)

    def add(self, step: int, phase: str, values: Mapping[str, Tensor], *, must: bool = False) -> None:
        """Keep scalars of a phase in step ``step`` (from 1): the terms of its loss, which ``must`` be finite, or what a commit reports."""
        self.waiting += [Scalar(step, f"{phase}/{name}", value.detach(), must) for name, value in values.items()]

    @property
    def full(self) -> bool:
        return len(self.waiting) >= _MOST

    def look(self, merge: Callable[[Tensor], Tensor]) -> None:
        """Bring the waiting scalars to the host; ``merge`` takes their mean over the processes. Raises NonFiniteLoss for the first bad one."""
        if not self.waiting:
            return
        seen, self.waiting = self.waiting, []
        values = merge(torch.stack(alike([one.value for one in seen])).cpu().double()).tolist()
        for one, value in zip(seen, values, strict=True):
            if one.must and not math.isfinite(value):
                raise NonFiniteLoss(one.step, one.name)
            total = self.sums.setdefault(one.name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def close(self) -> dict[str, float]:
        """The mean of each number, in the order first seen. The window is empty afterwards."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def terms_of(loss: Loss) -> dict[str, Tensor]:
    """The total and the terms of a loss, without gradients."""
    return {"total": loss.total.detach(), **{name: value.detach() for name, value in loss.terms.items()}}


def alike(values: list[Tensor]) -> list[Tensor]:
    """The scalars on one device and in one type, at least float32, ready to be stacked."""
    device, dtype = values[0].device, torch.promote_types(values[0].dtype, torch.float32)
    return [value.to(device, dtype).reshape(()) for value in values]


@dataclass(frozen=True)
class RunLog:
    """The log files of one run folder. With ``folder`` None (any process but the leading one) nothing is written."""

    folder: Path | None
    board: SummaryWriter | None = None

    def metrics(self, step: int, images_seen: int, seconds: float, values: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl. A value that is not finite becomes null."""
        if self.folder is None:
            return
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        row = {"step": step, "images_seen": images_seen, "seconds": round(seconds, 3), **plain}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def scored(self, step: int) -> bool:
        """Whether metrics.jsonl holds the evaluators' scores after ``step``."""
        rows = () if self.folder is None else read_lines(self.folder / "metrics.jsonl")
        return any(row.get("step") == step and any(name.startswith("eval/") for name in row) for row in rows)

    def line(self, text: str) -> None:
        """Append a dated line to train.log."""
        if self.folder is not None:
            with (self.folder / "train.log").open("a") as file:
                file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")


@contextmanager
def open_log(folder: Path | None, step: int, *, tensorboard: bool) -> Iterator[RunLog]:
    """The log of a run that continues from ``step``. Lines of metrics.jsonl and grids in samples/ of later steps are removed: they come again."""
    if folder is None:
        yield RunLog(None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    truncate_metrics(folder / "metrics.jsonl", step)
    for path in (folder / "samples").glob("step-*.png"):
        digits = path.stem.removeprefix("step-")
        if digits.isdecimal() and int(digits) > step:
            path.unlink(missing_ok=True)
    board = board_class()(str(folder / "tensorboard"), purge_step=step + 1 if step else None) if tensorboard else None
    try:
        yield RunLog(folder, board)
    finally:
        if board is not None:
            board.close()


def board_class() -> type[SummaryWriter]:
    """TensorBoard's writer. Raises InputError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("training.tensorboard is true: tensorboard is not installed: pip install 'memogen[track]', or leave it off") from error
    return SummaryWriter


def truncate_metrics(path: Path, step: int) -> None:
    """Keep the lines up to ``step``. Damaged lines go as well: a training never needs the log to continue."""
    if not path.exists():
        return
    kept = [row for row in read_lines(path) if isinstance(row.get("step"), int) and row["step"] <= step]
    shorter = path.with_suffix(".tmp")
    shorter.write_text("".join(json.dumps(row) + "\n" for row in kept))
    os.replace(shorter, path)
