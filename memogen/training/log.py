"""What a training tells: metrics.jsonl first, train.log, and where wanted TensorBoard and a progress bar."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from memogen.types import InputError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_BAR_EVERY = 0.25  # seconds between refreshes of the bar
_LINE_EVERY = 30.0  # seconds between plain lines, if a tenth of the steps takes longer


class Display(Protocol):
    """Shows how far a training is."""

    def __call__(self, step: int, images_per_second: float) -> None: ...


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
    """Keeps the lines up to ``step``; later ones, and one that was cut off while it was written, go."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if 0 <= _step_of(line) <= step]
    shorter = path.with_suffix(".tmp")
    shorter.write_text("".join(line + "\n" for line in kept))
    os.replace(shorter, path)


def remove_samples(folder: Path, step: int) -> None:
    """Removes the grids of later steps: they show a course that is given up."""
    for path in folder.glob("step-*.png"):
        digits = path.stem.removeprefix("step-")
        if digits.isdecimal() and int(digits) > step:
            path.unlink(missing_ok=True)


@contextmanager
def display(start: int, steps: int, title: str = "training", *, console: bool) -> Iterator[Display]:
    """A bar on a terminal, plain lines elsewhere (both on stderr), or nothing. ``title`` is what is trained."""
    if not console:
        yield lambda step, images_per_second: None
    elif sys.stderr.isatty():
        with _bar(start, steps, title) as bar:
            yield bar
    else:
        yield PlainLines(start, steps, title)


@dataclass
class PlainLines:
    """A line at every tenth of the way, or every half minute."""

    start: int
    steps: int
    title: str = "training"
    begun: float = field(default_factory=time.monotonic)
    last_step: int = -1
    last_time: float = field(default_factory=time.monotonic)

    def __call__(self, step: int, images_per_second: float) -> None:
        now = time.monotonic()
        last = max(self.last_step, self.start)
        if step < self.steps and step * 10 // self.steps == last * 10 // self.steps and now - self.last_time < _LINE_EVERY:
            return
        self.last_step, self.last_time = step, now
        left = (now - self.begun) * (self.steps - step) / max(step - self.start, 1)
        print(f"{self.title}: step {step}/{self.steps}  {images_per_second:.0f} images/s  {_clock(left)} left", file=sys.stderr, flush=True)


@contextmanager
def _bar(start: int, steps: int, title: str) -> Iterator[Display]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description} {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[speed]:.0f} images/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task(title, total=steps, completed=start, speed=0.0)
        shown = 0.0

        def show(step: int, images_per_second: float) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _BAR_EVERY or step == steps:
                progress.update(task, completed=step, speed=images_per_second, refresh=True)
                shown = time.monotonic()

        yield show


def _board(folder: Path, step: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("training.tensorboard is true: tensorboard is not installed: pip install 'memogen[track]', or leave it off") from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _step_of(line: str) -> int:
    """The step of a line of metrics; -1 for a line that is none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
