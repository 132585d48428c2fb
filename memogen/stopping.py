"""How Ctrl-C and SIGTERM stop work: at once, or at a point where it can be stopped cleanly. The only signal handler of the library."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PYTHONS = (signal.SIG_DFL, signal.default_int_handler)


class StopNow(KeyboardInterrupt):
    """Raised when a request to stop arrives. A class of its own, because Python exits by a signal and not by an exit code once a plain
    KeyboardInterrupt has passed through code compiled from text, such as that of dataclasses.
    """


@dataclass
class Stop:
    """A request to stop raises StopNow at once. Inside :meth:`held` it waits, and a second request kills the process."""

    made: bool = False
    waits: bool = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.waits and self.made:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.made = True
        self.look()

    def look(self) -> None:
        """Raises StopNow if a request was made and is not held."""
        if self.made and not self.waits:
            raise StopNow

    @contextmanager
    def held(self, really: bool = True) -> Iterator[None]:
        """Inside the block, a request waits."""
        before, self.waits = self.waits, self.waits or really
        try:
            yield
        finally:
            self.waits = before


@contextmanager
def stopping() -> Iterator[Stop]:
    """Inside the block, SIGINT and SIGTERM make this request. Afterwards the former handlers are restored; a request that was not acted on goes to
    the outer Stop. One that was made there, and whose exception a callback swallowed, is raised at once.

    A signal that other code handles, or that an outer Stop is holding, is left alone. Only the main thread gets signals, so in any other thread no
    request is ever made.
    """
    stop, main = Stop(), threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in _SIGNALS if main and _is_free(signal.getsignal(number))}
    outer = next(filter(None, map(_owner, found.values())), None)
    try:
        for number in found:
            signal.signal(number, stop.ask)
        if outer is not None:
            outer.look()
        yield stop
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
    if stop.made and outer is not None:
        outer.made = True
        outer.look()


def _owner(handler: object) -> Stop | None:
    """The request that a signal handler makes."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, Stop) else None


def _is_free(handler: object) -> bool:
    owner = _owner(handler)
    return handler in _PYTHONS if owner is None else not owner.waits
