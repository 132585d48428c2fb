"""What git's history says of rows: edits, losses, moves and repeated measurements, told apart."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.row_history import Line, committed, differences, judge, missing, present, told


def row(**changed: Any) -> str:
    about = {"recipe": "memory_gan/digits", "variant": "memory_gan", "seed": 0, "metric": "fid", "value": 1.5, "spread": None}
    return json.dumps({**about, "protocol": {}, "training_seconds": 89.0, "date": "2026-11-21", "seconds": 0.1234567890123, **changed})


def history(*commits: list[str]) -> dict[str, Line]:
    """The lines that each commit added, in their order."""
    texts = [(f"c{number}", text) for number, added in enumerate(commits) for text in added]
    return {text: Line(text, commit, "results/a.jsonl", order) for order, (commit, text) in enumerate(texts)}


def judged(now: list[str], *commits: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    found = judge(history(*commits), dict.fromkeys(now, "results/a.jsonl"))
    return [(old.text, new.text) for old, new in found.edited], [line.text for line in found.lost]


OLD = row()
UNTIMED = {"seconds": None, "task": 0, "class": 3}


@pytest.mark.parametrize("changed", [{"variant": "as_printed"}, {"config": "0123456789ab"}, {"value": 1.4}, {"training_seconds": 90.0}])
def test_a_row_that_was_changed_in_place_is_edited(changed: dict[str, Any]) -> None:
    new = row(**changed)
    assert judged([new], [OLD], [new]) == ([(OLD, new)], [])
    assert judged([new], [OLD]) == ([(OLD, new)], []), "not yet committed"
    assert judged([OLD, new], [OLD], [new]) == ([(OLD, new)], []), "a changed copy beside the row"
    last = row(**changed, command="memogen")
    assert judged([last], [OLD], [new], [last]) == ([(OLD, last)], []), "edited twice, measured once"
    assert judged([OLD], [OLD], [new]) == ([], []), "an edit that was taken back"


def test_a_measurement_that_was_repeated_is_no_edit_but_the_first_must_be_kept() -> None:
    again = row(seconds=0.2, config="0123456789ab")
    assert judged([again], [OLD], [again]) == ([], [OLD])
    assert judged([OLD, again], [OLD], [again]) == ([], [])
    assert judged([], [OLD]) == ([], [OLD])


def test_without_nanoseconds_a_measurement_is_known_by_its_value_and_day() -> None:
    old, other = row(**UNTIMED), row(**UNTIMED, variant="slot_replay")
    new = row(**UNTIMED, variant="plain_replay")
    assert judged([new], [old], [new]) == ([(old, new)], [])
    assert judged([old, other], [old, other]) == ([], []), "two arms that share their first task"
    assert judged([other], [old, other]) == ([], [old])
    assert judged([row(**UNTIMED, value=1.4)], [old], [row(**UNTIMED, value=1.4)]) == ([], [old])


def test_a_report_names_what_differs() -> None:
    new = row(variant="as_printed", paper=6.39)
    known, now = history([OLD], [new]), {new: "results/archive/a.jsonl"}
    told_of = list(told(judge(known, now), known, now))
    assert told_of == [
        "edited: results/archive/a.jsonl: memory_gan/digits as_printed fid seed 0: measured in c0, as it stands from c1",
        '    variant: "memory_gan" -> "as_printed"',
        "    paper: - -> 6.39",
        "results/archive/a.jsonl: 1 rows of c1 (1)",
        "1 rows, 1 edited, 0 lost",
    ]
    assert differences(json.loads(OLD), json.loads(OLD)) == {}


def test_history_is_read_from_git_over_moves_and_branches(tmp_path: Path) -> None:
    """A row moves and its old file goes, and a row of a branch is dropped as it is merged."""
    if missing().startswith("git"):
        pytest.skip(missing())
    assert "no checkout" in missing(tmp_path)

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True, capture_output=True)

    def commit(**files: list[str]) -> None:
        for name, rows in files.items():
            (tmp_path / "results" / f"{name}.jsonl").write_text("".join(text + "\n" for text in rows))
        git("add", "-A")
        git("commit", "-qm", "rows")

    one, two, three = OLD, row(seconds=0.2), row(seconds=0.3)
    (tmp_path / "results").mkdir()
    git("init", "-qb", "main")
    commit(a=[one])
    git("switch", "-qc", "side")
    commit(b=[two])
    git("switch", "-q", "main")
    (tmp_path / "results" / "a.jsonl").unlink()
    commit(moved=[one, three])
    git("merge", "-q", "--no-ff", "--no-commit", "-s", "ours", "side")
    git("commit", "-qm", "merge")
    assert missing(tmp_path) == "" and set(present(tmp_path).values()) == {"results/moved.jsonl"}
    found = judge(committed(tmp_path), present(tmp_path))
    assert (found.rows, found.edited, [line.text for line in found.lost]) == (2, (), [two])
    git("clone", "-q", "--depth", "1", f"file://{tmp_path}", str(tmp_path / "shallow"))
    assert "shallow" in missing(tmp_path / "shallow")
