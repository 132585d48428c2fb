"""What every row says of its making, and how it is read and written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed.command import COMPARED
from memogen import __version__
from memogen.metrics import evaluate, rows, score_images
from memogen.metrics.rows import ResultRow
from memogen.types import ImageData
from tests.metrics.conftest import Moments, ToyGenerator


def test_a_row_tells_day_machine_and_version(tiny: ImageData, extractor: Moments) -> None:
    before = datetime.now(UTC).date().isoformat()
    (row,) = evaluate(ToyGenerator(), tiny, extractor=extractor, metrics=("fid",), num_samples=100)
    assert row["date"] in (before, datetime.now(UTC).date().isoformat())
    assert (row["device"], row["version"]) == ("cpu", __version__)
    assert str(row["hardware"]).endswith(f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}")


def test_a_processor_has_its_own_name_or_python_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: another\n")
    assert rows._processor(listing) == "Some CPU @ 2 GHz"
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv")
    assert rows._processor(tmp_path / "none") == "riscv"


def recorded() -> list[dict[str, Any]]:
    files = sorted((Path(__file__).parents[2] / "results").rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_recorded_row_is_read_and_written_as_it_was() -> None:
    lines = recorded()
    assert len(lines) > 1000
    for line in lines:
        row = ResultRow.read(line)
        assert list(row.to_json().items()) == list(line.items()), "values, and the order of names"
        of_speed = COMPARED if str(row.recipe).startswith("speed/") else ()
        assert set(row.extra) <= {"per_image", *of_speed}, "what is recorded has a field"


def test_a_row_without_a_name_does_not_know_it() -> None:
    row = ResultRow.read({"metric": "fid", "value": 1.5, "class": 3, "colour": "red"})
    assert (row.metric, row.value, row.class_, row.commit, row.extra) == ("fid", 1.5, 3, None, {"colour": "red"})
    assert "commit" not in row and row["class"] == 3 and row["colour"] == "red" and list(row) == ["metric", "value", "class", "colour"]
    with pytest.raises(KeyError):
        _ = row["commit"]
    assert row == {"metric": "fid", "value": 1.5, "class": 3, "colour": "red"}


def test_a_value_that_its_field_cannot_be_is_kept_apart() -> None:
    row = ResultRow.read({"metric": "fid", "seed": [1], "steps": "few"})
    assert row.seed is None and row.steps is None and row.extra == {"seed": [1], "steps": "few"}
    assert row.to_json() == {"metric": "fid", "seed": [1], "steps": "few"}


def test_other_values_of_a_row() -> None:
    row = ResultRow.read({"metric": "fid", "task": None})
    assert row.but(task=2, class_=1, model="m").to_json() == {"metric": "fid", "task": 2, "class": 1, "model": "m"}
    assert row.task is None, "the row itself stays"


def test_new_rows_have_their_names_in_the_order_of_old_ones(tiny: ImageData, extractor: Moments) -> None:
    (row,) = evaluate(ToyGenerator(), tiny, extractor=extractor, metrics=("fid",), num_samples=100)
    about = ["metric", "value", "spread", "protocol", "split", "task", "class", "device", "hardware", "date", "version", "commit", "seconds"]
    assert list(row.to_json()) == about
    (row,) = score_images(tiny, tiny, extractor=extractor, metrics=("fid",))
    assert list(row.to_json()) == [*about[:-1], "variant", "seconds"]
