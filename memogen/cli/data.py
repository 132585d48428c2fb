"""The commands about data sets: list, check, prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from memogen.cli.options import UsageError

Name = Annotated[str, "a data set's name (memogen data list), the folder of its published files, or an image folder, a zip or an npz file"]
Size = Annotated[str, "one number, or HEIGHTxWIDTH; without it the size of the files"]
Fit = Annotated[Literal["error", "resize", "crop"], "what happens to an image of another size: it is refused, scaled, or scaled and cut"]
Folder = Annotated[Path | None, "where the published files of a data set lie that is given by its name; without it they are downloaded"]


def show() -> None:
    """List the data sets."""
    from memogen.data import DATASETS

    for name, row in DATASETS.items():
        print(f"{name:<14} {row.about} ({', '.join(row.splits)})")


def check(
    data: Name,
    *,
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

    options, parts = image_options(size, fit), [split] if split else splits(data, folder=folder)
    reports = [check_data(data, folder=folder, split=part, options=options) for part in parts]
    for part, report in zip(parts, reports, strict=True):
        text = report.text(whole=True)
        print(f"{part}: {text}" if len(parts) > 1 else text)
    return 2 if any(report.problems for report in reports) else 0


def prepare(data: Name, *, folder: Folder = None, size: Size = "", fit: Fit = "error") -> None:
    """Fetch what is missing, verify it and build the cache, so that later runs start at once and offline."""
    from memogen.data import prepare as prepare_data

    for part in prepare_data(data, folder=folder, options=image_options(size, fit)):
        print(f"{part.name}, {part.split}: {len(part)} images of {' x '.join(map(str, part.image_shape))} (channels, height, width)")


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
