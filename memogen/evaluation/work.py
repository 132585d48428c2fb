"""How the work of a scoring goes on: by which processes, shown by which bar, until which wish to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from memogen.evaluation.processes import Processes, Turn
from memogen.evaluation.progress import Bar


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
