"""The rows of ``results/`` are records: each is whole, stands once and as it was measured."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import row_history

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "results").rglob("*.jsonl"))
LIVE = [file for file in FILES if "archive" not in file.parts]


def lines(file: Path) -> list[str]:
    text = file.read_bytes().decode()
    assert text.endswith("\n"), "the last row is cut off"
    return text.removesuffix("\n").split("\n")


def named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_line_is_a_row(file: Path) -> None:
    for row in map(json.loads, lines(file)):
        assert isinstance(row, dict)
        kinds: dict[str, Any] = {"recipe": str, "variant": str, "metric": str, "value": int | float, "seed": int, "protocol": dict}
        wrong = [name for name, kind in kinds.items() if not isinstance(row.get(name), kind)]
        assert not wrong, f"{wrong} of {row}"


def test_no_row_stands_twice() -> None:
    assert not [line for line, count in Counter(line for file in FILES for line in lines(file)).items() if count > 1]


@pytest.mark.parametrize("file", [file for file in LIVE if (file.parent / "configs").is_dir()], ids=named)
def test_a_row_s_configuration_lies_beside_it(file: Path) -> None:
    """Under its digits, where rows tell the commit that made them: the versions before wrote no such file."""
    digits = {row["config"] for row in map(json.loads, lines(file)) if row.get("commit") and row.get("config")}
    assert not [name for name in digits if not (file.parent / "configs" / f"{name}.yaml").is_file()]


@pytest.mark.slow
def test_no_row_is_edited_or_lost() -> None:
    if reason := row_history.missing(ROOT):
        pytest.skip(reason)
    history, now = row_history.committed(ROOT), row_history.present(ROOT)
    findings = row_history.judge(history, now)
    assert not findings.edited and not findings.lost, "\n".join(row_history.told(findings, history, now))
