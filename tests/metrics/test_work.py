"""Rounds over images: shown as they pass, and stopped by all processes after the same one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.samples import Work
from memogen.processes import Processes
from memogen.progress import Bar
from memogen.stopping import Stop, stopping
from tests.metrics.two_processes import scores


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


# --- The scores of one model, by one process and by two, in batches of 1, 7 and 256 ---


ROOT = Path(__file__).parents[2]


def launch(folder: Path) -> list[subprocess.Popen[bytes]]:
    """Two processes with the environment that torchrun and accelerate set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.metrics.two_processes", str(folder)]
    return [subprocess.Popen(command, cwd=ROOT, env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]


def test_scores_agree_on_two_processes_and_at_every_batch_size(tmp_path: Path) -> None:
    processes = launch(tmp_path)
    one = scores(Processes())
    assert len(one) == 13 and one["copies_pixels"] <= 1 and one["accuracy"] == pytest.approx(0.8, abs=0.1)
    for size in (1, 7, 256):
        assert scores(Processes(), batch_size=size) == pytest.approx(one, rel=1e-6, abs=1e-6)
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    for rank in range(2):
        assert json.loads((tmp_path / f"scores-{rank}.json").read_text()) == pytest.approx(one, rel=1e-6, abs=1e-6)


@given(num=st.integers(1, 40), size=st.integers(1, 9), world_size=st.integers(1, 5))
def test_turns_cover_every_image_once_in_order(num: int, size: int, world_size: int) -> None:
    rounds = list(zip(*(list(Processes(rank, world_size).shares(num, size)) for rank in range(world_size)), strict=True))
    images = [turn.start + i for turns in rounds for turn, count in zip(turns, turns[0].counts, strict=True) for i in range(count)]
    assert images == list(range(num))
    assert all(1 <= turn.num <= size and turn.start + turn.num <= num for turns in rounds for turn in turns)
    assert all(sum(turn.total for turn in turns) == world_size * turns[0].total for turns in rounds)


def test_alone_nothing_is_moved() -> None:
    (turn,) = Processes().shares(3, 5)
    rows = torch.arange(3.0)
    assert Processes().gather(rows, turn) is rows and Processes().any(True) and not Processes().any(False)
    assert Processes.joined() == Processes(0, 1)


# --- The bar is for people at a terminal only ---


@pytest.mark.parametrize(("terminal", "shown", "visible"), [(True, True, True), (True, False, False), (False, True, False)])
def test_shown_on_a_terminal_and_nowhere_else(
    terminal: bool, shown: bool, visible: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with Bar(shown=shown) as bar:
        bar.stage("samples", 20)
        bar.advance(20)
    out, err = capsys.readouterr()
    assert out == "" and ("20 of 20" in err) == visible and (visible or err == "")


def test_a_log_tells_of_long_stages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is no terminal here. A line at every tenth: 1,000 of 10,000 pass in ten seconds."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for shown in (True, False):
        with Bar(shown=shown) as bar:
            bar.stage("samples", 20)
            bar.stage("real data", 10_000, rate=(2, " images"))
            for _ in range(100):
                now += 1.0
                bar.advance(100)
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "real data: 0 of 10,000"
    assert [line.split()[2] for line in lines] == [f"{done:,}" for done in range(1000, 11_000, 1000)]
    assert "200 images/s" in lines[0] and "0:01:30 left" in lines[0]


def test_quick_work_prints_no_line_but_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar() as bar:
        bar.stage("training", 1000, lines=True)
        for _ in range(1000):
            bar.advance(1)
    assert len(capsys.readouterr().err.splitlines()) == 1
