"""Signals ask once and kill twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memogen.training import Stopped
from memogen.training.stopping import stop_requests
from tests.training.toy import ToyObjective, train

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_handlers_are_restored(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with stop_requests() as request:
        assert not request.made
        signal.raise_signal(number)
        assert request.made
        assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_DFL] * 2
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_the_second_signal_kills() -> None:
    script = (
        "import signal; from memogen.training.stopping import stop_requests\nwith stop_requests():\n  signal.raise_signal(2); signal.raise_signal(2)"
    )
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
