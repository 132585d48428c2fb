"""The benchmark measures what it says: turns are taken in order, and a tiny recipe gives a full set of rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import memory_step


def test_works_take_turns_and_the_warm_up_is_not_counted() -> None:
    called: list[str] = []
    seconds = memory_step.interleaved([lambda: called.append("a"), lambda: called.append("b")], torch.device("cpu"), rounds=3, warm_up=1)
    assert "".join(called) == "abababab"
    assert [len(record) for record in seconds] == [3, 3]
    assert all(second >= 0 for record in seconds for second in record)


def test_rows_of_the_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "step.jsonl"
    memory_step.main(["--recipes", "memory_gan/digits", "--rounds", "2", "--batch-size", "8", "--device", "cpu", "--out", str(out)])
    rows = {(row["variant"], row["metric"]): row["value"] for row in map(json.loads, out.read_text().splitlines())}
    assert rows.keys() == {
        ("memory_gan", "step_seconds"),
        ("no_memory", "step_seconds"),
        ("memory_gan", "step_ratio"),
        ("memory_gan", "memory_seconds"),
        ("memory_gan", "memory_floor_seconds"),
    }
    assert all(value > 0 for value in rows.values())
    assert "memory_gan/digits" in capsys.readouterr().out


def test_a_step_trains_and_writes() -> None:
    recipe = memory_step.RECIPES["memory_gan/digits"]()
    runtime = memory_step.start(memory_step.TrainingConfig(steps=1, device="cpu"))
    memory = memory_step.lived_in(recipe, runtime)
    before = memory.keys.clone()
    memory_step.memory_work(memory, batch_size=8)()
    assert not torch.equal(before, memory.keys)
    torch.testing.assert_close(memory.keys.norm(dim=1), torch.ones(memory.num_slots))
