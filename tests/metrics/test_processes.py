"""The scores of one model, by one process and by two, in batches of 1, 7 and 256."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.work import Processes
from tests.metrics.two_processes import scores

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
    rounds = list(zip(*(list(Processes(rank, world_size).turns(num, size)) for rank in range(world_size)), strict=True))
    images = [turn.start + i for turns in rounds for turn, count in zip(turns, turns[0].counts, strict=True) for i in range(count)]
    assert images == list(range(num))
    assert all(1 <= turn.num <= size and turn.start + turn.num <= num for turns in rounds for turn in turns)
    assert all(sum(turn.total for turn in turns) == world_size * turns[0].total for turns in rounds)


def test_alone_nothing_is_moved() -> None:
    (turn,) = Processes().turns(3, 5)
    rows = torch.arange(3.0)
    assert Processes().gather(rows, turn) is rows and Processes().any(True) and not Processes().any(False)
    assert Processes.joined() == Processes(0, 1)
