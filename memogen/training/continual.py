"""Tasks one after another: after each of them the objective's teacher becomes the model, and the optimisers begin anew.

Every task has a folder of its own under ``tasks/``, as :func:`memogen.training.fit.fit` leaves it; the run's ``model/`` is that of the newest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import nn

from memogen.data.task_sequence import Task, TaskConfig, TaskSequence
from memogen.training.config import TrainingConfig
from memogen.training.course import Course, Watch
from memogen.training.fit import fit
from memogen.training.runtime import start
from memogen.training.settings import Settings
from memogen.training.state import TrainState
from memogen.training.task_folders import check_steps, finished_tasks, is_taken, publish, take_up, task_folder
from memogen.types import ImageData, InputError, Objective


@dataclass(frozen=True)
class SuccessionConfig:
    """Which tasks there are, and what happens between them.

    ``keep_optimisers``: their moments go on; the authors reset them. ``fresh_critic``: it begins anew; theirs goes on. ``teacher``: the "live"
    generator teaches, as theirs does, or its running average ("averaged").
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
    """An objective that keeps the past: ``teacher`` makes what will hold it (None: nothing does), ``teach`` fills it with the model after a task."""

    def teacher(self, model: Any) -> nn.Module | None: ...
    def teach(self, teacher: Any, model: Any) -> None: ...


@runtime_checkable
class SettlingObjective(TaskObjective, Protocol):
    """One that also changes the live model before the next task: ``best`` has the weights that go on, the live or the averaged ones."""

    def settle(self, model: Any, best: Any) -> None: ...


@runtime_checkable
class ToldModel(Protocol):
    """A model that is told which classes each task has, and whose critic can begin anew."""

    def begin_task(self, number: int, classes: Sequence[int]) -> None: ...
    def renew_critic(self, *, seed: int) -> None: ...


@dataclass(frozen=True)
class Onlooker:
    """What happens beside the training, on the leading process: ``watch`` gives for a task's number and folder what is shown each of its steps;
    ``finished`` is told when a task has been learned.
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
    """Trains ``model`` in place on every task of ``sequence``, for ``config.steps`` each, and continues a run to the bits it would have had.

    A :class:`ToldModel` is told the classes; to another the images come without their labels.
    Resuming reloads the last finished task without training it again; tasks that were taken over are reloaded one by one.
    The counters go on from task to task, so no noise is drawn twice.
    ``resume`` is "auto", or "never" to remove all tasks. Raises what :func:`memogen.training.fit.fit` raises.
    """
    check_resume(resume)
    if succession.fresh_critic and not isinstance(model, ToldModel):
        raise InputError(f"succession.fresh_critic: a {type(model).__name__} cannot reset its critic: leave it off")
    folder, runtime = Path(folder), start(config)
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
    for number in range(_first_open(folder, finished), len(sequence)):
        place, images = task_folder(folder, number), _begun(model, sequence.open(number))
        if is_taken(place):
            if succession.keep_optimisers:
                raise InputError(f"{place}: another run learned this task, whose optimisers are not here: leave keep_optimisers off")
            state = take_up(place, model, config)
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
            best = model if succession.teacher == "live" else _averaged(place, runtime.device)
            if teacher is not None:
                objective.teach(teacher, best)
            if isinstance(objective, SettlingObjective):
                objective.settle(model, best)
    assert state is not None, "a sequence has a task or more, and no more are finished"
    return state


def _first_open(folder: Path, finished: int) -> int:
    """The task to begin with: the last finished one, whose checkpoint holds the teacher too; but the first where others learned them."""
    last = max(finished - 1, 0)
    return 0 if is_taken(task_folder(folder, last)) else last


def _begun(model: Any, task: Task) -> ImageData:
    """The images of a task that begins, with their labels for a model that is told them."""
    if not isinstance(model, ToldModel):
        return replace(task.data, label=None, classes=())
    model.begin_task(task.number, task.classes)
    return task.data


def check_resume(resume: str) -> None:
    """Raises InputError for what :func:`fit_tasks` cannot resume by."""
    if resume not in ("auto", "never"):
        raise InputError(
            f"resume: {resume!r}: a sequence of tasks begins with its own: use auto or never, or --start RUN for another run's first tasks"
        )


def _averaged(place: Path, device: Any) -> nn.Module:
    """The model that the task's folder holds, whose weights are averages."""
    from memogen.pretrained import from_pretrained

    return from_pretrained(place / "model").to(device)
