"""A training that stops and resumes is the training that never stopped, bit for bit."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memogen.training import Stopped, latest
from memogen.types import InputError
from tests.training.toy import ToyConfig, ToyObjective, fingerprint, train

ROOT = Path(__file__).parents[2]


def metrics(folder: Path) -> list[dict[str, object]]:
    """Its lines without the clock."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@cache
def straight(precision: str = "float32") -> tuple[str, list[dict[str, object]]]:
    with TemporaryDirectory() as folder:
        state = train(Path(folder), precision=precision)
        return fingerprint(state), metrics(Path(folder))


def stop_at(folder: Path, step: int, **changes: object) -> None:
    with pytest.raises(Stopped) as stopped:
        train(folder, ToyObjective(stop_step=step), **changes)
    assert stopped.value.step == step
    assert stopped.value.checkpoint == latest(folder)


@settings(max_examples=6)
@given(stop=st.integers(1, 39))
@example(stop=17)
def test_stop_at_any_step_and_resume_gives_the_same_bits_and_metrics(stop: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        stop_at(folder, stop)
        assert fingerprint(train(folder)) == straight()[0]
        assert metrics(folder) == straight()[1]


@pytest.mark.parametrize("precision", ["bf16", "fp16", "float64"])
def test_every_precision_resumes_to_the_same_bits(tmp_path: Path, precision: str) -> None:
    stop_at(tmp_path, 17, precision=precision)
    assert fingerprint(train(tmp_path, precision=precision)) == straight(precision)[0]


def test_channels_last_and_no_averages_resume_to_the_same_bits(tmp_path: Path) -> None:
    options = {"channels_last": True, "ema_decay": 0.0}
    whole = fingerprint(train(tmp_path / "straight", **options))
    stop_at(tmp_path / "stopped", 9, **options)
    assert fingerprint(train(tmp_path / "stopped", **options)) == whole


def test_two_stops_are_as_good_as_none(tmp_path: Path) -> None:
    stop_at(tmp_path, 3)
    stop_at(tmp_path, 23)
    assert fingerprint(train(tmp_path)) == straight()[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_process_is_resumed_to_the_same_bits(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "tests.training.toy", str(tmp_path), "0.05"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while latest(tmp_path) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    told, _ = process.communicate(timeout=60)
    if number == signal.SIGTERM:
        assert process.returncode == 0
        assert told.startswith("stopped")
    else:
        assert process.returncode == -signal.SIGKILL
    assert fingerprint(train(tmp_path)) == straight()[0]
    assert metrics(tmp_path) == straight()[1]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    train(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")}
    assert fingerprint(train(tmp_path)) == straight()[0]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")} == before


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "state", "empty"])
def test_a_damaged_checkpoint_is_skipped_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    stop_at(tmp_path, 17)
    newest = tmp_path / "checkpoints" / "step-00000017"
    weights, state = newest / "model.safetensors", newest / "state.json"
    bytes_ = weights.read_bytes()
    match damage:
        case "flip":
            weights.write_bytes(bytes_[:-1] + bytes([bytes_[-1] ^ 1]))
        case "truncate":
            weights.write_bytes(bytes_[:100])
        case "missing":
            weights.unlink()
        case "state":
            state.write_text(state.read_text().replace('"step": 17', '"step": 18'))
        case "empty":
            state.write_text("")
    with caplog.at_level(logging.WARNING):
        assert latest(tmp_path) == newest.parent / "step-00000010"
    assert len(caplog.records) == 1
    assert "step-00000017" in caplog.text
    assert fingerprint(train(tmp_path)) == straight()[0]


def test_if_no_checkpoint_is_whole_the_user_decides(tmp_path: Path) -> None:
    stop_at(tmp_path, 2)
    (tmp_path / "checkpoints" / "step-00000002" / "state.json").unlink()
    with pytest.raises(InputError, match="no complete checkpoint"):
        train(tmp_path)
    assert fingerprint(train(tmp_path, resume="never")) == straight()[0]


def test_resume_never_starts_again(tmp_path: Path) -> None:
    stop_at(tmp_path, 17)
    with pytest.raises(Stopped):
        train(tmp_path, ToyObjective(stop_step=1), resume="never")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_named_checkpoint_gives_up_what_came_after_it(tmp_path: Path) -> None:
    stop_at(tmp_path, 17)
    stop_at(tmp_path, 16, resume=tmp_path / "checkpoints" / "step-00000010")
    assert latest(tmp_path).name == "step-00000016"
    assert max(row["step"] for row in metrics(tmp_path)) == 16
    assert fingerprint(train(tmp_path)) == straight()[0]


def test_another_run_is_continued_in_a_new_folder_only(tmp_path: Path) -> None:
    stop_at(tmp_path / "old", 17)
    assert fingerprint(train(tmp_path / "new", resume=tmp_path / "old")) == straight()[0]
    with pytest.raises(InputError, match="already holds another run"):
        train(tmp_path / "new", resume=tmp_path / "old")
    with pytest.raises(InputError, match="no complete checkpoint"):
        train(tmp_path / "newer", resume=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"batch_size": 10}, "training.batch_size was 8 and is 10"), ({"steps": 30}, "training.steps"), ({"precision": "bf16"}, "training.precision")],
)
def test_a_changed_option_is_refused_by_name(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    stop_at(tmp_path, 6)
    with pytest.raises(InputError, match=named):
        train(tmp_path, **changes)


def test_a_changed_phase_is_refused_and_a_longer_training_allowed_without_a_schedule(tmp_path: Path) -> None:
    stop_at(tmp_path / "constant", 6, log_every=3)
    with pytest.raises(InputError, match=r"phases\.critic\.clip_norm was 0\.0 and is 1\.0"):
        train(tmp_path / "constant", ToyObjective(clip_norm=1.0))
    assert train(tmp_path / "constant", steps=50, log_every=10, keep=1, checkpoint_every=0).step == 50

    with pytest.raises(Stopped):
        train(tmp_path / "linear", ToyObjective(schedule="linear", stop_step=6))
    with pytest.raises(InputError, match=r"training\.steps was 40 and is 50 \(its schedule"):
        train(tmp_path / "linear", ToyObjective(schedule="linear"), steps=50)


def test_another_model_is_refused(tmp_path: Path) -> None:
    stop_at(tmp_path, 6)
    with pytest.raises(InputError, match="does not fit this model"):
        train(tmp_path, model=ToyConfig(width=7))
