"""The folders of a sequence's tasks: which are finished, and how the first ones are taken over from another run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from memogen.shipped import RUN_MODEL
from memogen.training.checkpoint import asked_steps, checkpoint_path, checkpoints, read_checkpoint, step_of, verify
from memogen.training.config import TrainingConfig
from memogen.training.runtime import start
from memogen.training.settings import FREE, Settings, plain
from memogen.training.state import TrainState
from memogen.types import InputError

TAKEN = "taken"
"""In a task's folder: the model that it ended with; and, where another run made it, a folder with that run's last checkpoint of it."""


def task_folder(folder: Path, number: int) -> Path:
    """tasks/task-NN of a run."""
    return folder / "tasks" / f"task-{number:02d}"


def task_folders(folder: Path) -> tuple[Path, ...]:
    """Those of a run that hold a model, in the order of the tasks."""
    return tuple(sorted(path.parent.parent for path in (folder / "tasks").glob(f"task-*/{RUN_MODEL}/config.json")))


def finished_tasks(folder: Path, steps: int) -> int:
    """How many tasks, from the first, have been learned for ``steps`` each and left their model and a whole checkpoint."""
    number = 0
    while _whole(task_folder(folder, number), (number + 1) * steps):
        number += 1
    return number


def check_steps(folder: Path, steps: int) -> None:
    """Raises InputError where a run of several tasks learned one of them for another number of steps than ``steps``: only a first task can go on."""
    places = [task_folder(folder, number) for number in range(len(list((folder / "tasks").glob("task-*"))))]
    for number, place in enumerate(places if len(places) > 1 else ()):
        for path in checkpoints(place)[-1:]:
            asked = asked_steps(path)
            if asked is not None and asked != (number + 1) * steps:
                was = f"{asked // (number + 1):,} steps a task"
                raise InputError(f"{folder}: learned its tasks for {was}, not {steps:,}: give --training.steps as before, or name another folder")


def is_taken(place: Path) -> bool:
    """Whether another run learned this task."""
    return (place / TAKEN).is_dir()


def take_over(source: Path, folder: Path, digests: Sequence[str], config: TrainingConfig, *, settings: Settings, free: tuple[str, ...] = ()) -> None:
    """Begin the run ``folder`` with copies of the first tasks of the run ``source``, whose images ``digests`` name; tasks that it has already stay.

    Refused is a source whose tasks are not finished, or that was trained on other images or under other ``settings``; those that begin with one of
    ``free``, and say only how the past is kept, may differ. Raises InputError.
    """
    num_tasks, steps, current = (
        len(digests),
        config.steps,
        plain({**settings, **{f"training.{name}": value for name, value in asdict(config).items()}}),
    )
    if not source.is_dir():
        raise InputError(f"start: {source}: there is no such run folder: name a run that learned the same sequence")
    if finished_tasks(source, steps) < num_tasks:
        several = "its first task" if num_tasks == 1 else f"{num_tasks} tasks"
        raise InputError(f"start: {source}: has not learned {several} for {steps} steps: name a run that has, with the same training.steps")
    for number, digest in enumerate(digests):
        origin, place = task_folder(source, number), task_folder(folder, number)
        checkpoint = _checkpoint(origin, (number + 1) * steps)
        saved = verify(checkpoint)["settings"]
        _refuse_other(saved, current, free, source)
        if saved.get("data.digest") != digest:
            raise InputError(f"{source}: learned its task {number + 1} from other images: name a run on the same data, or learn every task again")
        if place.exists():
            continue
        part = place.with_name(f".{place.name}")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(origin, part, ignore=shutil.ignore_patterns("checkpoints", TAKEN, "tensorboard"))
        shutil.copytree(checkpoint, part / TAKEN / checkpoint.name)
        part.rename(place)


def take_up(place: Path, model: nn.Module, config: TrainingConfig) -> TrainState:
    """Brings ``model`` to where the run that learned a taken-over task left it: a state with its weights and counters, without optimisers."""
    checkpoint = next(path for path in (place / TAKEN).iterdir() if step_of(path) >= 0)
    files, saved = read_checkpoint(checkpoint)
    start(config).place(model)
    model.load_state_dict(files["model"])
    spent = saved["seconds"], saved.get("processor_seconds", math.nan)
    return TrainState({"model": model}, {}, None, None, saved["settings"], saved["step"], saved["images_seen"], *spent)


def publish(place: Path, folder: Path) -> None:
    """Make the task's model the run's, in one piece."""
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
    """The last checkpoint of a task, its own or the one that was taken over."""
    own = checkpoint_path(place, step)
    return place / TAKEN / own.name if is_taken(place) else own


def _refuse_other(saved: Mapping[str, object], current: Mapping[str, object], free: tuple[str, ...], source: Path) -> None:
    names = {name for name in {*saved, *current} - FREE if not name.startswith((*free, "data.", "phases."))}
    changed = sorted(name for name in names if saved.get(name) != current.get(name))
    if changed:
        changes = ", ".join(f"{name} was {saved.get(name)!r} and is {current.get(name)!r}" for name in changed)
        raise InputError(f"{source}: its tasks cannot be taken over under other settings: {changes}: restore them, or learn every task again")
