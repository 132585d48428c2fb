"""Two processes train memoryGAN as one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.models.two_processes import train

ROOT = Path(__file__).parents[2]


def launch(folder: Path) -> list[subprocess.Popen[bytes]]:
    """Two processes with the environment that torchrun and accelerate set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "tests.models.two_processes", str(folder)]
    return [subprocess.Popen(command, cwd=ROOT, env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]


def losses(folder: Path) -> np.ndarray:
    """Every logged number of every step but the clock; (20, numbers)."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # per-process means of what was written joint, or of a gradient before merging, are not losses
    skipped = {"seconds", "critic/query_gradient", "critic/replaced_real"}
    return np.array([[row[name] for name in sorted(row) if name not in skipped] for row in rows])


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """The same joint batches in double precision: the same losses to 1e-8 over 20 steps, bit-identical memories on both ranks; and of all
    families bit-identical weights."""
    processes = launch(tmp_path / "two")
    memory = train(tmp_path / "one")
    assert [process.wait(timeout=180) for process in processes] == [0, 0]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one.shape[0] == 20
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-8)
    ranks = [np.load(tmp_path / "two" / f"memory-{rank}.npz") for rank in range(2)]
    for name, buffer in memory.named_buffers():
        assert np.array_equal(ranks[0][name], ranks[1][name])
        np.testing.assert_allclose(ranks[0][name], buffer, rtol=0, atol=1e-8)
    assert float(memory.mass.std()) > 0
    for family in ("mem_vae", "replay_gan"):
        ranks = [np.load(tmp_path / "two" / f"{family}-{rank}.npz") for rank in range(2)]
        assert ranks[0].files and all(np.array_equal(ranks[0][name], ranks[1][name]) and np.isfinite(ranks[0][name]).all() for name in ranks[0].files)
