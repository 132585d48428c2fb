"""A progress bar with the rate and the time left, on standard error and only on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

LONG = 2000  # images of a stage that is worth a line in a log


class Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")


class Bar:
    """``with Bar() as bar``: name each stage and its length, then advance it. Where standard error is no terminal, a line names each long stage.

    ``where`` says in words how far the work is, also while nothing is shown.
    """

    def __init__(self, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not (shown and sys.stderr.isatty()))
        self._task = self._progress.add_task("", total=None)
        self._name, self._done, self._total = "", 0, 0
        self._told = shown and not sys.stderr.isatty()

    def stage(self, name: str, total: int) -> None:
        """Begin the next part of the work."""
        self._progress.reset(self._task, description=name, total=total)
        self._name, self._done, self._total = name, 0, total
        if self._told and total >= LONG:
            print(f"{name}: {total:,}", file=sys.stderr, flush=True)

    def advance(self, num: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, num)
        self._done += num

    @property
    def where(self) -> str:
        """The stage and how much of it is done; empty before the first."""
        return f"{self._name}, {self._done:,} of {self._total:,}" if self._name else ""

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
