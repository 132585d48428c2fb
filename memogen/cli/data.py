"""The commands about data sets: list, check, prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

Name = Annotated[str, "a data set's name (memogen data list), or the path of an image folder, a zip or an npz file"]
Folder = Annotated[Path | None, "the folder that holds a named data set's published files; without it they are downloaded"]


def show() -> None:
    """List the data sets."""
    from memogen.data import DATASETS

    for name, row in DATASETS.items():
        print(f"{name:<14} {row.about} ({', '.join(row.splits)})")


def check(data: Name, *, folder: Folder = None, split: Annotated[str, "which part"] = "train") -> int:
    """Read every image and say what was found: sizes, colours, classes, broken files by name."""
    from memogen.data import check as check_data

    report = check_data(data, folder=folder, split=split)
    print(report.text())
    return 2 if report.problems else 0


def prepare(data: Name, *, folder: Folder = None) -> None:
    """Fetch what is missing, verify it and build the cache, so that later runs start at once and offline."""
    from memogen.data import prepare as prepare_data

    for part in prepare_data(data, folder=folder):
        print(f"{part.name}, {part.split}: {len(part)} images of {' x '.join(map(str, part.image_shape))} (channels, height, width)")
