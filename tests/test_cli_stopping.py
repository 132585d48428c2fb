"""SIGTERM ends a command with exit code 130, whatever it is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAINING = ("train", "memory_gan/digits", "--training.steps", "400", "--training.checkpoint_every", "50", "--scoring.metrics", "[is, fid]")


def listens(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process catches SIGTERM by now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell which signals a process catches")
@pytest.mark.parametrize("delay", [0.3, 3.0, *(pytest.param(seconds, marks=pytest.mark.slow) for seconds in (0.0, 0.7, 1.5, 5.0, 8.0, 12.0))])
def test_a_command_stops_with_130_at_any_moment_and_can_be_repeated(delay: float, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memogen", *TRAINING, "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    while not listens(process):
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert not [path for path in (tmp_path / "run").rglob(".*") if not path.name.endswith(".lock")]


def test_a_closed_standard_error_ends_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memogen.cli import main

    monkeypatch.setattr("sys.stderr", None)
    assert main(["evaluate", "digits", "--metrics", "is", "--num-samples", "300", "--out", str(tmp_path / "rows.jsonl")]) == 0
    assert (tmp_path / "rows.jsonl").read_text()
