"""What a training writes down: metrics.jsonl, train.log and, where wanted, TensorBoard."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from memogen.parsing import read_lines
from memogen.types import InputError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class RunLog:
    """The files of one run folder; ``folder`` None (a process that does not lead) writes nothing."""

    folder: Path | None
    board: SummaryWriter | None = None

    def metrics(self, step: int, images_seen: int, seconds: float, values: Mapping[str, float]) -> None:
        """Appends one line to metrics.jsonl; a value that is not finite becomes null."""
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
        """Whether metrics.jsonl holds what evaluators said after ``step``."""
        rows = () if self.folder is None else read_lines(self.folder / "metrics.jsonl")
        return any(row.get("step") == step and any(name.startswith("eval/") for name in row) for row in rows)

    def line(self, text: str) -> None:
        """Appends a dated line to train.log."""
        if self.folder is not None:
            with (self.folder / "train.log").open("a") as file:
                file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")


@contextmanager
def open_log(folder: Path | None, step: int, *, tensorboard: bool) -> Iterator[RunLog]:
    """The log of a run that stands at ``step``: what metrics.jsonl and samples/ hold beyond it goes, for it will be written again."""
    if folder is None:
        yield RunLog(None)
        return
    folder.mkdir(parents=True, exist_ok=True)
    truncate_metrics(folder / "metrics.jsonl", step)
    remove_samples(folder / "samples", step)
    board = _board(folder / "tensorboard", step) if tensorboard else None
    try:
        yield RunLog(folder, board)
    finally:
        if board is not None:
            board.close()


def truncate_metrics(path: Path, step: int) -> None:
    """Keeps the lines up to ``step``; later ones go, and so do damaged ones: a log is never needed to continue."""
    if not path.exists():
        return
    kept = [row for row in read_lines(path) if isinstance(row.get("step"), int) and row["step"] <= step]
    shorter = path.with_suffix(".tmp")
    shorter.write_text("".join(json.dumps(row) + "\n" for row in kept))
    os.replace(shorter, path)


def remove_samples(folder: Path, step: int) -> None:
    """Removes the grids of later steps: they show a course that is given up."""
    for path in folder.glob("step-*.png"):
        digits = path.stem.removeprefix("step-")
        if digits.isdecimal() and int(digits) > step:
            path.unlink(missing_ok=True)


def _board(folder: Path, step: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("training.tensorboard is true: tensorboard is not installed: pip install 'memogen[track]', or leave it off") from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
