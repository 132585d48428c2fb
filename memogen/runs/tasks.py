"""A run of tasks one after another: what is learned of which images, what two runs may share, and when the model is scored."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..data.task_sequence import TaskConfig, TaskSequence, num_classes, of_classes, task_sequence
from ..metrics.continual import Exam
from ..metrics.extractors import extractor
from ..metrics.registry import row_name
from ..metrics.rows import ResultRow, append_rows
from ..metrics.work import Work
from ..models.replayed import state_bytes
from ..pretrained import from_pretrained
from ..progress import Bar
from ..recipes import Recipe
from ..report.history import read_rows
from ..training import Onlooker, SuccessionConfig, TrainState, fit_tasks, runtime
from ..training.continual import TaskObjective, check_resume
from ..training.fit import Watch
from ..training.grid import Evolution
from ..training.task_folders import finished_tasks, take_over
from ..types import ClassModel, CostedObjective, GenerativeModel, ImageData, InputError, LabelledConfig, PanelModel, to_uint8
from .examined import Examined, Kept
from .rows import scored, weights_of
from .stages import ClassStage, UnlabelledStage

SHOWN = 8  # images of a class in a panel of its evolution
FREE = (
    "objective.joint",
    "objective.alignment",
    "objective.consolidation",
    "objective.replay",  # and objective.replay
    "succession.teacher",
    "succession.keep_optimisers",
    "succession.fresh_critic",
    "succession.tasks.num_tasks",
)
"""Settings in which methods may differ and still share their first task."""


@dataclass(frozen=True)
class TaskRun:
    """One run: ``settings`` are what its checkpoints must agree with, ``context`` what all its rows say; ``load`` reads a split of its data."""

    recipe: Recipe
    folder: Path
    settings: Mapping[str, object]
    context: Mapping[str, Any]
    load: Callable[[str], ImageData]
    console: bool = True

    @property
    def succession(self) -> SuccessionConfig:
        assert self.recipe.succession is not None, "the caller has looked"
        return self.recipe.succession

    @property
    def objective(self) -> TaskObjective:
        assert isinstance(self.recipe.objective, TaskObjective), "with_classes has looked"
        return self.recipe.objective


def begin(run: TaskRun, *, resume: str = "auto", start: Path | None = None, start_tasks: int = 1) -> None:
    """Before anything is written: refuse wrong options, and copy the first tasks of the run ``start`` if it is given. Raises InputError."""
    if run.recipe.succession is not None:
        check_resume(resume)
    if start is None and start_tasks > 1:
        raise InputError(f"start_tasks: --start-tasks {start_tasks} needs --start RUN, the run whose tasks are taken over")
    if start is None:
        return
    if run.recipe.succession is None or run.succession.tasks.joint:
        raise InputError(f"start: {run.recipe.recipe} {run.recipe.variant} does not learn tasks one after another: leave --start out")
    if resume == "never":
        raise InputError("start: --resume never learns the first task again, so --start has no use: leave one of the two out")
    if run.succession.keep_optimisers:
        raise InputError("start: succession.keep_optimisers needs the first task's optimisers, which are not taken over: leave one of the two out")
    here = runtime.start(run.recipe.training)
    if here.leads:
        _take_first(run, start, _digests(run, start_tasks))
    here.processes.wait()


def learn(run: TaskRun, *, resume: str = "auto", watch: Watch | None = None) -> TrainState:
    """Train on every task of the training split, and score the model after each. ``watch`` counts the steps of all tasks together.

    Only the task sequence holds pixels here, and it drops those of a task that is over.
    """
    config, tasks = run.recipe.training, run.succession.tasks
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
        run.objective,
        sequence,
        config,
        run.folder,
        succession=run.succession,
        resume=resume,
        settings=dict(run.settings),
        onlooker=Onlooker(partial(_watch, config.steps, watch), stages.finished),
        console=run.console,
    )


def _watch(steps: int, watch: Watch | None, number: int, place: Path) -> Watch:
    """What is called after each step of task ``number``: it keeps the images of the task's evolution and calls ``watch``."""
    evolution = Evolution(place, steps, panel)

    def both(step: int, model: torch.nn.Module) -> None:
        evolution(step, model)
        if watch is not None:
            watch(number * steps + step, model)

    return both


def _opened(images: ImageData, tasks: TaskConfig) -> tuple[TaskSequence, int]:
    """The sequence, and how many tasks there would be if none were joined."""
    return task_sequence(images, tasks), len(replace(tasks, joint=False).tasks(num_classes(images)))


def shared_start(run: TaskRun) -> bool:
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


def _take_first(run: TaskRun, source: Path, digests: Sequence[str]) -> None:
    """The first tasks, whose images ``digests`` name, from another run."""
    take_over(source, run.folder, digests, run.recipe.training, settings=dict(run.settings), free=FREE)


def _digests(run: TaskRun, num_tasks: int) -> list[str]:
    """What names the images of the first tasks. Raises InputError where there are fewer."""
    sequence, _ = _opened(run.load("train"), run.succession.tasks)
    if num_tasks > len(sequence):
        raise InputError(f"start_tasks is {num_tasks}: the sequence has {len(sequence)} tasks: give {len(sequence)} or fewer")
    return [sequence.digest(number) for number in range(num_tasks)]


def panel(model: torch.nn.Module) -> tuple[tuple[int, ...], torch.Tensor]:
    """The images by which a training is watched, rows of ``SHOWN``, and the class of each row where a model says it."""
    if isinstance(model, PanelModel):
        return model.panel(SHOWN)
    assert isinstance(model, GenerativeModel), "what learns tasks draws images"
    return (), to_uint8(model.sample(2 * SHOWN, seed=1), model.image_range)[None]


@dataclass(frozen=True)
class Stages:
    """Scores the model after each of ``tasks``, learned for ``steps`` each: class by class, and at the end what was kept and what it cost."""

    run: TaskRun
    tasks: tuple[tuple[int, ...], ...]
    steps: int

    def finished(self, number: int, place: Path, state: TrainState) -> None:
        """Append the rows of task ``number``; a task that is scored already is left alone."""
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
            print(f"task {number + 1} of {len(self.tasks)}: {_scores_in_words(found)}", file=sys.stderr, flush=True)

    def _by_class(self, stage: ClassStage, number: int, earlier: Sequence[ResultRow]) -> list[ResultRow]:
        by_class, means = stage.by_class(number), stage.over_classes()
        if number + 1 < len(self.tasks):
            return by_class + [row for row in means if self._printed(row) is not None]
        cost = stage.cost(self.run.objective, self.tasks, steps=self.steps, batch_size=self.run.recipe.training.batch_size)
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
        """Of a method of ours; joint training has to keep the images of all tasks but the last."""
        objective, tasks, size = self.run.objective, self.run.succession.tasks, state_bytes(model)
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
        """What the paper prints of this number."""
        claims = {claim.metric: claim.value for claim in self.run.recipe.claims}
        return claims.get(row_name(row)) if row.task is None and row.variant != "real" else None

    def _addressed(self, row: ResultRow, about: Mapping[str, Any]) -> ResultRow:
        """A complete result row; ``about`` says what all rows of the task say."""
        if row.variant == "real":
            return ResultRow.read({**self.run.context, "steps": 0, "images": 0, "training_seconds": 0, **row, "paper": None})
        return ResultRow.read({**about, "variant": self.run.recipe.variant, **row, "paper": self._printed(row)})


def _scores_in_words(rows: Sequence[ResultRow]) -> str:
    """The numbers of a stage that are of no single class, in one line."""
    values = {row.metric: row.value for row in rows if row.class_ is None and row.variant != "real" and row.value is not None}
    return ", ".join(f"{metric} {value:,.0f}" if value >= 1000 else f"{metric} {value:.3f}" for metric, value in values.items())
