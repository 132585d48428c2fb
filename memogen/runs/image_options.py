"""How a later reading brings a user's pictures to a model's shape: as the run did that trained the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import yaml

from .. import configs
from ..data import DataOptions
from ..parsing import parse_yaml, read_regular
from ..pretrained import CONFIG, RUN_MODEL, read_document
from ..recipes import Recipe
from ..shipped import place
from ..types import InputError
from .recipe import load_config

OPTIONS = "pictures.yaml"
"""Where a run without a recipe, such as that of ``memogen extend``, keeps how its pictures were read."""

Fit = Literal["error", "resize", "crop"]
Shape = tuple[int, int, int]


def run_of(model: str | Path) -> Path | None:
    """The run folder of a model that is named by it, or by the folder of the model inside; None for a model alone or one on the hub."""
    path = place(model)
    folders = (path, path.parent) if path.name == RUN_MODEL else (path,)
    return next((folder for folder in folders if any((folder / name).is_file() for name in ("config.yaml", OPTIONS))), None)


def recipe_of(model: str | Path) -> Recipe | None:
    """The recipe of the run that a model was named by; None for one that has none. Raises InputError."""
    run = run_of(model)
    return load_config(run / "config.yaml") if run is not None and (run / "config.yaml").is_file() else None


def keep_options(options: DataOptions, run: Path) -> None:
    """Leave in a run folder without a recipe how its pictures were read, for :func:`reading`."""
    (run / OPTIONS).write_text(yaml.safe_dump(configs.to_dict(options), sort_keys=False), encoding="utf-8")


def reading(model: str | Path, image_shape: Shape | None = None, *, otherwise: Fit = "error") -> DataOptions:
    """How a user's pictures become images of the model: by the options of its run, in the model's own size and colours.

    ``otherwise`` says what happens to a picture of another size where the run says nothing of it. ``image_shape`` is that of the model; without it
    the run or the saved model is asked, and of one on the hub nothing is known. Raises InputError for a run that cannot be read.
    """
    shape, options = image_shape or _shape_of(model), _options_of(model)
    if shape is None or shape[1] < 2 or shape[2] < 2:  # vectors have no size to be brought to
        return options
    size = options.size if options.target == shape[1:] else shape[1:]
    fit = otherwise if options.fit == "error" else options.fit
    channels: Literal["auto", 1, 3] = 1 if shape[0] == 1 else 3 if shape[0] == 3 else "auto"
    return replace(options, size=size, fit=fit, channels=channels)


def _options_of(model: str | Path) -> DataOptions:
    """Those of the model's run; the default ones of a model alone."""
    recipe, run = recipe_of(model), run_of(model)
    if recipe is not None or run is None:
        return DataOptions() if recipe is None else recipe.data.options
    try:
        return configs.from_dict(DataOptions, parse_yaml(read_regular(run / OPTIONS)), where="options")
    except (OSError, ValueError) as error:
        raise InputError(f"{run / OPTIONS}: not the options of pictures ({' '.join(str(error).split())}): mend it, or remove it") from error


def _shape_of(model: str | Path) -> Shape | None:
    recipe, path = recipe_of(model), place(model)
    if recipe is not None:
        return recipe.model.image_shape
    folder = next((each for each in (path / RUN_MODEL, path) if (each / CONFIG).is_file()), None)
    found = None if folder is None else read_document(folder).config.get("image_shape")
    return (int(found[0]), int(found[1]), int(found[2])) if isinstance(found, list) and len(found) == 3 else None
