"""Sheets of samples that lie beside a model as pictures: those that its training saved, and what is shown while the model is being opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from memogen.shipped import SAMPLES

SHEET = re.compile(r"step-(\d+)\.png")


@dataclass(frozen=True)
class Sheet:
    """A sheet of samples that a training saved: of which task (None: of the only one) and step, and its file."""

    task: int | None
    step: int
    path: Path


def sheets(run: Path) -> tuple[Sheet, ...]:
    """Those of a run, or of all tasks of a run of tasks, one after another."""
    tasks = sorted((run / "tasks").glob("task-*"))
    parts = [(None, run)] if not tasks else [(number, task) for number, task in enumerate(tasks)]
    found = []
    for number, part in parts:
        matched = [(match, path) for path in (part / "samples").glob("*.png") if (match := SHEET.fullmatch(path.name)) and path.is_file()]
        found += [Sheet(number, int(match[1]), path) for match, path in matched]
    return tuple(sorted(found, key=lambda sheet: (sheet.task or 0, sheet.step)))


def preview(run: Path) -> Path | None:
    """The picture of a model that ships, or the last sheet of a run; None where there is none."""
    found = [sheet.path for sheet in sheets(run)]
    stored = run / SAMPLES
    return stored if stored.is_file() else found[-1] if found else None
