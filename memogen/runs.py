"""A run folder from beginning to end: configuration, training, scores, report. What ``memogen train`` and ``memogen demo`` call."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from . import configs, data, streams
from .metrics import METRICS, ScoreConfig, ScoreEvaluator, append_rows, evaluate, score_images
from .metrics.evaluate import check_data, check_model, score_model
from .metrics.extractors import extractor, own_extractor
from .metrics.log_likelihood import HeldOutBounds, observable
from .metrics.metric import ModelScoring
from .metrics.paired import kept
from .metrics.registry import told
from .metrics.rows import ResultRow
from .metrics.stream import labels_for, part_of
from .models import MemoryGAN
from .nets.class_norm import ClassBatchNorm
from .nets.norm import FullDataNorm
from .pretrained import from_pretrained
from .recipes import RECIPES, Recipe, ScoringConfig, read_recipe, shaped
from .report import page
from .report.history import read_rows, read_run
from .report.likelihood import HeldOutQueries, SortedPrior
from .training import TrainState, fit
from .training.runtime import choose_device
from .types import Evaluator, ImageData, InputError, LikelihoodModel

WATCHED = 1000  # held-out images whose bounds are followed while a model trains


def train(
    recipe_or_config: Recipe | str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: str = "auto",
    budget: str | None = None,
    start: str | Path | None = None,
    start_tasks: int = 1,
    console: bool = True,
) -> Path:
    """Train a recipe, a recipe's name or a config.yaml, score the model against the test split, and write the report. Returns the run folder.

    ``data`` names another data set or the folder that holds the images; ``out`` is the run folder (default: one under ``runs/``);
    ``resume``: "auto" continues what the folder holds, "never" starts anew, a path names a checkpoint; ``budget`` is written into the result rows;
    ``start`` names a run of the same stream of tasks whose first ``start_tasks`` are taken over, whatever way it kept the past by.
    Raises InputError for what cannot be used, and :class:`memogen.training.Stopped` when asked to stop (the run can then be continued).
    """
    recipe, images = with_images(with_data(_recipe(recipe_or_config), data))
    check_scoring(recipe)
    model = _built(recipe, images)
    folder = Path(out) if out is not None else default_folder(recipe)
    stream = _stream_run(recipe, folder, budget, console)
    streams.begin(stream, resume=resume, start=None if start is None else Path(start), start_tasks=start_tasks)
    if not (folder / "config.yaml").exists():
        save_config(recipe, folder)
    if recipe.succession is not None:
        del images, model  # the tasks' pixels are to be had from their stream alone
        streams.learn(stream, resume=resume)
        images = load_data(recipe)
        save_config(recipe, folder)
    else:
        state = _fit(recipe, model, images, folder, resume, console)
        save_config(recipe, folder)
        _score(recipe, folder, state, budget, console)
    if leads():
        write_report(folder, recipe, images)
    return folder


def _stream_run(recipe: Recipe, folder: Path, budget: str | None, console: bool) -> streams.StreamRun:
    """What a recipe with a stream of tasks needs to know of its run."""
    context = {**_context(recipe, budget), "command": command_line()}
    return streams.StreamRun(recipe, folder, settings(recipe), context, lambda split: load_data(recipe, split=split), console)


def share_first_task(recipe: Recipe, folder: Path) -> bool:
    """Begin the run ``folder`` of a recipe in the shape of its images with the first task of a run beside it: see :func:`streams.shared_start`."""
    return recipe.succession is not None and streams.shared_start(_stream_run(recipe, folder, None, console=False))


def leads() -> bool:
    """Whether this process writes for all."""
    return int(os.environ.get("RANK", "0")) == 0


def with_images(recipe: Recipe) -> tuple[Recipe, ImageData]:
    """The recipe in the shape of its training images, and these."""
    images = load_data(recipe)
    return streams.with_classes(shaped(recipe, images.image_shape), images), images


def check_scoring(recipe: Recipe) -> None:
    """Refuse before the training what would end it without a score. Raises InputError."""
    scoring = recipe.scoring
    for name in scoring.metrics:
        if name not in METRICS:
            raise InputError(f"scoring.metrics: {name!r} is unknown: {configs.suggest(name, METRICS)}")
    if not (scoring.judged or scoring.asked):
        return
    known = data.splits(recipe.data.name, folder=recipe.data.folder)
    if "test" not in known:
        mend = "leave scoring.extractor null" if scoring.judged else "leave scoring.metrics empty"
        raise InputError(f"scoring: {recipe.data.name} has {', '.join(known)} and no test split to compare with: {mend}")
    test, train_split = (load_data(recipe, split=split) for split in ("test", "train"))
    if scoring.asked:
        _check_kept(recipe)
        check_model(recipe.model.build(), test, metrics=scoring.asked, how=scoring.model or ModelScoring(), train=train_split)
    if scoring.judged:
        assert scoring.extractor is not None
        judge = extractor(scoring.extractor, image_shape=test.image_shape)
        if recipe.succession is not None:
            streams.check_judge(recipe, test, judge)
        ScoreConfig(scoring.judged, scoring.num_samples)
        check_data(scoring.judged, test, train_split, extractor=judge, num_samples=scoring.num_samples)


def _check_kept(recipe: Recipe) -> None:
    """Refuse a training that keeps too few checkpoints for a metric that judges them."""
    training = recipe.training
    made = -(-training.steps // training.checkpoint_every) if training.checkpoint_every else 1
    if "critic" in recipe.scoring.asked and min(made, training.keep) < 2:
        mend = "make training.checkpoint_every smaller, and training.keep 2 or more"
        raise InputError(f"metric critic: it judges fakes of earlier checkpoints, and {min(made, training.keep)} is kept: {mend}")


def _built(recipe: Recipe, images: ImageData) -> nn.Module:
    """The fresh model, once nothing is left for the first step or the report to stumble over. Raises InputError."""
    if "test" in data.splits(recipe.data.name, folder=recipe.data.folder):
        held_out = load_data(recipe, split="test").image_shape
        if held_out != images.image_shape:
            raise InputError(f"data: {images.name}: test images of shape {held_out}, training images of {images.image_shape}: bring all to one shape")
    torch.manual_seed(recipe.training.seed)
    model = recipe.model.build()
    _check_share(recipe, model)
    recipe.objective.phases(model)
    labels_for(model, images, slice(0, None))
    return model


def _fit(recipe: Recipe, model: nn.Module, images: ImageData, folder: Path, resume: str, console: bool) -> TrainState:
    evaluators = _evaluators(recipe, model)
    return fit(
        model,
        recipe.objective,
        images,
        recipe.training,
        folder,
        resume=resume,
        settings=settings(recipe),
        evaluators=evaluators,
        evaluate_every=recipe.scoring.likelihood_every if evaluators else 0,
        console=console,
    )


def _check_share(recipe: Recipe, model: nn.Module) -> None:
    """Refuse a share of a process that batch norm cannot normalise."""
    share = recipe.training.batch_size // int(os.environ.get("WORLD_SIZE", "1"))
    if share < 2 and any(isinstance(part, nn.modules.batchnorm._BatchNorm | FullDataNorm | ClassBatchNorm) for part in model.modules()):
        mend = "use 2 or more, or another model.norm" if isinstance(model, MemoryGAN) else "use 2 or more"
        raise InputError(f"training.batch_size: {share} image for each process, too few for batch norm: {mend}")


def _evaluators(recipe: Recipe, model: nn.Module) -> dict[str, Evaluator]:
    """What is followed while it trains."""
    if not recipe.scoring.likelihood_every:
        return {}
    evaluators: dict[str, Evaluator] = {}
    tested = "test" in data.splits(recipe.data.name, folder=recipe.data.folder)
    if isinstance(model, MemoryGAN) and model.memory is not None:
        evaluators["prior"] = SortedPrior()
        evaluators |= {"held_out": HeldOutQueries(load_data(recipe, split="test"))} if tested else {}
    elif isinstance(model, LikelihoodModel) and tested:
        images, _ = observable(model, load_data(recipe, split="test"), seed=(recipe.scoring.model or ModelScoring()).binarisation_seed)
        evaluators["held_out"] = HeldOutBounds(part_of(images, WATCHED))
    return evaluators | _score_curves(recipe)


def _score_curves(recipe: Recipe) -> dict[str, Evaluator]:
    """The cheaper scores, while it trains."""
    scoring = recipe.scoring
    metrics = tuple(name for name in scoring.judged if name in ("is", "fid"))
    if not scoring.curve_samples or not metrics:
        return {}
    assert scoring.extractor is not None
    judge = extractor(scoring.extractor, device=choose_device(recipe.training.device))
    how = ScoreConfig(metrics, scoring.curve_samples, progress=False)
    return {"scores": ScoreEvaluator(judge, how, load_data(recipe, split="test"))}


def write_report(folder: Path, recipe: Recipe | None = None, images: ImageData | None = None) -> Path:
    """report.html of a run folder; with the recipe and its training images, also what compares the model with them."""
    tested = recipe is not None and "test" in data.splits(recipe.data.name, folder=recipe.data.folder)
    return page.write_report(folder, data=images, held_out=load_data(recipe, split="test") if recipe and tested else None)


def load_data(recipe: Recipe, *, split: str = "train") -> ImageData:
    """A split of the recipe's data."""
    return data.load(recipe.data.name, folder=recipe.data.folder, split=split, options=recipe.data.options)


def load_config(path: Path) -> Recipe:
    """A recipe from a config.yaml, strictly; keys with a default may be left out."""
    try:
        mapping = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): name a config.yaml or one of {', '.join(RECIPES)}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}): mend it, or start from `memogen train RECIPE --dry-run`") from error
    try:
        return read_recipe(mapping, complete=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def save_config(recipe: Recipe, folder: Path) -> None:
    """config.yaml, replaced in one piece."""
    _write_config(recipe, folder / "config.yaml")


def keep_config(recipe: Recipe, folder: Path) -> None:
    """The configuration that rows name, as ``folder``/DIGITS.yaml, wherever its images lie."""
    _write_config(replace(recipe, data=replace(recipe.data, folder=None)), folder / f"{config_hash(recipe)}.yaml")


def _write_config(recipe: Recipe, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(configs.to_dict(recipe), sort_keys=False)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(f"# memogen train {shlex.quote(str(path))}\n{text}", encoding="utf-8")
    part.replace(path)


def default_folder(recipe: Recipe) -> Path:
    """runs/FAMILY-DATA-VARIANT-SEED."""
    return Path("runs") / "-".join([recipe.recipe.replace("/", "-"), recipe.variant, f"seed{recipe.training.seed}"])


def settings(recipe: Recipe) -> dict[str, object]:
    """What a checkpoint must agree with to be continued: the model, the objective and the images, by flat names."""
    plain = _identity(recipe)
    return dict(_flat({name: plain[name] for name in ("data", "model", "objective", "succession") if name in plain}))


def config_hash(recipe: Recipe) -> str:
    """Twelve digits that name the configuration in a result row (docs/decisions/0005-what-names-a-configuration.md)."""
    return hashlib.sha256(json.dumps(_identity(recipe), sort_keys=True).encode()).hexdigest()[:12]


def _identity(recipe: Recipe) -> dict[str, Any]:
    """The configuration wherever its images lie."""
    plain = configs.identity(recipe)
    plain["data"].pop("folder")
    return plain


def _recipe(given: Recipe | str | Path) -> Recipe:
    if isinstance(given, Recipe):
        return given
    return RECIPES[given]() if given in RECIPES else load_config(Path(given))


def with_data(recipe: Recipe, given: str | Path | None) -> Recipe:
    """Another data set by name, or the folder that holds the images of this one."""
    if given is None:
        if recipe.data.name == "folder" and recipe.data.folder is None:
            raise InputError(f"data: {recipe.recipe} has no images of its own: give --data FOLDER")
        return recipe
    if str(given) in data.DATASETS:
        return replace(recipe, data=replace(recipe.data, name=str(given), folder=None), scoring=_scoring_for(recipe, str(given)))
    return replace(recipe, data=replace(recipe.data, folder=str(Path(given).expanduser().resolve())))


def _scoring_for(recipe: Recipe, name: str) -> ScoringConfig:
    return replace(recipe.scoring, extractor=own_extractor(name))


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in mapping.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return flat


# --- scores ---


def _score(recipe: Recipe, folder: Path, state: TrainState, budget: str | None, console: bool) -> None:
    """Append the finished model's scores and the real data's own to results.jsonl; a run that is scored already is left alone."""
    scoring, path = recipe.scoring, folder / "results.jsonl"
    names = (*scoring.asked, *scoring.judged)
    if not leads() or not names or config_hash(recipe) in {row.config for row in read_rows(path)}:
        return
    if console:
        print(f"scoring by {', '.join(names)}, {scoring.num_samples:,} samples or images (--scoring.metrics [] leaves it out)", file=sys.stderr)
    own, real = _measure(recipe, folder / "model", console)
    printed = {claim.metric: claim.value for claim in recipe.claims}
    context = {**_context(recipe, budget), **state.counts(), "command": command_line()}
    rows = [ResultRow.read({**context, "variant": recipe.variant, **row, "paper": printed.get(told(row))}) for row in own]
    untrained = {"steps": 0, "images": 0, "training_seconds": 0, "processor_seconds": 0, "parameters": {}}
    of_data = [ResultRow.read({**context, **untrained, **row, "paper": None}) for row in real]
    append_rows(path, kept([*rows, *of_data], folder))


def _context(recipe: Recipe, budget: str | None) -> dict[str, Any]:
    """What every row of a run says."""
    return {"recipe": recipe.recipe, "seed": recipe.training.seed, "budget": budget, "config": config_hash(recipe)}


def _measure(recipe: Recipe, saved: Path, console: bool) -> tuple[list[ResultRow], list[ResultRow]]:
    """The scores of the saved model and, by the metrics that judge images, those of real ones: see :func:`_yardstick`."""
    scoring, device = recipe.scoring, choose_device(recipe.training.device)
    test, train_split = (load_data(recipe, split=split) for split in ("test", "train"))
    model: Any = from_pretrained(saved).to(device)
    shared: dict[str, Any] = {"num_samples": scoring.num_samples, "seed": scoring.seed, "progress": console, "train": train_split}
    own = score_model(model, test, metrics=scoring.asked, how=scoring.model or ModelScoring(), run=saved.parent, **shared) if scoring.asked else []
    if not scoring.judged:
        return own, []
    assert scoring.extractor is not None
    shared["extractor"] = extractor(scoring.extractor, device=device)
    own += evaluate(model, test, metrics=scoring.judged, **shared)
    return own, _yardstick(scoring.judged, test, train_split, shared)


def _yardstick(metrics: Sequence[str], test: ImageData, train: ImageData, shared: dict[str, Any]) -> list[ResultRow]:
    """What a perfect model would get: as many training images, which it would draw the like of, against the test images it is compared with.

    The inception score compares with nothing and is that of the test images: the classifier has learned the others by heart. Scores that compare
    with the training images themselves have no yardstick here.
    """
    compared = [name for name in metrics if name in ("fid", "kid", "prdc", "modes")]
    rows = score_images(test, test, metrics=["is"], **shared) if "is" in metrics else []
    return rows + (score_images(train, test, metrics=compared, **shared) if compared else [])


def progress_of(folder: Path) -> dict[str, Any]:
    """How far a run has been trained, as its result rows say it."""
    run = read_run(folder)
    return {"steps": run.count("step"), "images": run.count("images_seen"), "training_seconds": run.last("seconds")}


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["memogen", *sys.argv[1:]])
