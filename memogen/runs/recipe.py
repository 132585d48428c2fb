"""From a recipe's name or a config.yaml to a complete configuration and its images, each split looked up once."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from .. import configs, data
from ..data.layouts import may_hold, recognised
from ..data.own import holds_images
from ..data.task_sequence import check_tasks, num_classes, of_classes
from ..metrics import METRICS, ScoreConfig
from ..metrics.evaluate import check_data, check_model
from ..metrics.extractors import PIXELS, NetworkExtractor, extractor, own_extractor
from ..metrics.metric import ModelScoring
from ..metrics.samples import device_of
from ..models import outline
from ..models.outline import machine_memory
from ..nets.class_norm import ClassBatchNorm
from ..nets.norm import FullDataNorm
from ..parsing import parse_yaml, read_regular
from ..recipes import IN_PIXELS, RECIPES, DataConfig, Recipe, ScoringConfig, read_recipe, shaped
from ..training.continual import TaskObjective
from ..types import ImageData, InputError, LabelledConfig


@dataclass(frozen=True)
class Splits:
    """The images of a recipe. Each split is looked up when it is first asked for, and once."""

    config: DataConfig

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The names of the splits."""
        return data.splits(self.config.name, folder=self.config.folder, options=self.config.options)

    @cached_property
    def train(self) -> ImageData:
        return self.load("train")

    @cached_property
    def test(self) -> ImageData | None:
        """None where the data have no test split."""
        return self.load("test") if "test" in self.known else None

    @property
    def compared(self) -> ImageData:
        """What a model is scored against: the test split, or the training images where there is none."""
        return self.train if self.test is None else self.test

    @property
    def learned(self) -> ImageData | None:
        """The training images beside :attr:`compared`; None where they are compared with themselves."""
        return None if self.test is None else self.train

    def load(self, split: str) -> ImageData:
        """Load a split anew; it is not kept here. Raises InputError."""
        return data.load(self.config.name, folder=self.config.folder, split=split, options=self.config.options)


def with_data(recipe: Recipe, given: str | Path | None) -> Recipe:
    """The recipe with the data that ``--data`` gives: another data set by name, other images, or the folder of its own set. Raises InputError."""
    if given is None:
        if recipe.data.name == "folder" and recipe.data.folder is None:
            raise InputError(f"data: {recipe.recipe} has no images of its own: give --data FOLDER")
        return recipe
    name, place = meant(recipe.data, given)
    chosen = replace(recipe.data, name=name, folder=None if place is None else str(place.resolve()))
    return replace(recipe, data=chosen) if name == recipe.data.name else replace(recipe, data=chosen, scoring=_scoring_for(recipe, name))


def meant(own: DataConfig, given: str | Path) -> tuple[str, Path | None]:
    """(name, place) of the data set that the user means by ``given``, where the configuration names its ``own``.

    The name of a data set is taken as it is. A place is read as the configuration's own data set if the files there may be that set, or if nothing
    there is recognised. Otherwise :func:`memogen.data.named` decides by what lies there.
    """
    place = Path(given).expanduser()
    if str(given) in data.DATASETS or not place.exists():
        return data.named(given)
    if own.name != "folder" and (may_hold(place, own.name) or not (recognised(place) or holds_images(place))):
        return own.name, place
    return data.named(given)


def _scoring_for(recipe: Recipe, name: str) -> ScoringConfig:
    """How to score on another data set: by its classifier; if none ships in pixels, unless nothing is judged or classes come one by one."""
    scoring, own = recipe.scoring, own_extractor(name)
    if own is not None:
        usual = scoring.extractor == PIXELS and scoring.metrics == IN_PIXELS
        return replace(scoring, extractor=own, metrics=ScoringConfig().metrics if usual else scoring.metrics)
    if scoring.extractor is None or recipe.succession is not None:
        return replace(scoring, extractor=None)
    return replace(scoring, extractor=PIXELS, metrics=(*scoring.asked, *IN_PIXELS))


def with_images(recipe: Recipe, splits: Splits) -> Recipe:
    """The recipe in the shape and with the classes of its training images."""
    return with_classes(shaped(recipe, splits.train.image_shape), splits.train)


def with_classes(recipe: Recipe, images: ImageData) -> Recipe:
    """A conditional model gets a place for each class of the data, under its name; a recipe without a succession of tasks stays as it is."""
    if recipe.succession is None:
        return recipe
    check_tasks(images, recipe.succession.tasks)
    if not isinstance(recipe.objective, TaskObjective):
        raise InputError(
            f"succession: {recipe.recipe} does not learn tasks one after another: leave it null, or use a recipe whose name ends with _stream"
        )
    if not isinstance(recipe.model, LabelledConfig):
        return recipe
    count = num_classes(images)
    return replace(recipe, model=recipe.model.with_classes(count, images.classes[:count]))


# --- what is refused before training starts ---


def check_model_fits(recipe: Recipe, model: nn.Module, splits: Splits) -> None:
    """Refuse here what would fail in the first step or in the report. Raises InputError."""
    if splits.test is not None and splits.test.image_shape != splits.train.image_shape:
        shapes = f"test images of shape {splits.test.image_shape}, training images of {splits.train.image_shape}"
        raise InputError(f"data: {splits.train.name}: {shapes}: bring all to one shape")
    share = recipe.training.batch_size // int(os.environ.get("WORLD_SIZE", "1"))
    if share < 2 and any(isinstance(part, nn.modules.batchnorm._BatchNorm | FullDataNorm | ClassBatchNorm) for part in model.modules()):
        raise InputError(f"training.batch_size: {share} image for each process, too few for batch norm: use 2 or more")
    images = recipe.training.batch_size * prod(splits.train.image_shape) * 4
    if images > machine_memory():
        raise InputError(f"training.batch_size: {recipe.training.batch_size} images take {images / 2**30:,.1f} GiB: use fewer")
    recipe.objective.phases(model)


def check_scoring(recipe: Recipe, splits: Splits) -> None:
    """Refuse here a way of scoring that would fail at the end of the training. Raises InputError."""
    scoring = recipe.scoring
    for name in scoring.metrics:
        if name not in METRICS:
            raise InputError(f"scoring.metrics: {name!r} is unknown: {configs.suggest(name, METRICS)}")
    if not (scoring.judged or scoring.asked):
        return
    if splits.test is None and recipe.succession is not None:
        mend = "leave scoring.extractor null, or hold some images out with --data.options.test_share 0.1"
        raise InputError(f"scoring: {recipe.data.name} has {', '.join(splits.known)} and no test split to compare classes with: {mend}")
    if scoring.asked:
        _check_kept(recipe)
        check_model(outline(recipe.model), splits.compared, metrics=scoring.asked, how=scoring.model or ModelScoring(), train=splits.learned)
    if scoring.judged:
        assert scoring.extractor is not None
        judge = extractor(scoring.extractor, image_shape=splits.compared.image_shape)
        if recipe.succession is not None:
            _check_judge(recipe, splits.compared, judge)
        ScoreConfig(scoring.judged, scoring.num_samples)
        check_data(scoring.judged, splits.compared, splits.learned, extractor=judge, num_samples=scoring.num_samples)


def _check_kept(recipe: Recipe) -> None:
    """Refuse a training that keeps too few checkpoints for a metric that judges them."""
    training = recipe.training
    made = -(-training.steps // training.checkpoint_every) if training.checkpoint_every else 1
    if "critic" in recipe.scoring.asked and min(made, training.keep) < 2:
        mend = "make training.checkpoint_every smaller, and training.keep 2 or more"
        raise InputError(f"metric critic: it judges fakes of earlier checkpoints, and only {min(made, training.keep)} is kept: {mend}")


def _check_judge(recipe: Recipe, test: ImageData, judge: NetworkExtractor) -> None:
    """Refuse before the training a class without test images or unknown to the judge. Raises InputError."""
    assert recipe.succession is not None, "the caller has looked"
    labels = list(chain.from_iterable(recipe.succession.tasks.tasks(num_classes(test))))
    known = judge(torch.from_numpy(np.array(of_classes(test, labels).image[:1])).to(device_of(judge))).shape[1]
    if max(labels) >= known:
        raise InputError(f"scoring.extractor: {judge.name} knows {known} classes, and class {max(labels)} is learned: use a classifier of the data")


# --- config.yaml, and what names a configuration ---


def load_config(path: Path) -> Recipe:
    """A recipe from a config.yaml, strictly; keys with a default may be left out. Raises InputError."""
    try:
        mapping = parse_yaml(read_regular(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): name a config.yaml or one of {', '.join(RECIPES)}") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as YAML ({error}): mend it, or start from `memogen train RECIPE --dry-run`") from error
    try:
        return read_recipe(mapping, complete=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def save_config(recipe: Recipe, path: Path) -> None:
    """A config.yaml, replaced in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(configs.to_dict(recipe), sort_keys=False)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(f"# memogen train {shlex.quote(str(path))}\n{text}", encoding="utf-8")
    part.replace(path)


def keep_config(recipe: Recipe, folder: Path) -> None:
    """The configuration that rows name, as ``folder``/DIGITS.yaml, wherever its images lie."""
    save_config(replace(recipe, data=replace(recipe.data, folder=None)), folder / f"{config_hash(recipe)}.yaml")


def default_folder(recipe: Recipe) -> Path:
    """runs/FAMILY-DATA-VARIANT-SEED."""
    return Path("runs") / "-".join([recipe.recipe.replace("/", "-"), recipe.variant, f"seed{recipe.training.seed}"])


def settings(recipe: Recipe) -> dict[str, object]:
    """What a checkpoint must agree with to be continued: the model, the objective and the images, by flat names."""
    plain = _wherever(recipe)
    return dict(_flat({name: plain[name] for name in ("data", "model", "objective", "succession")}))


def config_hash(recipe: Recipe) -> str:
    """Twelve digits of the SHA-256 of the complete configuration, the folder of its images left out; they name it in result rows."""
    return hashlib.sha256(json.dumps(_wherever(recipe), sort_keys=True).encode()).hexdigest()[:12]


def _wherever(recipe: Recipe) -> dict[str, Any]:
    """The configuration without the folder of its images, and without later options that are off: older rows keep their names."""
    plain = configs.to_dict(recipe, whole=False)
    plain["data"].pop("folder")
    return plain


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in mapping.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return flat
