"""``python -m benchmarks.row_history``: a row of ``results/`` is written once, by the program. Git's history says whether that held.

Every line that any commit added to a .jsonl file of ``results/`` is held against the lines that lie there now, in whatever file, so that a move is
no change. Two lines are versions of one measurement where they agree in what two measurements cannot share (:func:`measurement`); the first that was
committed is the row as measured. A row is *edited* where it is a later version. It is *lost* where no file has it or a version of it any more: a row
of a superseded recipe belongs in ``results/archive``. The exit code is 1 where a row is edited or lost, 2 where the history is not there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = "results"
LOG = ("--reverse", "--topo-order", "--full-history", "-m", "-p", "--unified=0", "--no-renames", "--no-color", "--no-ext-diff")
HEAD = "commit "


@dataclass(frozen=True)
class Line:
    """A line as it was first committed: by which commit, "" for none yet, and as which of all lines."""

    text: str
    commit: str
    file: str
    order: int

    @property
    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(self.text)
        return row

    def __str__(self) -> str:
        row = self.row
        part = "".join(f" {name} {row[name]}" for name in ("seed", "task", "class") if row.get(name) is not None)
        return f"{row['recipe']} {row['variant']} {row['metric']}{part}"


@dataclass(frozen=True)
class Findings:
    """``edited`` rows, each with the line as measured, and the ``lost``."""

    rows: int
    edited: tuple[tuple[Line, Line], ...]
    lost: tuple[Line, ...]

    def __str__(self) -> str:
        return f"{self.rows} rows, {len(self.edited)} edited, {len(self.lost)} lost"


def missing(root: Path = ROOT) -> str:
    """What of the history is missing; empty where all is there."""
    if shutil.which("git") is None:
        return "git is not installed"
    shallow = subprocess.run(["git", "-C", str(root), "rev-parse", "--is-shallow-repository"], capture_output=True, text=True)
    if shallow.returncode:
        return f"{root} is no checkout of git"
    return "" if shallow.stdout.strip() == "false" else "a shallow clone lacks the history: git fetch --unshallow"


def committed(root: Path = ROOT) -> dict[str, Line]:
    """Every line that a commit added, as it was first added."""
    asked = ["git", "-C", str(root), "log", *LOG, f"--format={HEAD}%h", "--", f"{FOLDER}/*.jsonl"]
    found: dict[str, Line] = {}
    commit = file = ""
    for text in subprocess.run(asked, capture_output=True, check=True).stdout.decode().split("\n"):
        if text.startswith(HEAD):
            commit = text.removeprefix(HEAD)
        elif text.startswith("+++ "):
            file = text.removeprefix("+++ b/")
        elif text.startswith("+{"):
            found.setdefault(text[1:], Line(text[1:], commit, file, len(found)))
    return found


def present(root: Path = ROOT) -> dict[str, str]:
    """The lines that lie in the folder now, each with its file."""
    files = sorted((root / FOLDER).rglob("*.jsonl"))
    return {text: file.relative_to(root).as_posix() for file in files for text in file.read_bytes().decode().split("\n") if text}


def measurement(row: Mapping[str, Any]) -> tuple[object, ...]:
    """What no two measurements share: the nanoseconds that a scoring took; where a row has none, its value, its run's seconds and its day."""
    about = [row.get(name) for name in ("metric", "seed", "task", "class")]
    if row.get("seconds") is not None:
        return *about, "scored in", row["seconds"]
    return *about, *(json.dumps(row.get(name)) for name in ("value", "spread", "training_seconds", "date"))


def judge(history: Mapping[str, Line], now: Mapping[str, str]) -> Findings:
    """The rows that lie there ``now`` held against all that were ever committed."""
    lines = list(history.values())
    lines += [Line(text, "", file, len(lines) + number) for number, (text, file) in enumerate(now.items()) if text not in history]
    versions: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        versions.setdefault(measurement(line.row), []).append(line)
    edited: list[tuple[Line, Line]] = []
    lost: list[Line] = []
    for group in versions.values():
        later, gone = _judged(group, now)
        edited += later
        lost += gone
    return Findings(len(now), tuple(sorted(edited, key=lambda pair: pair[1].order)), tuple(sorted(lost, key=lambda line: line.order)))


def _judged(group: list[Line], now: Mapping[str, str]) -> tuple[list[tuple[Line, Line]], list[Line]]:
    """Versions of one measurement: the edited with the measured, and the lost.

    Lines of the first commit are all as measured: arms that share a first task have rows that differ in their variant only. A later line beside all
    of them is another measurement, unless both name the nanoseconds.
    """
    measured = [line for line in group if line.commit == group[0].commit]
    later = [line for line in group if line.commit != group[0].commit and line.text in now]
    gone = [line for line in measured if line.text not in now]
    edited = []
    for line in later:
        if gone:
            nearest = min(gone, key=lambda old: (len(differences(old.row, line.row)), old.order))
            gone.remove(nearest)
            edited.append((nearest, line))
        elif line.row.get("seconds") is not None:
            edited.append((measured[0], line))
    return edited, gone


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The fields in which two rows differ, as JSON, "-" for an absent one."""
    pairs = {name: tuple(json.dumps(row[name]) if name in row else "-" for row in (old, new)) for name in {**old, **new}}
    return {name: (first, second) for name, (first, second) in pairs.items() if first != second}


def told(findings: Findings, history: Mapping[str, Line], now: Mapping[str, str]) -> Iterator[str]:
    """A report: each edited row with both versions of what differs, each lost row, the commits that each file's lines are of, and the counts."""
    for old, new in findings.edited:
        yield f"edited: {now[new.text]}: {new}: measured in {old.commit}, as it stands from {new.commit or 'no commit'}"
        yield from (f"    {name}: {first} -> {second}" for name, (first, second) in differences(old.row, new.row).items())
    yield from (f"lost: {line.file}: {line}: measured in {line.commit}, value {line.row['value']}" for line in findings.lost)
    yield from sources(history, now)
    yield str(findings)


def sources(history: Mapping[str, Line], now: Mapping[str, str]) -> Iterator[str]:
    """For each file the commits that first added its lines."""
    for file in sorted(set(now.values())):
        commits = Counter(history[text].commit if text in history else "no commit" for text, place in now.items() if place == file)
        yield f"{file}: {sum(commits.values())} rows of " + ", ".join(f"{commit} ({count})" for commit, count in commits.items())


def main() -> int:
    argparse.ArgumentParser(prog="python -m benchmarks.row_history", description=__doc__).parse_args()
    if reason := missing():
        print(f"history: {reason}", file=sys.stderr)
        return 2
    history, now = committed(), present()
    findings = judge(history, now)
    print("\n".join(told(findings, history, now)))
    return int(bool(findings.edited or findings.lost))


if __name__ == "__main__":
    sys.exit(main())
