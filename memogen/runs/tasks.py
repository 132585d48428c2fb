"""A run of tasks one after another: which images are learned, what two runs may share, and when the model is scored."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..data.task_sequence import TaskConfig, TaskSequence, num_classes, of_classes, task_sequence
from ..metrics.exam import Exam
from ..metrics.extractors import extractor
from ..metrics.registry import row_name
from ..metrics.rows import ResultRow, append_rows
from ..metrics.samples import Work
from ..models.replayed import state_bytes
from ..pretrained import from_pretrained
from ..progress import Bar
from ..recipes import Recipe
from ..report.history import read_rows
from ..training import Onlooker, SuccessionConfig, TrainState, fit_tasks, runtime
from ..training import task_folders as folders
from ..training.continual import TaskObjective
from ..training.fit import Watch
from ..training.grid import Evolution
from ..training.task_folders import check_source, finished_tasks
from ..types import ClassModel, CostedObjective, GenerativeModel, ImageData, InputError, LabelledConfig, PanelModel, to_uint8
from .configuration import Splits
from .folder import context, scored, settings, weights_of
from .stages import ClassStage, Examined, Kept, UnlabelledStage

SHOWN = 8  # images of a class in a panel of its evolution
FREE = (
    "objective.joint",
    "objective.alignment",
    "objective.consolidation",
    "objective.replay",  # also objective.replay_share
    "succession.teacher",
    "succession.keep_optimisers",
    "succession.fresh_critic",
    "succession.tasks.num_tasks",
)
"""Beginnings of the settings in which methods may differ and still share their first task."""


@dataclass(frozen=True)
class Training:
    """One training: its complete configuration, its run folder, and the budget that its result rows name."""

    recipe: Recipe
    folder: Path
    budget: str | None = None
    console: bool = True

    @cached_property
    def settings(self) -> dict[str, object]:
        """What its checkpoints must agree with."""
        return settings(self.recipe)

    @cached_property
    def context(self) -> dict[str, Any]:
        """What all its rows say."""
        return context(self.recipe, self.budget)

    @property
    def succession(self) -> SuccessionConfig:
        assert self.recipe.succession is not None, "the caller has looked"
        return self.recipe.succession

    def load(self, split: str) -> ImageData:
        """A split of its data, which is not kept here."""
        return Splits(self.recipe.data).load(split)


def check_start(recipe: Recipe, start: Path | None, start_tasks: int, *, resume: str) -> None:
    """Refuses a run ``start`` whose first tasks cannot be taken over, as far as no images are needed to know it. Raises InputError."""
    succession = recipe.succession
    if start is None and start_tasks > 1:
        raise InputError(f"start_tasks: --start-tasks {start_tasks} needs --start RUN, the run whose tasks are taken over")
    if start is None:
        return
    if start_tasks < 1:
        raise InputError(f"start_tasks is {start_tasks}: take over 1 or more")
    if succession is None or succession.tasks.joint:
        raise InputError(f"start: {recipe.recipe} {recipe.variant} does not learn tasks one after another: leave --start out")
    if resume == "never":
        raise InputError("start: --resume never learns the first task again, so --start has no use: leave one of the two out")
    if succession.keep_optimisers:
        raise InputError("start: succession.keep_optimisers needs the first task's optimisers, which are not taken over: leave one of the two out")
    check_source(start, start_tasks, recipe.training.steps)


def check_taken(run: Training, start: Path, start_tasks: int) -> None:
    """Refuses a run ``start`` whose first tasks were learned from other images or with other settings. Raises InputError."""
    folders.check_taken(start, _digests(run, start_tasks), run.recipe.training, settings=run.settings, free=FREE)


def begin(run: Training, start: Path | None, start_tasks: int) -> None:
    """Copy the first tasks of the run ``start``, if given, which :func:`check_start` has looked at. Raises InputError for one of other images or
    settings.
    """
    if start is None:
        return
    here = runtime.start(run.recipe.training)
    if here.leads:
        _take_first(run, start, _digests(run, start_tasks))
    here.processes.wait()


def learn(run: Training, *, resume: str = "auto", watch: Watch | None = None) -> TrainState:
    """Train on every task of the training split, and score the model after each. ``watch`` gets steps counted over all tasks.

    Only the task sequence holds pixels here, and it drops those of a task that is over.
    """
    config, tasks, objective = run.recipe.training, run.succession.tasks, run.recipe.objective
    assert isinstance(objective, TaskObjective), "with_images has looked"
    sequence, whole = _opened(run.load("train"), tasks)
    torch.manual_seed(config.seed)
    model: Any = run.recipe.model.build()
    if tasks.joint:
        config = replace(config, steps=config.steps * whole)
    stages = Stages(run, sequence.tasks, config.steps)
    if run.console and finished_tasks(run.folder, config.steps) == len(sequence):
        print(f"{run.folder}: all {len(sequence)} tasks are learned", file=sys.stderr, flush=True)
    return fit_tasks(
        model,
        objective,
        sequence,
        config,
        run.folder,
        succession=run.succession,
        resume=resume,
        settings=run.settings,
        onlooker=Onlooker(partial(_watch, config.steps, watch), stages.finished),
        console=run.console,
    )


def _watch(steps: int, watch: Watch | None, number: int, place: Path) -> Watch:
    """The watch of task ``number``: it keeps the images of the task's evolution and calls ``watch``."""
    evolution = Evolution(place, steps, panel)

    def both(step: int, model: torch.nn.Module) -> None:
        evolution(step, model)
        if watch is not None:
            watch(number * steps + step, model)

    return both


def _opened(images: ImageData, tasks: TaskConfig) -> tuple[TaskSequence, int]:
    """The sequence, and how many tasks there would be if none were joined."""
    return task_sequence(images, tasks), len(replace(tasks, joint=False).tasks(num_classes(images)))


def shared_start(run: Training) -> bool:
    """Copy the first task from another run in the same folder that learned the same task. False if there is none, or if this run has begun."""
    if run.succession.tasks.joint or run.succession.keep_optimisers or finished_tasks(run.folder, run.recipe.training.steps):
        return False
    digests = _digests(run, 1)
    for other in sorted(run.folder.parent.glob("*/tasks")):
        try:
            _take_first(run, other.parent, digests)
        except InputError:
            continue
        return True
    return False


def _take_first(run: Training, source: Path, digests: Sequence[str]) -> None:
    """The first tasks, whose images ``digests`` name, from another run."""
    folders.take_over(source, run.folder, digests, run.recipe.training, settings=run.settings, free=FREE)


def _digests(run: Training, num_tasks: int) -> list[str]:
    """The digests of the images of the first tasks. Raises InputError where there are fewer tasks."""
    sequence, _ = _opened(run.load("train"), run.succession.tasks)
    if num_tasks > len(sequence):
        raise InputError(f"start_tasks is {num_tasks}: the sequence has {len(sequence)} tasks: give {len(sequence)} or fewer")
    return [sequence.digest(number) for number in range(num_tasks)]


def panel(model: torch.nn.Module) -> tuple[tuple[int, ...], torch.Tensor]:
    """The images that show a training's progress, in rows of ``SHOWN``, and the class of each row where the model knows classes."""
    if isinstance(model, PanelModel):
        return model.panel(SHOWN)
    assert isinstance(model, GenerativeModel), "what learns tasks draws images"
    return (), to_uint8(model.sample(2 * SHOWN, seed=1), model.image_range)[None]


@dataclass(frozen=True)
class Stages:
    """Scores the model after each of ``tasks``, of ``steps`` steps each: class by class, and at the end what was kept and what it cost."""

    run: Training
    tasks: tuple[tuple[int, ...], ...]
    steps: int

    def finished(self, number: int, place: Path, state: TrainState) -> None:
        """Append the rows of task ``number``, unless they are there already."""
        path, scoring = self.run.folder / "results.jsonl", self.run.recipe.scoring
        if scoring.extractor is None:
            return
        rows = [row for row in read_rows(path) if row.config == self.run.context["config"]]
        about = {**self.run.context, **state.counts(), "weights": weights_of(place / "model")}
        if scored((row for row in rows if row.task == number), about):
            return
        benchmark = "continual" in scoring.metrics
        if self.run.console:
            each = " of every class" if isinstance(self.run.recipe.model, LabelledConfig) and not benchmark else ""
            said = f"{scoring.num_samples:,} samples{each} (--scoring.extractor null leaves it out)"
            print(f"task {number + 1} of {len(self.tasks)} is learned; scoring {said}", file=sys.stderr, flush=True)
        device = runtime.choose_device(self.run.recipe.training.device)
        model: Any = from_pretrained(place / "model").to(device)
        with Bar(shown=self.run.console) as bar:
            judge, test, work = extractor(scoring.extractor, device=device), self.run.load("test"), Work(bar=bar)
            if benchmark:
                found = self._examined(Exam(judge, test, self.tasks, scoring.num_samples, scoring.seed, work=work), model, number, rows)
            elif isinstance(model, ClassModel):
                found = self._by_class(ClassStage(model, judge, test, scoring, work), number, rows)
            else:
                found = UnlabelledStage(model, judge, test, scoring, number, self.tasks, work).rows()
        append_rows(path, [self._addressed(row, about) for row in found])
        if self.run.console:
            overall = {row.metric: row.value for row in found if row.class_ is None and row.variant != "real" and row.value is not None}
            words = ", ".join(f"{metric} {value:,.0f}" if value >= 1000 else f"{metric} {value:.3f}" for metric, value in overall.items())
            print(f"task {number + 1} of {len(self.tasks)}: {words}", file=sys.stderr, flush=True)

    def _by_class(self, stage: ClassStage, number: int, earlier: Sequence[ResultRow]) -> list[ResultRow]:
        by_class, means = stage.by_class(number), stage.over_classes()
        if number + 1 < len(self.tasks):
            return by_class + [row for row in means if self._printed(row) is not None]
        cost = stage.cost(self.run.recipe.objective, self.tasks, steps=self.steps, batch_size=self.run.recipe.training.batch_size)
        return [*by_class, *means, stage.real(), *stage.by_students(self.run.load("train")), *stage.kept(earlier, self.tasks), *cost]

    def _examined(self, exam: Exam, model: Any, number: int, earlier: Sequence[ResultRow]) -> list[ResultRow]:
        """By the protocol of the continual benchmark."""
        examined = Examined(exam)
        found = examined.after(number, exam.drawn(model, number))
        if number + 1 < len(self.tasks):
            return found
        train = self.run.load("train")
        return [*found, *examined.end([*earlier, *found], self._kept(model, train)), *examined.real(train)]

    def _kept(self, model: Any, train: ImageData) -> Kept:
        """Of a model of this library; joint training has to keep the images of all tasks but the last."""
        objective, tasks, size = self.run.recipe.objective, self.run.succession.tasks, state_bytes(model)
        past, drawn = None, None
        if isinstance(objective, CostedObjective):
            numbers, batch_size = [len(classes) for classes in self.tasks], self.run.recipe.training.batch_size
            cost = objective.cost(model, numbers, steps=self.steps, batch_size=batch_size)
            past, drawn = round(1e6 * cost["kept_megabytes"]), round(cost["generated_images"])
        if tasks.joint:
            before = replace(tasks, joint=False).tasks(num_classes(train))[:-1]
            past = of_classes(train, list(chain.from_iterable(before))).image.nbytes if before else 0
        return Kept(size + (past or 0), past, drawn)

    def _printed(self, row: ResultRow) -> float | None:
        """The paper's value of this number."""
        claims = {claim.metric: claim.value for claim in self.run.recipe.claims}
        return claims.get(row_name(row)) if row.task is None and row.variant != "real" else None

    def _addressed(self, row: ResultRow, about: Mapping[str, Any]) -> ResultRow:
        """A complete result row; ``about`` holds what all rows of the task say."""
        if row.variant == "real":
            return ResultRow.read({**self.run.context, "steps": 0, "images": 0, "training_seconds": 0, **row, "paper": None})
        return ResultRow.read({**about, "variant": self.run.recipe.variant, **row, "paper": self._printed(row)})
