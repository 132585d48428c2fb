"""The bar is for people at a terminal only."""

from __future__ import annotations

import sys

import pytest
from rich.progress import Task, TaskID

from memogen.metrics.work import Bar, Rate


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
    assert out == "" and ("20/20" in err) == visible and (visible or err == "")


def test_a_log_names_long_stages(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error is no terminal here."""
    for shown in (True, False):
        with Bar(shown=shown) as bar:
            bar.stage("samples", 20)
            bar.stage("real data", 10_000)
    assert capsys.readouterr().err == "real data: 10,000\n"


@pytest.mark.parametrize(("speed", "told"), [(None, ""), (1234.5, "1,234/s"), (0.25, "0.25/s")])
def test_the_rate_is_told(speed: float | None, told: str) -> None:
    task = Task(TaskID(0), "samples", 20, 5, _get_time=lambda: 0.0)
    task.finished_speed = speed
    assert Rate().render(task).plain == told
