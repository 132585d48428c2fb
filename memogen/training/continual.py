"""Training on a sequence of tasks: after each task the objective's teacher becomes a copy of the model, and the optimisers start again.

Every task has its own folder under ``tasks/``, written by :func:`memogen.training.fit.fit`; the run's ``model/`` is that of the newest task.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import nn

from memogen.data.task_sequence import TaskConfig, TaskSequence
from memogen.training.config import Settings, TrainingConfig
from memogen.training.fit import Course, Watch, fit
from memogen.training.runtime import settled, start
from memogen.training.state import TrainState
from memogen.training.task_folders import check_steps, finished_tasks, is_taken, load_taken, publish, task_folder
from memogen.types import InputError, Objective


@dataclass(frozen=True)
class SuccessionConfig:
    """The tasks, and what happens between two of them.

    ``keep_optimisers``: Adam's moments continue; the authors reset them. ``fresh_critic``: its weights are drawn anew; the authors' continue.
    ``teacher``: the "live" generator becomes the teacher, as in the authors' code, or its running average ("averaged").
    """

    tasks: TaskConfig = field(default_factory=TaskConfig)
    keep_optimisers: bool = False
    fresh_critic: bool = False
    teacher: Literal["live", "averaged"] = "live"

    def __post_init__(self) -> None:
        if self.teacher not in ("live", "averaged"):
            raise ValueError(f"teacher is {self.teacher!r}; it must be 'live' or 'averaged'")


@runtime_checkable
class TaskObjective(Objective, Protocol):
    """An objective for a sequence of tasks. ``teacher`` makes the module that keeps the past (or None); ``teach`` copies the model to it."""

    def teacher(self, model: Any) -> nn.Module | None: ...
    def teach(self, teacher: Any, model: Any) -> None: ...


@runtime_checkable
class SettlingObjective(TaskObjective, Protocol):
    """An objective that also changes the live model before the next task. ``best`` has the weights to continue from, live or averaged."""

    def settle(self, model: Any, best: Any) -> None: ...


@runtime_checkable
class ToldModel(Protocol):
    """A model that is told the classes of each task, and whose critic can be reset."""

    def begin_task(self, number: int, classes: Sequence[int]) -> None: ...
    def renew_critic(self, *, seed: int) -> None: ...


@dataclass(frozen=True)
class Onlooker:
    """Callbacks on the leading process. ``watch`` gets a task's number and folder and returns what is called after each of its steps; ``finished``
    is called after a task, with its number, folder and state.
    """

    watch: Callable[[int, Path], Watch] | None = None
    finished: Callable[[int, Path, TrainState], None] | None = None


def fit_tasks(
    model: Any,
    objective: TaskObjective,
    sequence: TaskSequence,
    config: TrainingConfig,
    folder: Path | str,
    *,
    succession: SuccessionConfig = SuccessionConfig(),
    resume: str = "auto",
    settings: Settings | None = None,
    onlooker: Onlooker = Onlooker(),
    console: bool = True,
) -> TrainState:
    """Train ``model`` in place on every task of ``sequence``, for ``config.steps`` steps each. A stopped run continues to the same bits.

    A :class:`ToldModel` is told the classes; any other model gets images without labels. The counters continue from task to task, so that no noise is
    drawn twice. Resuming reloads the last finished task without training it again; tasks copied from another run are reloaded one by one.
    ``resume`` is "auto", or "never" to remove all tasks first. Raises what :func:`memogen.training.fit.fit` raises.
    """
    from memogen.pretrained import from_pretrained

    check_resume(resume)
    check_critic(model, succession)
    folder = Path(folder)
    config = settled(config, *([folder] if resume == "auto" else []))
    runtime = start(config)
    if resume == "never" and runtime.leads:
        shutil.rmtree(folder / "tasks", ignore_errors=True)
    runtime.processes.wait()
    check_steps(folder, config.steps)
    teacher, state = objective.teacher(model), None
    if teacher is not None:
        runtime.place(teacher)
    finished = finished_tasks(folder, config.steps)
    if finished > len(sequence):
        raise InputError(f"{folder}: has learned {finished} tasks, more than this sequence has: name another folder; --start can copy the first task")
    last = max(finished - 1, 0)  # its checkpoint holds the teacher too; but tasks copied from another run are reloaded from the first on
    for number in range(0 if is_taken(task_folder(folder, last)) else last, len(sequence)):
        place, task = task_folder(folder, number), sequence.open(number)
        if isinstance(model, ToldModel):
            model.begin_task(task.number, task.classes)
            images = task.data
        else:
            images = replace(task.data, label=None, classes=())
        if is_taken(place):
            if succession.keep_optimisers:
                raise InputError(f"{place}: another run learned this task, whose optimisers are not here: leave keep_optimisers off")
            state = load_taken(place, model, config)
        else:
            if number and succession.fresh_critic:
                model.renew_critic(seed=config.seed + number)
            watch = onlooker.watch(number, place) if onlooker.watch else None
            title, end = f"task {number + 1} of {len(sequence)}", len(sequence) * config.steps
            course = Course(teacher, number * config.steps, state, succession.keep_optimisers, watch, title, end)
            whole = replace(config, steps=(number + 1) * config.steps)
            state = fit(model, objective, images, whole, place, settings=settings, console=console, course=course)
        if runtime.leads:
            publish(place, folder)
            if onlooker.finished is not None:
                onlooker.finished(number, place, state)
        runtime.processes.wait()
        if number + 1 < len(sequence):
            best = model if succession.teacher == "live" else from_pretrained(place / "model").to(runtime.device)
            if teacher is not None:
                objective.teach(teacher, best)
            if isinstance(objective, SettlingObjective):
                objective.settle(model, best)
    assert state is not None, "a sequence has a task or more, and no more are finished"
    return state


def check_critic(model: nn.Module, succession: SuccessionConfig) -> None:
    """Raises InputError for a critic that is to be reset and cannot be."""
    if succession.fresh_critic and not isinstance(model, ToldModel):
        raise InputError(f"succession.fresh_critic: a {type(model).__name__} cannot reset its critic: leave it off")


def check_resume(resume: str) -> None:
    """Raises InputError for a ``resume`` that :func:`fit_tasks` does not know."""
    if resume not in ("auto", "never"):
        raise InputError(
            f"resume: {resume!r}: a sequence of tasks begins with its own: use auto or never, or --start RUN for another run's first tasks"
        )
