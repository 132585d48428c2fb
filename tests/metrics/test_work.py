"""Rounds over images: shown as they pass, and stopped by all processes after the same one."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field

import pytest

from memogen.metrics.work import Bar, Processes, Stop, Work, stopping


@dataclass(frozen=True)
class Told(Processes):
    """The first of two processes; the other one makes its wish known in the round of that number."""

    at: int = 0
    asked: list[bool] = field(default_factory=list)

    def any(self, flag: bool) -> bool:
        self.asked.append(flag)
        return flag or len(self.asked) > self.at


def seen(work: Work) -> list[int]:
    """The first image of each round until a wish to stop."""
    found = []
    with pytest.raises(KeyboardInterrupt):
        for turn in work.rounds("samples", 100, 10):
            found.append(turn.start)
    return found


def test_several_processes_stop_where_one_of_them_was_asked_to() -> None:
    """Five rounds of two times ten images: the other process is asked in the third, or after the last."""
    assert seen(Work(Told(0, 2, at=2))) == [0, 20]
    assert seen(Work(Told(0, 2, at=5))) == [0, 20, 40, 60, 80]


def test_of_several_processes_none_leaves_a_round_alone() -> None:
    work, found = Work(Told(0, 2, at=99)), []
    with pytest.raises(KeyboardInterrupt):
        for turn in work.rounds("samples", 100, 10):
            work.stop.ask(signal.SIGINT, None)
            found.append(turn.start)
    assert found == [0] and work.processes.asked == [False, True] and not work.stop.waits  # type: ignore[attr-defined]


def test_a_process_alone_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        for _ in Work().rounds("samples", 100, 10):
            Stop().ask(signal.SIGINT, None)
            pytest.fail("the wish came too late")


def test_the_bar_says_where_the_work_is() -> None:
    work = Work(bar=Bar(shown=False))
    assert work.bar.where == ""
    told = [work.bar.where for _ in work.rounds("samples", 2500, 1000)]
    assert [*told, work.bar.where] == [f"samples, {done} of 2,500" for done in ("0", "1,000", "2,000", "2,500")]


def test_what_somebody_else_listens_for_stays_theirs() -> None:
    heard: list[int] = []
    found = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with stopping() as stop:
            signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] and not stop.made
    finally:
        signal.signal(signal.SIGTERM, found)


def test_in_another_thread_no_signal_is_touched() -> None:
    wishes: list[Stop] = []

    def work() -> None:
        with stopping() as stop:
            wishes.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(wishes) == 1
