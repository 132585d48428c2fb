"""How the work of a scoring goes on: by which processes, shown by which bar, until which wish to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType, TracebackType

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch import Tensor

# --- processes ---
# Several processes that score together: each takes its part of the images, and all of them see all rows in the order of the images.


@dataclass(frozen=True)
class Turn:
    """One process's part of one round: images ``start`` to ``start + num - 1``. ``counts`` says how many images of the round each process has."""

    start: int
    num: int
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is; one alone by default. Calls must be made on every process, in the same order.

    All of them get the same scores; ``leads`` says which one is to print and write them.
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def joined(cls) -> Processes:
        """Those of ``torch.distributed`` where it has been started, else one alone."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else cls()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def turns(self, num: int, size: int) -> Iterator[Turn]:
        """Rounds over images 0 to num - 1, up to ``size`` images for each process in a round.

        A process that has none left in the last round takes the last image again; :meth:`gather` leaves it out.
        """
        for first in range(0, num, size * self.world_size):
            counts = tuple(min(size, max(0, num - first - rank * size)) for rank in range(self.world_size))
            own = counts[self.rank]
            yield Turn(first + self.rank * size if own else num - 1, own or 1, counts)

    def gather(self, rows: Shaped[Tensor, "b ..."], turn: Turn) -> Shaped[Tensor, "n ..."]:
        """The rows of all processes in this round, in the order of the images; among several processes they come back on the CPU."""
        if self.world_size == 1:
            return rows
        size = max(turn.counts)
        own = rows.detach().to(_meeting_place())[: turn.counts[self.rank]]
        padded = torch.cat([own, own.new_zeros(size - len(own), *own.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, turn.counts, strict=True)]).cpu()

    def any(self, flag: bool) -> bool:
        """True on every process as soon as it is true on one."""
        if self.world_size == 1:
            return flag
        told = torch.tensor(float(flag), device=_meeting_place())
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told)


@contextmanager
def launched() -> Iterator[Processes]:
    """The processes that torchrun or accelerate launched, joined within; one alone where none were, or those that are joined already."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield Processes.joined()
        return
    dist.init_process_group("gloo")
    try:
        yield Processes.joined()
        dist.barrier()  # nobody leaves while another still writes
    finally:
        dist.destroy_process_group()


def _meeting_place() -> torch.device:
    """Where rows are exchanged: the CPU, unless the processes were joined by NCCL alone, which knows only CUDA."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


# --- a bar ---
# A progress bar with the rate and the time left, on standard error and only on a terminal.


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


# --- the work ---


@dataclass
class Stop:
    """A wish to stop. It raises KeyboardInterrupt at once; within :meth:`held` it waits until somebody looks at it, and a second one kills."""

    made: bool = False
    waits: bool = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
        if self.waits and self.made:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.made = True
        self.look()

    def look(self) -> None:
        """Raises KeyboardInterrupt where a wish was made and nothing holds it."""
        if self.made and not self.waits:
            raise KeyboardInterrupt

    @contextmanager
    def held(self, really: bool = True) -> Iterator[None]:
        """Within, nothing is torn apart."""
        before, self.waits = self.waits, self.waits or really
        try:
            yield
        finally:
            self.waits = before


@contextmanager
def stopping() -> Iterator[Stop]:
    """Within, Ctrl-C and SIGTERM make this wish. A signal that somebody else listens for, such as a training that this is part of, stays theirs."""
    stop, own = Stop(), (signal.SIG_DFL, signal.default_int_handler)
    main = threading.current_thread() is threading.main_thread()  # signals belong to it
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if main and signal.getsignal(number) in own}
    for number in found:
        signal.signal(number, stop.ask)
    try:
        yield stop
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Work:
    """One process alone, unseen and never stopped, unless told otherwise."""

    processes: Processes = field(default_factory=Processes)
    bar: Bar = field(default_factory=lambda: Bar(shown=False))
    stop: Stop = field(default_factory=Stop)

    def rounds(self, name: str, num: int, size: int) -> Iterator[Turn]:
        """The turns over ``num`` images of a stage of that name, shown as they pass.

        A wish to stop raises KeyboardInterrupt: at once in a process alone, and between two rounds, on all together, where they are several.
        """
        self.bar.stage(name, num)
        with self.stop.held(self.processes.world_size > 1):
            for turn in self.processes.turns(num, size):
                self._agree()
                yield turn
                self.bar.advance(turn.total)
            self._agree()

    def _agree(self) -> None:
        if self.processes.any(self.stop.made):
            self.stop.made = True
            raise KeyboardInterrupt
