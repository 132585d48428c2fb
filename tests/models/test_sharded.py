"""A memoryGAN whose keys several processes divide learns what one process learns, and goes on with any number of processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from memogen import from_pretrained
from memogen.memory import VMFMemory
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective
from memogen.training import latest
from memogen.types import InputError
from tests.command import rows_in
from tests.models.sharded import DIM, SLOTS, train, trained, watched
from tests.models.two_processes import command
from tests.together import done, together

STEPS = 8


def run(folder: Path, steps: int, of: int, condition: str = "draw") -> None:
    with together(folder, trained, folder, steps, condition, of=of) as processes:
        assert done(processes) == [0] * of, [(folder / f"err-{rank}").read_text() for rank in range(of)]


def check(found: Path, expected: Path, tolerance: float) -> None:
    """The same checkpoint and model/, up to rounding."""
    checkpoints = [latest(folder) for folder in (found, expected)]
    for part in ("model", "optimisers", "averages"):
        equal(*(load_file(path / f"{part}.safetensors") for path in checkpoints if path is not None), tolerance)
    for part in ("model", "live"):
        equal(*(load_file(folder / "model" / f"{part}.safetensors") for folder in (found, expected)), tolerance)


def check_rows(found: Path, expected: Path) -> None:
    """The same losses, scores and sample grids on the way."""
    skipped = {"seconds", "critic/query_gradient", "critic/replaced_real"}  # of one process's share
    rows = [[{name: row[name] for name in row.keys() - skipped} for row in rows_in(folder / "metrics.jsonl")] for folder in (found, expected)]
    for ours, theirs in zip(*rows, strict=True):
        assert ours == pytest.approx(theirs, rel=0, abs=1e-8)
    assert sorted(path.name for path in (found / "samples").iterdir()) == sorted(path.name for path in (expected / "samples").iterdir())


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys() and found
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name].numpy(), tensor.numpy(), rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process with the whole memory."""
    folder = tmp_path_factory.mktemp("alone")
    memory = train(folder, STEPS, sharded=False).modules["model"].get_submodule("memory")
    assert isinstance(memory, VMFMemory) and memory.keys.ne(0).any(1).all() and float(memory.mass.std()) > 0
    return folder


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_that_divide_the_keys_learn_what_one_does(world_size: int, alone: Path, tmp_path: Path) -> None:
    """In double precision, to 1e-12 of numbers above one. Each process holds its part of the keys, and the saved model is whole."""
    run(tmp_path, STEPS, world_size)
    check(tmp_path, alone, 1e-12)
    check_rows(tmp_path, alone)
    parts = [int((tmp_path / f"bytes-{rank}").read_text()) for rank in range(world_size)]
    assert sum(parts) == SLOTS * DIM * 8 and max(parts) == -(-SLOTS // world_size) * DIM * 8
    model = from_pretrained(tmp_path / "model")
    assert type(model.memory) is VMFMemory and not model.config.memory.sharded
    assert json.loads((tmp_path / "model" / "config.json").read_text())["config"]["memory"]["sharded"] is False


def test_keys_as_conditions(tmp_path: Path) -> None:
    train(tmp_path / "one", STEPS, "key", sharded=False)
    run(tmp_path / "two", STEPS, 2, "key")
    check(tmp_path / "two", tmp_path / "one", 1e-12)


def test_any_number_of_processes_goes_on(alone: Path, tmp_path: Path) -> None:
    """Two processes, then one, then four."""
    run(tmp_path, 3, 2)
    train(tmp_path, 5)
    run(tmp_path, STEPS, 4)
    check(tmp_path, alone, 1e-12)


def test_one_process_learns_the_same_bits(alone: Path, tmp_path: Path) -> None:
    train(tmp_path, STEPS)
    check(tmp_path, alone, 0)
    check_rows(tmp_path, alone)


def test_a_run_with_divided_keys(tmp_path: Path) -> None:
    """The command trains in two processes; the first scores the saved model."""
    options = {
        "training.device": "cpu",
        "training.batch_size": "8",
        "training.steps": "3",
        "model.memory.sharded": "true",
        "scoring.num_samples": "70",
    }
    words = [
        "train",
        "memory_gan/digits",
        "--out",
        str(tmp_path / "run"),
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]
    with together(tmp_path, command, words) as processes:
        assert done(processes) == [0, 0], [(tmp_path / f"err-{rank}").read_text() for rank in range(2)]
    assert any(row["steps"] == 3 for row in rows_in(tmp_path / "run" / "results.jsonl"))


def test_a_watch_on_one_process_is_refused(tmp_path: Path) -> None:
    with together(tmp_path, watched, tmp_path) as processes:
        assert done(processes) == [0, 0]
    assert all("sharded" in (tmp_path / f"told-{rank}").read_text() for rank in range(2))


def test_a_sequence_of_tasks_is_refused(tmp_path: Path) -> None:
    words = ["train", "memory_gan/digits_stream", "--out", str(tmp_path / "run"), "--variant", "fine_tuning", "--model.memory.sharded", "true"]
    with together(tmp_path, command, words) as processes:
        assert done(processes) == [2, 2]
    assert "sharded" in (tmp_path / "err-0").read_text() and not (tmp_path / "run").exists()


def test_more_processes_than_slots_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert len(MemoryConfig(5, 16, top_k=2, sharded=True).build().keys) == 1
    with pytest.raises(InputError, match="4 processes"):
        MemoryConfig(3, 16, top_k=2, sharded=True).build()


def test_what_needs_all_keys_is_refused() -> None:
    memory = MemoryConfig(64, 16, sharded=True)
    with pytest.raises(ValueError, match="slot_rows"):
        MemoryGANConfig((1, 8, 8), width=8, memory=memory, slot_rows=True)
    with pytest.raises(InputError, match="replay"):
        MemoryGANObjective(replay=True).phases(MemoryGANConfig((1, 8, 8), width=8, memory=memory).build())
