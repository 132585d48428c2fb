"""The progress of long work: a bar on a terminal, else plain lines, both on standard error with the rate and the time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LONG = 2000
"""A stage of at least so many images, steps or bytes writes lines to a log."""

_REFRESH = 0.25  # seconds between two states of the bar
_LINE = 30.0  # most seconds between lines
_PAUSE = 5.0  # fewest seconds between lines; in between, a line for each tenth of the work


class Bar:
    """``with Bar() as bar``: begin a stage with its length, then advance it. ``where`` says how far the work is, even if nothing is shown."""

    def __init__(self, *, shown: bool = True) -> None:
        terminal = sys.stderr.isatty()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[status]}", markup=False))
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False, disable=not (shown and terminal))
        self._task = self._progress.add_task("", total=None, status="")
        self._prints = shown and not terminal
        self.stage("", 0)

    def stage(
        self, name: str, total: int | None, *, done: int = 0, unit: str = "", rate: tuple[int, str] = (1, ""), lines: bool | None = None
    ) -> None:
        """Begin the next part of the work, ``done`` of ``total`` items; ``total`` None if it is not known.

        ``unit`` is what is counted; "bytes" are shown as megabytes. ``rate`` is what one item counts for in the shown rate, such as (64, " images")
        for a step. ``lines``: whether to write lines to a log; by default if there are :data:`LONG` items.
        """
        self._name, self._total, self._first, self._done, self._unit, self._each = name, total, done, done, unit, rate
        self._begun = self._shown_at = time.monotonic()
        self._lines = self._prints and ((total or 0) >= LONG if lines is None else lines)
        self._progress.reset(self._task, description=name, total=total, completed=done, status=self.where if name else "")
        if self._lines:
            self._line(self._counts())

    def advance(self, num: int) -> None:
        """``num`` more items are done."""
        before, self._done, now = self._done, self._done + num, time.monotonic()
        over = self._total is not None and self._done >= self._total
        if not self._progress.disable and (over or now - self._shown_at >= _REFRESH):
            self._progress.update(self._task, completed=self._done, status=f"{self._counts()}  {self._speed(now)}", refresh=True)
            self._shown_at = now
        elif self._lines and now - self._shown_at >= _PAUSE:
            tenth = self._total is not None and before * 10 // self._total != self._done * 10 // self._total
            if tenth or now - self._shown_at >= _LINE:
                self._line(f"{self._counts()}  {self._speed(now)}")
                self._shown_at = now

    @property
    def where(self) -> str:
        """The stage and how much of it is done; empty before the first."""
        return f"{self._name}, {self._counts()}" if self._name else ""

    def _line(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)

    def _counts(self) -> str:
        if self._unit == "bytes":
            done, total, unit = f"{self._done / 1e6:,.1f}", f"{(self._total or 0) / 1e6:,.1f}", " MB"
        else:
            done, total, unit = f"{self._done:,}", f"{self._total or 0:,}", f" {self._unit}" if self._unit else ""
        return f"{done}{unit}" if self._total is None else f"{done} of {total}{unit}"

    def _speed(self, now: float) -> str:
        """The rate since the stage began and, where the end is known, the time left."""
        passed, num = now - self._begun, self._done - self._first
        if passed <= 0 or num <= 0:
            return ""
        each, what = self._each
        speed = num * each / passed
        rate = f"{speed / 1e6:,.1f} MB/s" if self._unit == "bytes" else f"{speed:,.0f}{what}/s" if speed >= 10 else f"{speed:.2g}{what}/s"
        return rate if self._total is None else f"{rate}  {_clock(passed * max(self._total - self._done, 0) / num)} left"

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
