"""The folders of a run's tasks: which tasks are finished, and how the first ones are copied from another run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from memogen.shipped import RUN_MODEL
from memogen.training.checkpoint import checkpoint_path, checkpoints, read_checkpoint, saved_settings, step_of, verify
from memogen.training.config import FREE, Settings, TrainingConfig, plain
from memogen.training.runtime import start
from memogen.training.state import TrainState
from memogen.types import InputError

TAKEN = "taken"
"""A folder in the folder of a task that was copied from another run; it holds that run's last checkpoint of the task."""


def task_folder(folder: Path, number: int) -> Path:
    """tasks/task-NN of a run."""
    return folder / "tasks" / f"task-{number:02d}"


def task_folders(folder: Path) -> tuple[Path, ...]:
    """The task folders of a run that hold a model, by task number."""
    return tuple(sorted(path.parent.parent for path in (folder / "tasks").glob(f"task-*/{RUN_MODEL}/config.json")))


def finished_tasks(folder: Path, steps: int) -> int:
    """How many tasks, from the first on, have learned for ``steps`` steps each and have their model and a whole checkpoint."""
    number = 0
    while _whole(task_folder(folder, number), (number + 1) * steps):
        number += 1
    return number


def check_steps(folder: Path, steps: int) -> None:
    """Raises InputError if a run of several tasks used another number of steps a task than ``steps``: only the first task can be prolonged."""
    places = [task_folder(folder, number) for number in range(len(list((folder / "tasks").glob("task-*"))))]
    for number, place in enumerate(places if len(places) > 1 else ()):
        for path in checkpoints(place)[-1:]:
            asked = saved_settings(path).get("training.steps")
            if isinstance(asked, int) and asked != (number + 1) * steps:
                was = f"{asked // (number + 1):,} steps a task"
                raise InputError(f"{folder}: learned its tasks for {was}, not {steps:,}: give --training.steps as before, or name another folder")


def is_taken(place: Path) -> bool:
    """Whether this task was copied from another run."""
    return (place / TAKEN).is_dir()


def take_over(source: Path, folder: Path, digests: Sequence[str], config: TrainingConfig, *, settings: Settings, free: tuple[str, ...] = ()) -> None:
    """Copy the first tasks of the run ``source``, one for each of the data's ``digests``, to the run ``folder``. Tasks that are there stay.

    Raises what :func:`check_taken` raises.
    """
    check_taken(source, digests, config, settings=settings, free=free)
    for number in range(len(digests)):
        origin, place = task_folder(source, number), task_folder(folder, number)
        if place.exists():
            continue
        checkpoint, part = _checkpoint(origin, (number + 1) * config.steps), place.with_name(f".{place.name}")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(origin, part, ignore=shutil.ignore_patterns("checkpoints", TAKEN, "tensorboard"))
        shutil.copytree(checkpoint, part / TAKEN / checkpoint.name)
        part.rename(place)


def check_taken(source: Path, digests: Sequence[str], config: TrainingConfig, *, settings: Settings, free: tuple[str, ...] = ()) -> None:
    """Raises InputError if the first tasks of the run ``source``, one for each of ``digests``, are not finished, or used other images or other
    ``settings``. Settings whose names begin with one of ``free`` (how the past is kept) may differ.
    """
    check_source(source, len(digests), config.steps)
    current = plain({**settings, **{f"training.{name}": value for name, value in asdict(config).items()}})
    for number, digest in enumerate(digests):
        saved = verify(_checkpoint(task_folder(source, number), (number + 1) * config.steps))["settings"]
        names = {name for name in {*saved, *current} - FREE if not name.startswith((*free, "data.", "phases."))}
        if changed := sorted(name for name in names if saved.get(name) != current.get(name)):
            changes = ", ".join(f"{name} was {saved.get(name)!r} and is {current.get(name)!r}" for name in changed)
            raise InputError(f"{source}: its tasks cannot be taken over under other settings: {changes}: restore them, or learn every task again")
        if saved.get("data.digest") != digest:
            raise InputError(f"{source}: learned its task {number + 1} from other images: name a run on the same data, or learn every task again")


def check_source(source: Path, num_tasks: int, steps: int) -> None:
    """Raises InputError for a run ``source`` that has not learned its first tasks for ``steps`` steps each."""
    if not source.is_dir():
        raise InputError(f"start: {source}: there is no such run folder: name a run that learned the same sequence")
    if finished_tasks(source, steps) < num_tasks:
        several = "its first task" if num_tasks == 1 else f"{num_tasks} tasks"
        raise InputError(f"start: {source}: has not learned {several} for {steps} steps: name a run that has, with the same training.steps")


def load_taken(place: Path, model: nn.Module, config: TrainingConfig) -> TrainState:
    """Load a copied task's last checkpoint into ``model``; returns a state with its counters and without optimisers."""
    checkpoint = next(path for path in (place / TAKEN).iterdir() if step_of(path) >= 0)
    files, saved = read_checkpoint(checkpoint)
    start(config).place(model)
    model.load_state_dict(files["model"])
    spent = saved["seconds"], saved.get("processor_seconds", math.nan)
    return TrainState({"model": model}, {}, None, None, saved["settings"], saved["step"], saved["images_seen"], *spent)


def publish(place: Path, folder: Path) -> None:
    """Copy the task's model to the run's model/, which is replaced by one rename."""
    part = folder / f".{RUN_MODEL}.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(place / RUN_MODEL, part)
    shutil.rmtree(folder / RUN_MODEL, ignore_errors=True)
    part.rename(folder / RUN_MODEL)


def _whole(place: Path, step: int) -> bool:
    if not (place / RUN_MODEL / "config.json").is_file():
        return False
    try:
        verify(_checkpoint(place, step))
    except ValueError:
        return False
    return True


def _checkpoint(place: Path, step: int) -> Path:
    """The last checkpoint of a task, its own or the copied one."""
    own = checkpoint_path(place, step)
    return place / TAKEN / own.name if is_taken(place) else own
