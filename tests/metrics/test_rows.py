"""What every row says of its making."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from memogen import __version__
from memogen.metrics import evaluate, rows
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
