"""Signals ask once and kill twice."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memogen.stopping import stopping
from memogen.training import Stopped
from tests.training.toy import ToyObjective, train

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def python_s_own_handlers() -> Iterator[None]:
    """Signals as at a terminal, also where the tests run in the background and Ctrl-C is ignored."""
    before = {number: signal.signal(number, handler) for number, handler in zip(SIGNALS, (signal.default_int_handler, signal.SIG_DFL), strict=True)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_held_request_waits_and_handlers_are_restored(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with stopping() as stop, stop.held():
        assert not stop.made
        signal.raise_signal(number)
        assert stop.made
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_work_inside_other_work_stops_first_but_not_inside_held_work() -> None:
    with pytest.raises(KeyboardInterrupt), stopping() as outer, stopping() as inner:
        signal.raise_signal(signal.SIGTERM)
    assert inner.made and not outer.made
    with stopping() as outer, outer.held():
        with stopping() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert outer.made and not inner.made


def test_a_request_that_nobody_acted_on_goes_to_whoever_listened_before() -> None:
    with pytest.raises(KeyboardInterrupt), stopping() as outer:
        with stopping() as inner, inner.held():
            signal.raise_signal(signal.SIGINT)
        pytest.fail("the request was forgotten")
    assert outer.made


def test_a_request_whose_exception_was_swallowed_stops_the_next_work() -> None:
    with pytest.raises(KeyboardInterrupt), stopping() as outer:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert outer.made
        with stopping():
            pytest.fail("the request was forgotten")


def test_the_second_signal_kills() -> None:
    script = "import signal; from memogen.stopping import stopping\nwith stopping() as stop, stop.held():\n  "
    script += "signal.raise_signal(2); signal.raise_signal(2)"
    process = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert process.returncode == -signal.SIGINT


def test_a_stopped_training_leaves_a_model_and_the_handlers(tmp_path: Path) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Stopped, match="stopped after step 3 of 40"):
        train(tmp_path, ToyObjective(stop_step=3))
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_a_request_in_the_last_step_lets_the_training_end(tmp_path: Path) -> None:
    assert train(tmp_path, ToyObjective(stop_step=2), steps=2).step == 2
