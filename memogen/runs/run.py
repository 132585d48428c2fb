"""A run folder from beginning to end: configuration, training, scores, report. What ``memogen train`` and ``memogen demo`` call."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.own import listing_once
from ..metrics import ScoreConfig, ScoreEvaluator, append_rows, evaluate, score_images
from ..metrics.evaluate import score_model
from ..metrics.extractors import extractor
from ..metrics.log_likelihood import HeldOutBounds, observable
from ..metrics.metric import ModelScoring
from ..metrics.paired import kept
from ..metrics.registry import row_name
from ..metrics.rows import ResultRow
from ..metrics.samples import labels_for, part_of
from ..models import outline
from ..pretrained import from_pretrained
from ..recipes import Recipe
from ..report import page
from ..report.history import read_rows
from ..report.life_signs import HeldOutQueries, SortedPrior
from ..training import TrainState, fit
from ..training.fit import Course, Watch
from ..training.runtime import choose_device
from ..types import Evaluator, ImageData, InputError, LikelihoodModel, SlotModel
from . import tasks
from .choice import choose
from .fitted import announcement
from .folder import begun, occupied, set_aside
from .recipe import Splits, check_model_fits, check_scoring, default_folder, save_config, settings, with_data, with_images
from .rows import context, leads, scored, weights_of

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

    It is scored against the test split, or against the training images where there is none.

    ``variant`` names one of the recipe's, ``overrides`` set options by the dotted names of the command line, {"training.steps": 10}.
    ``data`` names another data set or the place of the images; ``out`` is the run folder (default: one under ``runs/``);
    ``resume``: "auto" continues what the folder holds, "never" moves it aside and starts anew, a path names a checkpoint;
    ``budget`` is written into the result rows;
    ``start`` names a run of the same tasks whose first ``start_tasks`` are taken over, whatever way it kept the past by;
    ``watch`` is shown the live model with the number of steps done, all tasks counted, before the first step and after each.
    Raises InputError for what cannot be used, and :class:`memogen.training.Stopped` when asked to stop (the run can then be continued).
    """
    if out is not None and not str(out):
        raise InputError("out: it is empty: name a folder, or leave it out")
    recipe = with_data(choose(recipe_or_config, variant, overrides, data), data)
    splits = Splits(recipe.data)
    recipe = with_images(recipe, splits)
    outline(recipe.model)
    check_scoring(recipe, splits)
    if console and leads() and (line := announcement(recipe, len(splits.train))):
        print(line, file=sys.stderr)
    model = build(recipe, splits)
    folder = Path(out) if out is not None else default_folder(recipe)
    if resume == "never" or (not begun(folder) and any((folder / part).exists() for part in ("model", "results.jsonl"))):
        set_aside(folder, console=console)
    with occupied(folder):
        task_run = tasks.TaskRun(recipe, folder, settings(recipe), context(recipe, budget), Splits(recipe.data).load, console)
        tasks.begin(task_run, resume=resume, start=None if start is None else Path(start), start_tasks=start_tasks)
        if leads() and not (begun(folder) and (folder / "config.yaml").exists()):
            save_config(recipe, folder / "config.yaml")
        if recipe.succession is None:
            _train_once(recipe, model, splits, folder, resume, budget, console, watch)
        else:
            del model
            splits = Splits(recipe.data)  # holds no pixels yet: while a task is learned, those of the others are out of reach
            tasks.learn(task_run, resume=resume, watch=watch)
        if leads():
            save_config(recipe, folder / "config.yaml")
            write_report(folder, splits)
    return folder


def _train_once(
    recipe: Recipe, model: nn.Module, splits: Splits, folder: Path, resume: str, budget: str | None, console: bool, watch: Watch | None
) -> None:
    """Train on all images at once, and score what came of it."""
    evaluators = _evaluators(recipe, model, splits)
    state = fit(
        model,
        recipe.objective,
        splits.train,
        recipe.training,
        folder,
        resume=resume,
        settings=settings(recipe),
        evaluators=evaluators,
        evaluate_every=recipe.scoring.likelihood_every if evaluators else 0,
        console=console,
        course=Course(watch=watch),
    )
    _score(recipe, splits, folder, state, budget, console)


def build(recipe: Recipe, splits: Splits) -> nn.Module:
    """The fresh model, once nothing is left for the first step or the report to stumble over. Raises InputError."""
    torch.manual_seed(recipe.training.seed)
    model = recipe.model.build()
    check_model_fits(recipe, model, splits)
    labels_for(model, splits.train, slice(0, None))
    return model


def write_report(folder: Path, splits: Splits | None = None) -> Path:
    """report.html of a run folder; with the images of its recipe, also what compares the model with them."""
    if splits is None:
        return page.write_report(folder)
    return page.write_report(folder, data=splits.train, held_out=splits.test)


def _evaluators(recipe: Recipe, model: nn.Module, splits: Splits) -> dict[str, Evaluator]:
    """What is followed while the model trains."""
    scoring, test = recipe.scoring, splits.test
    if not scoring.likelihood_every:
        return {}
    evaluators: dict[str, Evaluator] = {}
    if isinstance(model, SlotModel) and model.memory is not None:
        evaluators["prior"] = SortedPrior()
        evaluators |= {"held_out": HeldOutQueries(test)} if test is not None else {}
    elif isinstance(model, LikelihoodModel) and test is not None:
        images, _ = observable(model, test, seed=(scoring.model or ModelScoring()).binarisation_seed)
        evaluators["held_out"] = HeldOutBounds(part_of(images, WATCHED))
    metrics = tuple(name for name in scoring.judged if name in ("is", "fid", "kid"))
    if scoring.curve_samples and metrics:
        assert scoring.extractor is not None
        judge = extractor(scoring.extractor, device=choose_device(recipe.training.device), image_shape=splits.train.image_shape)
        evaluators["scores"] = ScoreEvaluator(judge, ScoreConfig(metrics, scoring.curve_samples, progress=False), test)
    return evaluators


# --- scores ---


def _score(recipe: Recipe, splits: Splits, folder: Path, state: TrainState, budget: str | None, console: bool) -> None:
    """Append the finished model's scores and the real data's own to results.jsonl; a run that is scored already is left alone."""
    scoring, path = recipe.scoring, folder / "results.jsonl"
    names = (*scoring.asked, *scoring.judged)
    if not leads() or not names:
        return
    shared = {**context(recipe, budget), **state.counts(), "weights": weights_of(folder / "model")}
    if scored(read_rows(path), shared):
        return
    if console:
        seen = f" in the features of {scoring.extractor}" if scoring.judged else ""
        print(f"scoring by {', '.join(names)}{seen}, {scoring.num_samples:,} samples or images (--scoring.metrics [] leaves it out)", file=sys.stderr)
    own, real = _measure(recipe, splits, folder / "model", console)
    printed = {claim.metric: claim.value for claim in recipe.claims}
    rows = [ResultRow.read({**shared, "variant": recipe.variant, **row, "paper": printed.get(row_name(row))}) for row in own]
    untrained = {"steps": 0, "images": 0, "training_seconds": 0, "processor_seconds": 0, "parameters": {}, "weights": None}
    of_data = [ResultRow.read({**shared, **untrained, **row, "paper": None}) for row in real]
    append_rows(path, kept([*rows, *of_data], folder))


def _measure(recipe: Recipe, splits: Splits, saved: Path, console: bool) -> tuple[list[ResultRow], list[ResultRow]]:
    """The scores of the saved model and, by the metrics that judge images, those of real ones: see :func:`_real_baseline`."""
    scoring, device, test = recipe.scoring, choose_device(recipe.training.device), splits.compared
    model: Any = from_pretrained(saved).to(device)
    shared: dict[str, Any] = {"num_samples": scoring.num_samples, "seed": scoring.seed, "progress": console, "train": splits.learned}
    own = score_model(model, test, metrics=scoring.asked, how=scoring.model or ModelScoring(), run=saved.parent, **shared) if scoring.asked else []
    if not scoring.judged:
        return own, []
    assert scoring.extractor is not None
    shared["extractor"] = extractor(scoring.extractor, device=device, image_shape=test.image_shape)
    own += evaluate(model, test, metrics=scoring.judged, **shared)
    return own, [] if splits.test is None else _real_baseline(scoring.judged, test, splits.train, shared)


def _real_baseline(metrics: Sequence[str], test: ImageData, train: ImageData, shared: dict[str, Any]) -> list[ResultRow]:
    """What a perfect model would get: as many training images, which it would draw the like of, against the test images it is compared with.

    The inception score compares with nothing and is that of the test images: the classifier has learned the others by heart. Scores that compare
    with the training images themselves have no baseline here.
    """
    compared = [name for name in metrics if name in ("fid", "kid", "prdc", "modes")]
    rows = score_images(test, test, metrics=["is"], **shared) if "is" in metrics else []
    return rows + (score_images(train, test, metrics=compared, **shared) if compared else [])
