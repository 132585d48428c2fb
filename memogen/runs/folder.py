"""A run folder: its configuration, what its result rows say, how pictures are read for its model, and who works in it."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from .. import configs
from ..data import DataOptions
from ..metrics.rows import ResultRow
from ..parsing import parse_yaml, read_regular
from ..pretrained import CONFIG, RUN_MODEL, WEIGHTS, read_document, sha256
from ..recipes import RECIPES, Recipe, read_recipe
from ..report.history import read_run
from ..shipped import place
from ..training.checkpoint import checkpoints
from ..types import InputError

CONFIGURATION = "config.yaml"
OPTIONS = "pictures.yaml"
"""How a run without a recipe, such as that of ``memogen extend``, read its pictures."""
_LOCK = ".lock"

Fit = Literal["error", "resize", "crop"]


# --- config.yaml, and what names a configuration ---


def load_config(path: Path) -> Recipe:
    """A recipe from a config.yaml, strictly; keys with a default may be left out. Raises InputError."""
    try:
        mapping = parse_yaml(read_regular(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): name a config.yaml or one of {', '.join(RECIPES)}") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as YAML ({error}): mend it, or start from `memogen train RECIPE --dry-run`") from error
    try:
        return read_recipe(mapping, complete=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def save_config(recipe: Recipe, path: Path) -> None:
    """Writes a config.yaml; an existing file is replaced at once, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(configs.to_dict(recipe), sort_keys=False)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(f"# memogen train {shlex.quote(str(path))}\n{text}", encoding="utf-8")
    part.replace(path)


def default_folder(recipe: Recipe) -> Path:
    """runs/FAMILY-DATA-VARIANT-SEED."""
    return Path("runs") / "-".join([recipe.recipe.replace("/", "-"), recipe.variant, f"seed{recipe.training.seed}"])


def settings(recipe: Recipe) -> dict[str, object]:
    """What a checkpoint must agree with to be continued: the model, the objective and the images, by dotted names."""
    flat: dict[str, object] = {}

    def add(prefix: str, value: object) -> None:
        if isinstance(value, Mapping):
            for name, part in value.items():
                add(f"{prefix}.{name}", part)
        else:
            flat[prefix] = value

    plain = _wherever(recipe)
    for name in ("data", "model", "objective", "succession"):
        add(name, plain[name])
    return flat


def config_hash(recipe: Recipe) -> str:
    """Twelve digits of the SHA-256 of the complete configuration without the folder of its images; result rows name them."""
    return hashlib.sha256(json.dumps(_wherever(recipe), sort_keys=True).encode()).hexdigest()[:12]


def _wherever(recipe: Recipe) -> dict[str, Any]:
    """The configuration without the folder of its images and without newer options that are off, so that older rows keep their names."""
    plain = configs.to_dict(recipe, whole=False)
    plain["data"].pop("folder")
    return plain


# --- what result rows say beside the scores ---


def context(recipe: Recipe, budget: str | None) -> dict[str, Any]:
    """What every row of a run says: the recipe, the hash of its configuration, and the command that was typed."""
    about = {"recipe": recipe.recipe, "seed": recipe.training.seed, "budget": budget, "config": config_hash(recipe)}
    return {**about, "command": command_line()}


def progress_of(folder: Path) -> dict[str, Any]:
    """How far a run has been trained."""
    run = read_run(folder)
    return {"steps": run.count("step"), "images": run.count("images_seen"), "training_seconds": run.last("seconds")}


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["memogen", *sys.argv[1:]])


def weights_of(model: Path) -> str:
    """Sixteen digits that name the weights of a saved model."""
    return sha256(model / WEIGHTS)[:16]


def scored(rows: Iterable[ResultRow], of: Mapping[str, Any]) -> bool:
    """Whether one of the rows is of the configuration, the images and the weights that ``of`` names."""
    return tuple(of[name] for name in ("config", "data", "weights")) in {(row.config, row.data, row.weights) for row in rows}


# --- how pictures are read for the model of a run ---


def run_of(model: str | Path) -> Path | None:
    """The run folder of a model that is named by it, or by the folder of the model inside; None for a model alone or one on the hub."""
    path = place(model)
    folders = (path, path.parent) if path.name == RUN_MODEL else (path,)
    return next((folder for folder in folders if any((folder / name).is_file() for name in (CONFIGURATION, OPTIONS))), None)


def recipe_of(model: str | Path) -> Recipe | None:
    """The recipe of the run that a model was named by; None where it has none. Raises InputError."""
    run = run_of(model)
    return load_config(run / CONFIGURATION) if run is not None and (run / CONFIGURATION).is_file() else None


def keep_options(options: DataOptions, run: Path) -> None:
    """Leaves in a run folder without a recipe how its pictures were read, for :func:`reading`."""
    (run / OPTIONS).write_text(yaml.safe_dump(configs.to_dict(options), sort_keys=False), encoding="utf-8")


def reading(model: str | Path, image_shape: tuple[int, int, int] | None = None, *, otherwise: Fit = "error") -> DataOptions:
    """How a user's pictures become images of the model: by the options of its run, in the model's own size and colours.

    ``otherwise`` is the ``fit`` where the run refuses pictures of another size. Without ``image_shape`` the shape is that of the run or the saved
    model; of a model on the hub nothing is known. Raises InputError for a run that cannot be read.
    """
    recipe, run, path = recipe_of(model), run_of(model), place(model)
    options, shape = DataOptions(), image_shape
    if recipe is not None:
        options, shape = recipe.data.options, image_shape or recipe.model.image_shape
    elif run is not None:
        try:
            options = configs.from_dict(DataOptions, parse_yaml(read_regular(run / OPTIONS)), where="options")
        except (OSError, ValueError) as error:
            raise InputError(f"{run / OPTIONS}: not the options of pictures ({' '.join(str(error).split())}): mend it, or remove it") from error
    if shape is None:
        saved = next((folder for folder in (path / RUN_MODEL, path) if (folder / CONFIG).is_file()), None)
        found = None if saved is None else read_document(saved).config.get("image_shape")
        shape = (int(found[0]), int(found[1]), int(found[2])) if isinstance(found, list) and len(found) == 3 else None
    if shape is None or shape[1] < 2 or shape[2] < 2:  # vectors have no size to be brought to
        return options
    size = options.size if options.target == shape[1:] else shape[1:]
    channels: Literal["auto", 1, 3] = 1 if shape[0] == 1 else 3 if shape[0] == 3 else "auto"
    return replace(options, size=size, fit=otherwise if options.fit == "error" else options.fit, channels=channels)


# --- who works in the folder ---


def leads() -> bool:
    """Whether this process writes for all."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Inside, no other command works in the folder, which is made if needed. Raises InputError where another command works in it.

    Of several processes of one training the leading one holds the lock for all.
    """
    if not leads():
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file: name another folder for the run")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder}: another command is using this run folder: wait until it ends, or name another folder") from error
    try:
        yield
    finally:
        lock.release()
        (folder / _LOCK).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # the run was refused before anything was written


def set_aside(folder: Path, *, console: bool = True) -> Path | None:
    """Moves what a run left in ``folder`` to a new name beside it, in one step; None where there is nothing.

    The folder must not be :func:`occupied` by this process.
    """
    if not leads() or not folder.is_dir() or not any(folder.iterdir()):
        return None
    with occupied(folder):
        number = next(n for n in range(1, 1 << 30) if not folder.with_name(f"{folder.name}.{n}").exists())
        aside = folder.rename(folder.with_name(f"{folder.name}.{number}"))
        (aside / _LOCK).unlink(missing_ok=True)
    if console:
        print(f"{folder}: moved the earlier run to {aside}", file=sys.stderr)
    return aside


def begun(folder: Path) -> bool:
    """Whether a training has saved a checkpoint here, of a single run or of its tasks."""
    return bool(checkpoints(folder)) or any(checkpoints(task) for task in folder.glob("tasks/*"))
