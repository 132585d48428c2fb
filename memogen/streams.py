"""A run over a stream of tasks: what is learned of which images, what two runs may share, and when the model is scored.

Called by :mod:`memogen.runs`, which knows what a run folder is and what its rows are called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data.stream import StreamConfig, TaskStream, check_stream, num_classes, of_classes, task_stream
from .metrics.extractors import NetworkExtractor, extractor
from .metrics.registry import told
from .metrics.rows import UNSEEN, ResultRow, append_rows
from .metrics.stream import device_of
from .metrics.work import Bar, Work
from .models import MemoryGAN, MemoryGANObjective, ReplayGAN, ReplayGANConfig, ReplayGANObjective
from .models.replay_gan import BatchStatistics
from .models.replay_gan.cost import cost
from .pretrained import from_pretrained
from .recipes import Recipe
from .report.history import read_rows
from .stages import Stage
from .training import Onlooker, SuccessionConfig, TrainState, fit_stream, runtime
from .training.continual import check_resume
from .training.evolution import Evolution
from .training.tasks import finished_tasks, take_over
from .types import ImageData, InputError, to_uint8
from .unlabelled import UnlabelledStage

SHOWN = 8  # images of a class in a panel of its evolution
FREE = (
    "objective.joint",
    "objective.alignment",
    "objective.consolidation",
    "objective.replay",
    "succession.teacher",
    "succession.keep_optimisers",
    "succession.fresh_critic",
    "succession.tasks.num_tasks",
)
"""Settings in which methods may differ and still share their first task."""


@dataclass(frozen=True)
class StreamRun:
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
    def objective(self) -> ReplayGANObjective | MemoryGANObjective:
        assert isinstance(self.recipe.objective, ReplayGANObjective | MemoryGANObjective), "with_classes has looked"
        return self.recipe.objective


def with_classes(recipe: Recipe, images: ImageData) -> Recipe:
    """The recipe with a label slot for each class of the data, called by its name; slots that are left over stay. A memoryGAN is told no classes."""
    if recipe.succession is None:
        return recipe
    check_stream(images, recipe.succession.tasks)
    if isinstance(recipe.objective, MemoryGANObjective):
        return recipe
    if not isinstance(recipe.model, ReplayGANConfig):
        raise InputError(f"succession: {recipe.recipe} learns no stream of tasks: leave it null, or use a recipe of replay_gan")
    count = num_classes(images)
    return replace(recipe, model=replace(recipe.model, num_classes=max(count, recipe.model.num_classes), classes=images.classes[:count]))


def check_judge(recipe: Recipe, test: ImageData, judge: NetworkExtractor) -> None:
    """Refuse before the training a class without test images or unknown to the judge. Raises InputError."""
    assert recipe.succession is not None, "the caller has looked"
    labels = list(chain.from_iterable(recipe.succession.tasks.tasks(num_classes(test))))
    known = judge(torch.from_numpy(np.array(of_classes(test, labels).image[:1])).to(device_of(judge))).shape[1]
    if max(labels) >= known:
        raise InputError(f"scoring.extractor: {judge.name} knows {known} classes, and class {max(labels)} is learned: use a classifier of the data")


def begin(run: StreamRun, *, resume: str = "auto", start: Path | None = None, start_tasks: int = 1) -> None:
    """Before anything is written: refuse what cannot be, and take over the first tasks of the run ``start`` where there is one. Raises InputError."""
    if run.recipe.succession is not None:
        check_resume(resume)
    if start is None and start_tasks > 1:
        raise InputError(f"start_tasks is {start_tasks}: of no run: name it with start")
    if start is None:
        return
    if run.recipe.succession is None or run.succession.tasks.joint:
        raise InputError(f"start: {run.recipe.recipe} {run.recipe.variant} learns no tasks one after another: leave it out")
    if resume == "never":
        raise InputError("start: with --resume never the first task is learned anew: leave one of the two out")
    if run.succession.keep_optimisers:
        raise InputError("start: succession.keep_optimisers needs the first task's optimisers, which are not taken over: leave one of the two out")
    here = runtime.start(run.recipe.training)
    if here.leads:
        _take_first(run, start, _digests(run, start_tasks))
    here.barrier()


def learn(run: StreamRun, *, resume: str = "auto") -> TrainState:
    """Train on every task of the training split, scoring the model after each.

    The stream alone leads to pixels here, and to none of a task that is over.
    """
    config, tasks = run.recipe.training, run.succession.tasks
    stream, whole = _opened(run.load("train"), tasks)
    torch.manual_seed(config.seed)
    model: Any = run.recipe.model.build()
    if tasks.joint:
        config = replace(config, steps=config.steps * whole)
    stages = Stages(run, stream.tasks, config.steps)
    if run.console and finished_tasks(run.folder, config.steps) == len(stream):
        print(f"{run.folder}: all {len(stream)} tasks are learned", file=sys.stderr, flush=True)
    return fit_stream(
        model,
        run.objective,
        stream,
        config,
        run.folder,
        succession=run.succession,
        resume=resume,
        settings=dict(run.settings),
        onlooker=Onlooker(lambda number, place: Evolution(place, config.steps, panel), stages.finished),
        console=run.console,
    )


def _opened(images: ImageData, tasks: StreamConfig) -> tuple[TaskStream, int]:
    """The stream, and how many tasks there would be if none were joined."""
    return task_stream(images, tasks), len(replace(tasks, joint=False).tasks(num_classes(images)))


def shared_start(run: StreamRun) -> bool:
    """Begin a run with the first task of a run beside it, where one has learned the same; False where none has, or it has begun."""
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


def _take_first(run: StreamRun, source: Path, digests: Sequence[str]) -> None:
    """The first tasks, whose images ``digests`` name, from another run."""
    take_over(source, run.folder, digests, run.recipe.training, settings=dict(run.settings), free=FREE)


def _digests(run: StreamRun, num_tasks: int) -> list[str]:
    """What names the images of the first tasks. Raises InputError where there are fewer."""
    stream, _ = _opened(run.load("train"), run.succession.tasks)
    if num_tasks > len(stream):
        raise InputError(f"start_tasks is {num_tasks}: the stream has {len(stream)} tasks: take over as many or fewer")
    return [stream.digest(number) for number in range(num_tasks)]


def panel(model: torch.nn.Module) -> tuple[tuple[int, ...], torch.Tensor]:
    """The known classes and images of fixed latents of each, by the statistics of a batch as in training; without classes, as many rows of any.

    Of a memoryGAN a single row; its latents are drawn by address, and the slots behind them change as the memory does.
    """
    if isinstance(model, MemoryGAN):
        return (), to_uint8(model.sample(2 * SHOWN, seed=1), model.image_range)[None]
    assert isinstance(model, ReplayGAN)
    drawn, rows = BatchStatistics(model), len(model.known)
    if not model.config.conditional:
        whole = drawn.decode(model.latents(max(64, rows * SHOWN), seed=1))[: rows * SHOWN]
        return (), to_uint8(whole, model.image_range).unflatten(0, (rows, SHOWN))
    return model.known, to_uint8(drawn.sample(rows * SHOWN, seed=1), model.image_range).unflatten(0, (SHOWN, rows)).transpose(0, 1)


@dataclass(frozen=True)
class Stages:
    """Scores the model after each of ``tasks``, learned for ``steps`` each: class by class, and at the end what was kept and what it cost."""

    run: StreamRun
    tasks: tuple[tuple[int, ...], ...]
    steps: int

    def finished(self, number: int, place: Path, state: TrainState) -> None:
        """Append the rows of task ``number``; a task that is scored already is left alone."""
        path, scoring = self.run.folder / "results.jsonl", self.run.recipe.scoring
        rows = [row for row in read_rows(path) if row.config == self.run.context["config"]]
        if scoring.extractor is None or number in {row.task for row in rows}:
            return
        if self.run.console:
            each = "" if isinstance(self.run.objective, MemoryGANObjective) else " of every class"
            said = f"{scoring.num_samples:,} samples{each} (--scoring.extractor null leaves it out)"
            print(f"task {number + 1} of {len(self.tasks)} is learned; scoring {said}", file=sys.stderr, flush=True)
        device = runtime.choose_device(self.run.recipe.training.device)
        model: Any = from_pretrained(place / "model").to(device)
        with Bar(shown=self.run.console) as bar:
            judge, test, work = extractor(scoring.extractor, device=device), self.run.load("test"), Work(bar=bar)
            if isinstance(model, MemoryGAN):
                found = UnlabelledStage(model, judge, test, scoring, number, self.tasks, work).rows()
            else:
                found = self._rows(Stage(model, judge, test, scoring, work), number, rows)
        append_rows(path, [self._addressed(row, state.counts()) for row in found])
        if self.run.console:
            print(f"task {number + 1} of {len(self.tasks)}: {_told(found)}", file=sys.stderr, flush=True)

    def _rows(self, stage: Stage, number: int, earlier: Sequence[ResultRow]) -> list[ResultRow]:
        by_class, means = stage.by_class(number), stage.over_classes()
        if number + 1 < len(self.tasks):
            return by_class + [row for row in means if self._printed(row) is not None]
        ends = [stage.real(), *stage.by_students(self.run.load("train")), *stage.kept(earlier, self.tasks), *self._cost(stage)]
        return [*by_class, *means, *ends]

    def _cost(self, stage: Stage) -> list[ResultRow]:
        """Images that generators drew in training, and megabytes that were kept beside the model."""
        objective, config = self.run.objective, stage.model.config
        assert isinstance(objective, ReplayGANObjective), "its model is one"
        sizes, batch_size = [len(classes) for classes in self.tasks], self.run.recipe.training.batch_size
        found = cost(objective, config, sizes, steps=self.steps, batch_size=batch_size, teacher=objective.teacher(stage.model))
        numbers = {"generated_images": float(found.drawn), "kept_megabytes": found.stored / 1e6}
        return [stage.row(metric, value, **UNSEEN) for metric, value in numbers.items()]

    def _printed(self, row: ResultRow) -> float | None:
        """What the paper prints of this number."""
        claims = {claim.metric: claim.value for claim in self.run.recipe.claims}
        return claims.get(told(row)) if row.task is None and row.variant != "real" else None

    def _addressed(self, row: ResultRow, counted: Mapping[str, Any]) -> ResultRow:
        """A complete result row."""
        if row.variant == "real":
            return ResultRow.read({**self.run.context, "steps": 0, "images": 0, "training_seconds": 0, **row, "paper": None})
        own = {**self.run.context, **counted, "variant": self.run.recipe.variant}
        return ResultRow.read({**own, **row, "paper": self._printed(row)})


def _told(rows: Sequence[ResultRow]) -> str:
    """The numbers of a stage that are of no single class, in one line."""
    values = {row.metric: row.value for row in rows if row.class_ is None and row.variant != "real" and row.value is not None}
    return ", ".join(f"{metric} {value:,.0f}" if value >= 1000 else f"{metric} {value:.3f}" for metric, value in values.items())
