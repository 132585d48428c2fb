"""Two processes train what one does."""

from __future__ import annotations

import json
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
from tests.together import done, together
from tests.training.toy import joint, main

ROOT = Path(__file__).parents[2]


def losses(folder: Path) -> np.ndarray:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([[row[name] for name in sorted(row) if name != "seconds"] for row in rows])


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """The same joint batches in double precision: the same losses, weights and moments to 1e-8, and bit-identical memories on both ranks."""
    with together(tmp_path / "two", main, tmp_path / "two", "joint") as processes:
        joint(tmp_path / "one")
        assert done(processes) == [0, 0]
    assert losses(tmp_path / "one").shape[0] == 20
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=0, atol=1e-8)
    assert np.array_equal(np.load(tmp_path / "two" / "memory-0.npy"), np.load(tmp_path / "two" / "memory-1.npy"))
    for stem in ("model", "optimisers", "averages"):
        one, two = (load_file(latest(tmp_path / side) / f"{stem}.safetensors") for side in ("one", "two"))
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-8)


def test_processes_stop_at_the_same_step_when_one_is_asked(tmp_path: Path) -> None:
    with together(tmp_path, main, tmp_path, "0.05") as processes:
        deadline = time.monotonic() + 60
        while latest(tmp_path) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        processes[1].terminate()
        assert done(processes) == [0, 0]
    told = [(tmp_path / f"out-{rank}").read_text().split() for rank in range(2)]
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
