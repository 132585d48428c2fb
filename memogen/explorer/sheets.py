"""Sheets of samples that a training saved as pictures, and the picture shown while the model is being opened. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from memogen.shipped import SAMPLES

SHEET = re.compile(r"step-(\d+)\.png")


@dataclass(frozen=True)
class Sheet:
    """The file of a sheet of samples, its step, and its task in a run of tasks."""

    task: int | None
    step: int
    path: Path


def sheets(run: Path) -> tuple[Sheet, ...]:
    """The sheets of a run by task and step."""
    tasks = sorted((run / "tasks").glob("task-*"))
    parts = [(None, run)] if not tasks else [(number, task) for number, task in enumerate(tasks)]
    found = []
    for number, part in parts:
        matched = [(match, path) for path in (part / "samples").glob("*.png") if (match := SHEET.fullmatch(path.name)) and path.is_file()]
        found += [Sheet(number, int(match[1]), path) for match, path in matched]
    return tuple(sorted(found, key=lambda sheet: (sheet.task or 0, sheet.step)))


def preview(run: Path) -> Path | None:
    """The picture of a model that ships, or the last sheet of a run, or None."""
    found = [sheet.path for sheet in sheets(run)]
    stored = run / SAMPLES
    return stored if stored.is_file() else found[-1] if found else None
