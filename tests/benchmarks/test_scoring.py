"""The benchmark measures what it says: both arms score the same features, and a small run gives a full set of rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import scoring


@pytest.fixture(autouse=True)
def few_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SUBSETS", 5)


def test_both_arms_give_the_same_scores() -> None:
    fake, real = scoring.features(1100, 8, seed=0), scoring.features(1000, 8, seed=1)
    own, other = (arm(fake, real, scoring.features(1100, 10, seed=2)) for arm in (scoring.ours, scoring.theirs))
    assert own[0] == pytest.approx(other[0], rel=0.02)  # the splits are drawn in another order
    assert own[1] == pytest.approx(other[1], rel=1e-3)
    assert own[2] == pytest.approx(other[2], abs=1e-3)  # and so are the subsets


def test_rows_of_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "WIDTHS", (4, 8, 16))
    monkeypatch.setattr(scoring, "classifier_names", lambda: ())
    out = tmp_path / "results" / "scoring.jsonl"
    scoring.main(["--num", "1100", "--real", "1100", "--rounds", "1", "--out", str(out)])
    rows = {(row["variant"], row["metric"]): row["value"] for row in map(json.loads, out.read_text().splitlines())}
    assert rows.keys() == {
        ("memogen", "scoring_seconds"),
        ("memogen", "scoring_peak_gib"),
        ("memogen", "scores_alone_seconds"),
        ("torchmetrics", "scores_alone_seconds"),
        ("memogen", "scores_alone_ratio"),
    }
    assert all(value > 0 for value in rows.values()) and rows["memogen", "scoring_peak_gib"] < 64
    assert "torchmetrics" in capsys.readouterr().out
