"""Arguments and options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any, Literal

from memogen.errors import InputError

HIDDEN = argparse.SUPPRESS
"""The help text of an option or argument that works but is not shown."""

KINDS = "a data set's name, a folder, a file (zip, tar, npz) or a pattern of tar files, or FOLDER/NAME where a folder holds several data sets"
Model = Annotated[str, "a model that comes with memogen (memogen models lists them), a run folder, a saved model's folder, or a hub id"]
Images = Annotated[str | None, f"which images: {KINDS}"]
OwnData = Annotated[str | None, f"{KINDS}; default: the run's own data"]
LabelledData = Annotated[str | None, f"images, best with labels: {KINDS}; default: the run's own data"]
Folder = Annotated[Path | None, HIDDEN]
"""The folder of a data set that is given by its name; ``--data FOLDER/NAME`` says the same."""
Word = Annotated[str | None, HIDDEN]
"""The data as an argument; ``--data`` says the same."""
Size = Annotated[str, "one number, or HEIGHTxWIDTH; default: the size of the files"]
Fit = Annotated[
    Literal["error", "resize", "crop"], "what to do with an image of another size: refuse it (error), scale it (resize), or scale and crop it (crop)"
]
SampleSeed = Annotated[int, "seed of the samples; image i depends only on the seed and i", 0]
Picture = Annotated[Path, "the picture to write"]


def one_of(data: str | None, word: str | None) -> str | None:
    """The data, given as an option or as an argument. Raises InputError if both are given."""
    if data is not None and word is not None:
        raise InputError(f"--data {data}: {word} is named as well; name the data once")
    return word if data is None else data


def image_options(size: str, fit: str) -> Any:
    """The :class:`~memogen.data.DataOptions` that ``--size`` and ``--fit`` ask for. Raises InputError."""
    from memogen.data import DataOptions

    try:
        sides = [int(side) for side in size.lower().split("x")] if size else []
    except ValueError as error:
        raise InputError(f"--size {size}: not a size; write it as 32, or as HEIGHTxWIDTH such as 48x32") from error
    if len(sides) > 2:
        raise InputError(f"--size {size}: more than two sides; write it as 32, or as HEIGHTxWIDTH such as 48x32")
    return DataOptions(size=None if not sides else sides[0] if len(sides) == 1 else (sides[0], sides[1]), fit=fit)  # type: ignore[arg-type]


def whole_numbers(option: str, text: str) -> list[int]:
    """A comma-separated list; an empty text gives an empty list. Raises InputError."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise InputError(f"{option} {text}: not a list of whole numbers; write it as 0,17,250") from error
