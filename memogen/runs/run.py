"""A run folder from beginning to end: configuration, training, scores, report. What ``memogen train`` and ``memogen demo`` call."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.listing import listing_once
from ..metrics import ScoreConfig, ScoreEvaluator, append_rows, evaluate, score_images
from ..metrics.evaluate import score_model
from ..metrics.extractors import extractor
from ..metrics.log_likelihood import HeldOutBounds, observable
from ..metrics.metric import ModelScoring
from ..metrics.paired import kept
from ..metrics.registry import row_name
from ..metrics.rows import ResultRow
from ..metrics.samples import part_of
from ..pretrained import from_pretrained
from ..recipes import Recipe
from ..report import page
from ..report.history import read_rows
from ..report.life_signs import HeldOutQueries, SortedPrior
from ..training import TrainState, fit, runtime
from ..training.fit import Course, Watch
from ..types import Evaluator, InputError, LikelihoodModel, SlotModel
from . import tasks
from .configuration import Splits, announcement, choose, with_images
from .folder import CONFIGURATION, begun, default_folder, leads, occupied, save_config, scored, set_aside, weights_of
from .refusals import check_images, check_options

WATCHED = 1000  # held-out images whose bounds are followed while a model trains


@listing_once()
def train(
    recipe_or_config: Recipe | str | Path,
    *,
    variant: str | None = None,
    overrides: Mapping[str, object] | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: str = "auto",
    budget: str | None = None,
    start: str | Path | None = None,
    start_tasks: int = 1,
    console: bool = True,
    watch: Watch | None = None,
) -> Path:
    """Train a recipe, a recipe's name or a config.yaml, score the model, and write the report. Returns the run folder.

    The model is scored against the test split, or against the training images where there is none.

    ``variant`` names one of the recipe's, ``overrides`` set options by the dotted names of the command line, {"training.steps": 10}.
    ``data`` names another data set or the place of the images; ``out`` is the run folder (default: one under ``runs/``);
    ``resume``: "auto" continues what the folder holds, "never" moves it aside and starts anew, a path names a checkpoint;
    ``budget`` is written into the result rows;
    ``start`` names a run of the same tasks whose first ``start_tasks`` are taken over, by whatever method it kept the past;
    ``watch`` gets the live model and the number of steps done, over all tasks, before the first step and after each.
    Raises InputError for what cannot be used, and :class:`memogen.training.Stopped` when asked to stop (the run can then be continued).
    """
    if out is not None and not str(out):
        raise InputError("out: it is empty: name a folder, or leave it out")
    recipe = choose(recipe_or_config, variant, overrides, data)
    if recipe.data.name == "folder" and recipe.data.folder is None:
        raise InputError(f"data: {recipe.recipe} has no images of its own: give --data FOLDER")
    runtime.start(recipe.training)  # before the images are fetched, for which the others can wait longer than for a process that never comes
    folder = Path(out) if out is not None else default_folder(recipe)
    taken = None if start is None else Path(start)
    check_options(recipe, folder, resume=resume, start=taken, start_tasks=start_tasks)
    recipe = decided(recipe, folder, resume=resume, start=taken)
    splits = Splits(recipe.data)
    recipe = with_images(recipe, splits)
    check_images(recipe, splits)
    if console and leads() and (line := announcement(recipe, len(splits.train))):
        print(line, file=sys.stderr)
    torch.manual_seed(recipe.training.seed)
    model = recipe.model.build()
    if resume == "never" or (not begun(folder) and any((folder / part).exists() for part in ("model", "results.jsonl"))):
        set_aside(folder, console=console)
    with occupied(folder):
        run = tasks.Training(recipe, folder, budget, console)
        tasks.begin(run, taken, start_tasks)
        if leads() and not (begun(folder) and (folder / CONFIGURATION).exists()):
            save_config(recipe, folder / CONFIGURATION)
        if recipe.succession is None:
            state = _train_once(run, model, splits, resume, watch)
            if leads() and (recipe.scoring.asked or recipe.scoring.judged):
                _score(run, splits, state)
        else:
            del model
            splits = Splits(recipe.data)  # holds no pixels yet: while a task is learned, those of the others are out of reach
            tasks.learn(run, resume=resume, watch=watch)
        if leads():
            save_config(recipe, folder / CONFIGURATION)
            write_report(folder, splits)
    return folder


def write_report(folder: Path, splits: Splits | None = None) -> Path:
    """report.html of a run folder; with the images of its recipe, also what compares the model with them."""
    if splits is None:
        return page.write_report(folder)
    return page.write_report(folder, data=splits.train, held_out=splits.test)


def decided(recipe: Recipe, folder: Path, *, resume: str, start: Path | None) -> Recipe:
    """The recipe without an "auto" in its training options: they are those of the run that is continued, else what suits the processors."""
    begun = [] if resume == "never" else [folder if resume == "auto" else Path(resume)]
    return replace(recipe, training=runtime.settled(recipe.training, *begun, *([] if start is None else [start])))


# --- one training, and its scores ---


def _train_once(run: tasks.Training, model: nn.Module, splits: Splits, resume: str, watch: Watch | None) -> TrainState:
    """Train on all images at once; along with it, look at what the recipe's scoring asks to be followed."""
    recipe, scoring, test = run.recipe, run.recipe.scoring, splits.test
    evaluators: dict[str, Evaluator] = {}
    if scoring.likelihood_every:
        if isinstance(model, SlotModel) and model.memory is not None:
            evaluators["prior"] = SortedPrior()
            evaluators |= {"held_out": HeldOutQueries(test)} if test is not None else {}
        elif isinstance(model, LikelihoodModel) and test is not None:
            images, _ = observable(model, test, seed=(scoring.model or ModelScoring()).binarisation_seed)
            evaluators["held_out"] = HeldOutBounds(part_of(images, WATCHED))
        if recipe.curve:
            assert scoring.extractor is not None
            judge = extractor(scoring.extractor, device=runtime.choose_device(recipe.training.device), image_shape=splits.train.image_shape)
            evaluators["scores"] = ScoreEvaluator(judge, ScoreConfig(recipe.curve, scoring.curve_samples, progress=False), test)
    return fit(
        model,
        recipe.objective,
        splits.train,
        recipe.training,
        run.folder,
        resume=resume,
        settings=run.settings,
        evaluators=evaluators,
        evaluate_every=scoring.likelihood_every if evaluators else 0,
        console=run.console,
        course=Course(watch=watch),
    )


def _score(run: tasks.Training, splits: Splits, state: TrainState) -> None:
    """Append the finished model's scores and the real data's own to results.jsonl; a run that is scored already is left alone."""
    recipe, scoring, path = run.recipe, run.recipe.scoring, run.folder / "results.jsonl"
    shared = {**run.context, **state.counts(), "weights": weights_of(run.folder / "model")}
    if scored(read_rows(path), shared):
        return
    if run.console:
        names = ", ".join((*scoring.asked, *scoring.judged))
        seen = f" in the features of {scoring.extractor}" if scoring.judged else ""
        print(f"scoring by {names}{seen}, {scoring.num_samples:,} samples or images (--scoring.metrics [] leaves it out)", file=sys.stderr)
    own, real = _measure(run, splits)
    printed = {claim.metric: claim.value for claim in recipe.claims}
    rows = [ResultRow.read({**shared, "variant": recipe.variant, **row, "paper": printed.get(row_name(row))}) for row in own]
    untrained = {"steps": 0, "images": 0, "training_seconds": 0, "processor_seconds": 0, "parameters": {}, "weights": None}
    of_data = [ResultRow.read({**shared, **untrained, **row, "paper": None}) for row in real]
    append_rows(path, kept([*rows, *of_data], run.folder))


def _measure(run: tasks.Training, splits: Splits) -> tuple[list[ResultRow], list[ResultRow]]:
    """The scores of the saved model and, by the metrics that judge images, those of real ones: what a perfect model would get.

    In the place of samples stand as many training images, compared with the test images. The inception score compares with nothing and is that of
    the test images: the classifier has learned the others by heart. Scores against the training images themselves have no baseline.
    """
    scoring, device, test = run.recipe.scoring, runtime.choose_device(run.recipe.training.device), splits.compared
    model: Any = from_pretrained(run.folder / "model").to(device)
    shared: dict[str, Any] = {"num_samples": scoring.num_samples, "seed": scoring.seed, "progress": run.console, "train": splits.learned}
    own = score_model(model, test, metrics=scoring.asked, how=scoring.model or ModelScoring(), run=run.folder, **shared) if scoring.asked else []
    if not scoring.judged:
        return own, []
    assert scoring.extractor is not None
    shared["extractor"] = extractor(scoring.extractor, device=device, image_shape=test.image_shape)
    own += evaluate(model, test, metrics=scoring.judged, **shared)
    if splits.test is None:
        return own, []
    real = score_images(test, test, metrics=["is"], **shared) if "is" in scoring.judged else []
    compared = [name for name in scoring.judged if name in ("fid", "kid", "prdc", "modes")]
    return own, real + (score_images(splits.train, test, metrics=compared, **shared) if compared else [])
