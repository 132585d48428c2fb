"""The commands about data sets: list, check, prepare."""

from __future__ import annotations

from typing import Annotated

from memogen.cli.options import Fit, Folder, Images, Size, Word, image_options, one_of
from memogen.errors import InputError


def show() -> None:
    """List the data sets."""
    from memogen.data import DATASETS

    for name, row in DATASETS.items():
        print(f"{name:<14} {row.about} ({', '.join(row.splits)})")


def check(
    word: Word = None,
    *,
    data: Images = None,
    folder: Folder = None,
    split: Annotated[str | None, "the split to check; default: every split"] = None,
    size: Size = "",
    fit: Fit = "error",
) -> int:
    """Read every image and report counts, sizes, colours, classes, and broken files by name.

    Images of several sizes are a problem unless --size and --fit say what to do with them; then the report says what a training would get.
    """
    from memogen.data import check as check_data
    from memogen.data import splits

    name = _needed(data, word)
    options, parts = image_options(size, fit), [split] if split else splits(name, folder=folder)
    reports = [check_data(name, folder=folder, split=part, options=options) for part in parts]
    for part, report in zip(parts, reports, strict=True):
        text = report.text(whole=True)
        print(f"{part}: {text}" if len(parts) > 1 else text)
    return 2 if any(report.problems for report in reports) else 0


def prepare(word: Word = None, *, data: Images = None, folder: Folder = None, size: Size = "", fit: Fit = "error") -> None:
    """Download what is missing, verify it and build the cache, so that later runs start at once and offline."""
    from memogen.data import prepare as prepare_data

    for part in prepare_data(_needed(data, word), folder=folder, options=image_options(size, fit)):
        print(f"{part.name}, {part.split}: {len(part)} images of {' x '.join(map(str, part.image_shape))} (channels, height, width)")


def _needed(data: str | None, word: str | None) -> str:
    found = one_of(data, word)
    if found is None:
        raise InputError("--data: not given; name a data set (memogen data list), a folder or a file")
    return found
