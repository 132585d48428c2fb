"""The table of results, and README's copy of it."""

from __future__ import annotations

import json
from pathlib import Path

from memogen.report.markdown import read_rows, results_table

ROOT = Path(__file__).parents[2]
BASE = {"recipe": "memory_gan/digits", "steps": 10, "training_seconds": 3600, "command": "memogen train X", "paper": None}


def row(variant: str, metric: str, value: float, seed: int = 0, **more: object) -> dict[str, object]:
    return {**BASE, "variant": variant, "metric": metric, "value": value, "seed": seed, **more}


def test_means_and_spreads_over_seeds() -> None:
    rows = [row("memory_gan", "inception_score", value, seed, paper=8.04) for seed, value in enumerate((7.0, 8.0, 9.0))]
    line = results_table(rows).splitlines()[2].split(" | ")
    assert line[2:4] == ["8.04", "8.00 ± 1.00"]
    assert line[7:10] == ["3", "10", "3.00"]


def test_a_row_written_again_counts_in_its_newest_form() -> None:
    table = results_table([row("memory_gan", "fid", 5.0), row("memory_gan", "fid", 0.25)])
    assert "0.250" in table
    assert "5.00" not in table


def test_real_images_come_last_and_have_no_budget() -> None:
    lines = results_table([row("real", "fid", 0.1, steps=0), row("no_memory", "fid", 1.0), row("memory_gan", "fid", 1.0)]).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["memory_gan", "no_memory", "real test images"]
    assert lines[2].endswith("| - | - | - | - |")


def test_rows_of_a_bare_model_have_a_line_too() -> None:
    assert results_table([{"metric": "fid", "value": 2.0, "model": "some/model"}]).splitlines()[2].startswith("| some/model | - |")


def test_rows_are_read_from_every_file_below(tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    for name in ("b", "a"):
        (tmp_path / "family" / f"{name}.jsonl").write_text(json.dumps({"from": name}) + "\n")
    assert [found["from"] for found in read_rows(tmp_path)] == ["a", "b"]


def test_readme_shows_the_results_of_the_repository() -> None:
    assert results_table(read_rows(ROOT / "results")) in (ROOT / "README.md").read_text(encoding="utf-8")
