"""What a fine-tuning keeps: frozen slots stay to the bit through whole training steps, and slots that are not frozen do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.fine_tuning import main
from memogen import shipped


@pytest.mark.parametrize(("arm", "kept"), [("frozen", True), ("frozen_replay", True), ("five_trained", True), ("free", False)])
def test_frozen_slots_outlast_a_training(arm: str, kept: bool, tmp_path: Path) -> None:
    main([str(shipped.place("digits")), "--arms", arm, "--quick", "--out", str(tmp_path / "rows.jsonl")])
    rows = {row["metric"]: row for row in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())}
    assert (rows["kept_slots"]["value"] == 1) == kept
    assert rows["kept_slots"]["variant"] == arm and rows["fid"]["value"] > 0 and sum(rows["fid"]["protocol"]["shares"]) == pytest.approx(1, abs=1e-3)
