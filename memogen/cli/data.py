"""The commands about data sets: list, check, prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from memogen.cli.options import HIDDEN, UsageError

KINDS = "a data set's name, a folder or a file (zip, npz), or FOLDER/NAME where a folder holds several data sets"
Name = Annotated[str | None, f"which images: {KINDS}"]
OwnData = Annotated[str | None, f"{KINDS}; without it the run's own"]
Size = Annotated[str, "one number, or HEIGHTxWIDTH; without it the size of the files"]
Fit = Annotated[
    Literal["error", "resize", "crop"], "what to do with an image of another size: refuse it (error), scale it (resize), or scale and cut it (crop)"
]
Folder = Annotated[Path | None, HIDDEN]
"""The place of the files of a data set that is given by its name, as ``--data`` says it in one word."""
Word = Annotated[str | None, HIDDEN]
"""The data by a word of its own, as ``--data`` says it."""


def show() -> None:
    """List the data sets."""
    from memogen.data import DATASETS

    for name, row in DATASETS.items():
        print(f"{name:<14} {row.about} ({', '.join(row.splits)})")


def check(
    word: Word = None,
    *,
    data: Name = None,
    folder: Folder = None,
    split: Annotated[str | None, "which part; without it every part that there is"] = None,
    size: Size = "",
    fit: Fit = "error",
) -> int:
    """Read every image and say what was found: counts, sizes, colours, classes, broken files by name.

    Images of several sizes are a problem unless --size and --fit say what to do with them; then the report says what a training would get.
    """
    from memogen.data import check as check_data
    from memogen.data import splits

    name = _asked(data, word)
    options, parts = image_options(size, fit), [split] if split else splits(name, folder=folder)
    reports = [check_data(name, folder=folder, split=part, options=options) for part in parts]
    for part, report in zip(parts, reports, strict=True):
        text = report.text(whole=True)
        print(f"{part}: {text}" if len(parts) > 1 else text)
    return 2 if any(report.problems for report in reports) else 0


def prepare(word: Word = None, *, data: Name = None, folder: Folder = None, size: Size = "", fit: Fit = "error") -> None:
    """Fetch what is missing, verify it and build the cache, so that later runs start at once and offline."""
    from memogen.data import prepare as prepare_data

    for part in prepare_data(_asked(data, word), folder=folder, options=image_options(size, fit)):
        print(f"{part.name}, {part.split}: {len(part)} images of {' x '.join(map(str, part.image_shape))} (channels, height, width)")


def _asked(data: str | None, word: str | None) -> str:
    found = one_of(data, word)
    if found is None:
        raise UsageError("--data: not given; name a data set (memogen data list), a folder or a file")
    return found


def one_of(data: str | None, word: str | None) -> str | None:
    """The data by option or by a word of its own. UsageError for both."""
    if data is not None and word is not None:
        raise UsageError(f"--data {data}: {word} is named as well; name the data once")
    return word if data is None else data


def image_options(size: str, fit: str) -> Any:
    """The options of the data from the words of the command line."""
    from memogen.data import DataOptions

    try:
        sides = [int(side) for side in size.lower().split("x")] if size else []
    except ValueError as error:
        raise UsageError(f"--size {size}: not a size; write it as 32, or as HEIGHTxWIDTH such as 48x32") from error
    if len(sides) > 2:
        raise UsageError(f"--size {size}: more than two sides; write it as 32, or as HEIGHTxWIDTH such as 48x32")
    return DataOptions(size=None if not sides else sides[0] if len(sides) == 1 else (sides[0], sides[1]), fit=fit)  # type: ignore[arg-type]
