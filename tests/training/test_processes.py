"""Two processes train what one does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memogen.training import TrainingConfig, latest, start
from memogen.types import InputError
from tests.training.toy import joint

ROOT = Path(__file__).parents[2]


def launch(folder: Path, mode: str) -> list[subprocess.Popen[str]]:
    """Two processes with the environment that torchrun and accelerate set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "tests.training.toy", str(folder), mode]
    envs = [os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for env in envs]


def losses(folder: Path) -> np.ndarray:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([[row[name] for name in sorted(row) if name != "seconds"] for row in rows])


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """The same joint batches in double precision: the same losses, weights and moments to 1e-8, and bit-identical memories on both ranks."""
    processes = launch(tmp_path / "two", "joint")
    joint(tmp_path / "one")
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert losses(tmp_path / "one").shape[0] == 20
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=0, atol=1e-8)
    assert np.array_equal(np.load(tmp_path / "two" / "memory-0.npy"), np.load(tmp_path / "two" / "memory-1.npy"))
    for stem in ("model", "optimisers", "averages"):
        one, two = (load_file(latest(tmp_path / side) / f"{stem}.safetensors") for side in ("one", "two"))
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-8)


def test_processes_stop_at_the_same_step_when_one_is_asked(tmp_path: Path) -> None:
    processes = launch(tmp_path, "0.05")
    deadline = time.monotonic() + 60
    while latest(tmp_path) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    told = [process.communicate(timeout=120)[0].split() for process in processes]
    assert told[0] == told[1]
    assert told[0][0] == "stopped"
    assert latest(tmp_path).name == f"step-{int(told[0][1]):08d}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [["torch.distributed.run", "--nproc-per-node=2"], ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]]
)
def test_the_usual_launchers_start_it(tmp_path: Path, launcher: list[str]) -> None:
    subprocess.run([sys.executable, "-m", *launcher, "-m", "tests.training.toy", str(tmp_path), "joint"], cwd=ROOT, check=True, timeout=240)
    assert {path.name for path in tmp_path.glob("*.npy")} == {"memory-0.npy", "memory-1.npy"}
    assert latest(tmp_path).name == "step-00000020"


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="multiple of 3"):
        start(TrainingConfig(steps=1, batch_size=64, device="cpu"))


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ["--training.device", "cpu", "--steps", "5000", "--training.log_every", "5", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "memogen", "train", "memory_gan/digits", *options]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    envs = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    first, second = (subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) for env in envs)
    try:
        deadline, log = time.monotonic() + 120, tmp_path / "run" / "metrics.jsonl"
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        second.kill()
        told = first.communicate(timeout=120)[1].splitlines()
    finally:
        first.kill(), second.kill()
    assert first.returncode == 1
    assert "another process of this training has ended" in told[-1] and not any("Traceback" in line for line in told)
