"""A clean stop: the first Ctrl-C or SIGTERM asks for it, the second one kills."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818  (the user's wish, not an error)
    """The training was asked to stop, and has saved ``checkpoint`` after ``step``; the same call continues it."""

    def __init__(self, step: int, steps: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step} of {steps}; saved {checkpoint}; the same command continues")
        self.step, self.checkpoint = step, checkpoint


@dataclass
class StopRequest:
    """``made`` turns true when a signal arrives."""

    made: bool = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within, the two signals set a request instead of ending the process; the handlers found are put back at the end.

    Signals belong to the main thread: in another one, no request is ever made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        request.made = True
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    found = {each: signal.signal(each, ask) for each in _SIGNALS}
    try:
        yield request
    finally:
        for each, handler in found.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
