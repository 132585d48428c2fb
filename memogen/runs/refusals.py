"""What is refused before a training: first what is wrong whatever the images are, then what they show. A dry run makes the same checks."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import configs
from ..data import DATASETS
from ..data.task_sequence import num_classes, of_classes
from ..metrics import METRICS, ScoreConfig
from ..metrics.evaluate import check_judged, check_model
from ..metrics.extractors import NetworkExtractor, check_name, extractor
from ..metrics.metric import ModelScoring
from ..metrics.samples import device_of, labels_for
from ..models import outline
from ..models.outline import machine_memory
from ..nets.class_norm import ClassBatchNorm
from ..nets.norm import FullDataNorm
from ..processes import launched_size
from ..recipes import DataConfig, Recipe, ScoringConfig
from ..training import runtime
from ..training.checkpoint import checkpoints, saved_settings
from ..training.config import check_unchanged, flat_settings
from ..training.continual import check_critic, check_resume
from ..training.ema import check_undivided
from ..training.log import board_class
from ..training.state import resume_source
from ..training.task_folders import check_steps
from ..types import ImageData, InputError
from . import tasks
from .configuration import Splits, check_learner
from .folder import begun, settings


def check_options(recipe: Recipe, folder: Path, *, resume: str = "auto", start: Path | None = None, start_tasks: int = 1) -> None:
    """Refuses what is wrong whatever the images are, so that none are fetched for it. Raises InputError."""
    training, succession = recipe.training, recipe.succession
    check_learner(recipe)
    runtime.check(training)
    model = outline(recipe.model)
    share = training.batch_size // launched_size()
    if share < 2 and any(isinstance(part, nn.modules.batchnorm._BatchNorm | FullDataNorm | ClassBatchNorm) for part in model.modules()):
        raise InputError(f"training.batch_size: {share} image for each process, too few for batch norm: use 2 or more")
    recipe.objective.phases(model)  # refuses an objective that does not fit the model
    if training.tensorboard:
        board_class()
    _check_names(recipe.scoring, named=not at_hand(recipe.data))  # else the images tell which extractors would do
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file: name another folder for the run")
    if succession is not None:
        check_undivided(model, "a sequence of tasks")
        check_resume(resume)
        check_critic(model, succession)
        if resume != "never" and not succession.tasks.joint:
            check_steps(folder, training.steps)
    elif resume not in ("auto", "never"):
        resume_source(folder, resume)
    tasks.check_start(recipe, start, start_tasks, resume=resume)


def check_images(recipe: Recipe, splits: Splits) -> None:
    """Refuses what the images of ``recipe``, which has their shape, make impossible: in the first step, in the report or in the scores.

    Raises InputError.
    """
    model, test = outline(recipe.model), splits.test
    check_scoring(recipe, splits)
    if test is not None and test.image_shape != splits.train.image_shape:
        shapes = f"test images of shape {test.image_shape}, training images of {splits.train.image_shape}"
        raise InputError(f"data: {splits.train.name}: {shapes}: bring all to one shape")
    images = recipe.training.batch_size * prod(splits.train.image_shape) * 4
    if images > machine_memory():
        raise InputError(f"training.batch_size: {recipe.training.batch_size} images take {images / 2**30:,.1f} GiB: use fewer")
    recipe.objective.phases(model)
    labels_for(model, splits.train, slice(0, None))


def check_continued(recipe: Recipe, folder: Path, data: ImageData, *, resume: str = "auto", start: Path | None = None, start_tasks: int = 1) -> None:
    """Refuses a run that was made with other settings or of other images, as the training does that continues it or takes over its tasks.

    Raises InputError.
    """
    if start is not None:
        tasks.check_taken(tasks.Training(recipe, folder, console=False), start, start_tasks)
    source, config, apart = None, recipe.training, set[str]()
    if recipe.succession is None:
        source = resume_source(folder, resume) if resume != "auto" or begun(folder) else None
    elif resume == "auto" and (saved := [place for place in sorted(folder.glob("tasks/task-*")) if checkpoints(place)]):
        source, number = checkpoints(saved[-1])[-1], int(saved[-1].name.removeprefix("task-"))
        config = replace(config, steps=(number + 1) * config.steps)
        apart = {"data.digest", "data.size"} | ({"training.steps"} if recipe.succession.tasks.joint else set())  # those of a task
    if source is not None:
        now, former = flat_settings(config, data, recipe.objective.phases(outline(recipe.model)), settings(recipe)), saved_settings(source)
        kept = {name: value for name, value in former.items() if name not in apart}
        check_unchanged(kept, {name: value for name, value in now.items() if name not in apart}, source)


def at_hand(data: DataConfig) -> bool:
    """Whether the images are there without a download, and are read in no time or are the user's own."""
    return DATASETS[data.name].embedded or (data.name == "folder" and data.folder is not None)


def check_scoring(recipe: Recipe, splits: Splits) -> None:
    """Refuses a way of scoring that would fail at the end of the training. Raises InputError."""
    scoring, training, model = recipe.scoring, recipe.training, outline(recipe.model)
    if not (scoring.judged or scoring.asked):
        return
    if splits.test is None and recipe.succession is not None:
        mend = "leave scoring.extractor null, or hold some images out with --data.options.test_share 0.1"
        raise InputError(f"scoring: {recipe.data.name} has {', '.join(splits.known)} and no test split to compare classes with: {mend}")
    if scoring.asked:
        made = -(-training.steps // training.checkpoint_every) if training.checkpoint_every else 1
        if "critic" in scoring.asked and min(made, training.keep) < 2:
            mend = "make training.checkpoint_every smaller, and training.keep 2 or more"
            raise InputError(f"metric critic: it judges fakes of earlier checkpoints, and only {min(made, training.keep)} is kept: {mend}")
        check_model(model, splits.compared, metrics=scoring.asked, how=scoring.model or ModelScoring(), train=splits.learned)
    if scoring.judged:
        assert scoring.extractor is not None
        judge = extractor(scoring.extractor, image_shape=splits.compared.image_shape)
        if recipe.succession is not None:
            _check_classes(judge, splits.compared, list(chain.from_iterable(recipe.succession.tasks.tasks(num_classes(splits.compared)))))
        ScoreConfig(scoring.judged, scoring.num_samples)
        check_judged(scoring.judged, model, splits.compared, splits.learned, extractor=judge, num_samples=scoring.num_samples)
        if recipe.curve:
            try:
                check_judged(recipe.curve, model, splits.compared, splits.learned, extractor=judge, num_samples=scoring.curve_samples)
            except InputError as error:
                raise InputError(f"scoring.curve_samples: {error}") from error


def _check_names(scoring: ScoringConfig, *, named: bool) -> None:
    """Refuses metrics that are not there, and if ``named`` an extractor that is not. Raises InputError."""
    for name in scoring.metrics:
        if name not in METRICS:
            raise InputError(f"scoring.metrics: {name!r} is unknown: {configs.suggest(name, METRICS)}")
    if named and scoring.judged and scoring.extractor is not None:
        check_name(scoring.extractor)


def _check_classes(judge: NetworkExtractor, test: ImageData, learned: list[int]) -> None:
    """Refuses a class without test images or unknown to the judge. Raises InputError."""
    known = judge(torch.from_numpy(np.array(of_classes(test, learned).image[:1])).to(device_of(judge))).shape[1]
    if max(learned) >= known:
        raise InputError(f"scoring.extractor: {judge.name} knows {known} classes, and class {max(learned)} is learned: use a classifier of the data")
