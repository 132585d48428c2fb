"""From what a user names to a complete configuration and its images: a recipe in a variant or a file, options, and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from .. import configs, data
from ..augment import FEW
from ..configs import nearest, override
from ..data.access import may_hold
from ..data.own import holds_images, picture_sizes
from ..data.published import recognised
from ..data.shards import is_there
from ..data.task_sequence import check_tasks, num_classes
from ..metrics.extractors import PIXELS, own_extractor
from ..models import MemoryGANConfig, MemoryGANObjective
from ..recipes import IN_PIXELS, RECIPES, DataConfig, Recipe, ScoringConfig, read_recipe, shaped, variants_of
from ..training.continual import TaskObjective
from ..training.runtime import choose_device
from ..types import ImageData, InputError, LabelledConfig
from .folder import load_config

SMALL_SIDE, LARGE_SIDE = 32, 64  # on a CPU a step of 64 x 64 takes four times as long as one of 32 x 32
FEW_PICTURES = 5000  # Zhao et al. 2020 and Karras et al. 2020 gain most below so many; above, a critic has enough to look at
HELD_OUT, ENOUGH = 0.1, 100  # of so many pictures a tenth can be spared: ten images, the fewest that tell anything
OF_A_SLOT = 4  # pictures for each slot: with one each, a slot would be a copy and no cluster
FEWEST_SLOTS = 32


def choose(
    given: Recipe | str | Path, variant: str | None = None, options: Mapping[str, object] | None = None, data: str | Path | None = None
) -> Recipe:
    """The recipe named ``given`` in a ``variant``, or the configuration file of that name, with ``options`` set by their dotted names, for ``data``.

    A ``folder`` recipe is first fitted to the pictures at ``data``; options override that. A configuration file and a given Recipe are complete:
    they take no ``variant`` and are never fitted. Raises InputError.
    """
    if options is not None and not isinstance(options, Mapping):
        raise InputError(f"overrides: a {type(options).__name__} is not a mapping: give dotted names with their values, as {{'training.steps': 10}}")
    name, where = given.recipe if isinstance(given, Recipe) else str(given), None
    if isinstance(given, Recipe) or Path(name).suffix in (".yaml", ".yml"):
        if variant is not None:
            raise InputError(f"--variant: {name} is a complete configuration; set its own options instead")
        recipe = given if isinstance(given, Recipe) else load_config(Path(name))
    elif name in RECIPES:
        recipe = _row(name, variant, options or {})
        if recipe.data.name == "folder" and data is not None and is_there(Path(data).expanduser()):
            where = meant(recipe.data, data)
            recipe = _fitted(_placed(recipe, *where))
    elif Path(name).exists():
        kinds = " or ".join(known for known in RECIPES if known.endswith("/folder"))
        raise InputError(
            f"{name}: is a file or folder, not a recipe; to train on its images: memogen train RECIPE --data {name}, where RECIPE is {kinds}"
        )
    else:
        raise InputError(f"{name}: no such recipe{nearest(name, RECIPES)}; memogen recipes lists them, or name a config.yaml")
    if options:
        recipe = read_recipe(override(configs.to_dict(recipe), options))
    if data is None:
        return recipe
    placed = _placed(recipe, *(where or meant(recipe.data, data)))
    for part in ("name", "folder"):
        asked = getattr(recipe.data, part)
        if f"data.{part}" in (options or {}) and getattr(placed.data, part) != asked:
            raise InputError(f"--data {data}: --data.{part} {asked} names other images: give one of the two")
    return placed


def _row(name: str, variant: str | None, options: Mapping[str, object]) -> Recipe:
    """A recipe in one of its variants. An option such as ``--row no_memory`` is refused with the right name."""
    known = variants_of(name)
    for option, value in options.items():
        meant = [row for row in known if row == value or (value in ("paper", "code") and row.endswith(f"_{value}"))]
        if meant and "." not in option:
            raise InputError(f"--{option} {value}: no such option (did you mean '--variant {meant[0]}'?)")
    if variant is None:
        return RECIPES[name]()
    if not known:
        raise InputError(f"--variant {variant}: {name} has no variants; leave it out")
    if variant not in known:
        raise InputError(f"--variant {variant}: {name} has no such variant{nearest(variant, known)}; choose one of {', '.join(known)}")
    return RECIPES[name](variant=variant)


# --- a recipe for a user's own pictures ---


def _fitted(recipe: Recipe) -> Recipe:
    """A recipe fitted to its folder of pictures: size, test split, memory and augmentation. A recipe of other data is unchanged."""
    if recipe.data.name != "folder" or recipe.data.folder is None:
        return recipe
    sizes, splits = picture_sizes(Path(recipe.data.folder))
    if not sizes:
        return recipe
    options, number = recipe.data.options, len(sizes)
    if len(set(sizes)) > 1 or max(sizes[0]) > LARGE_SIDE:  # pictures of one small size stay as they are, others become squares without stretching
        side = SMALL_SIDE if choose_device(recipe.training.device).type == "cpu" else LARGE_SIDE
        options = replace(options, size=side, fit="crop")
    if splits == ("train",) and number >= ENOUGH and recipe.succession is None:
        options = replace(options, test_share=HELD_OUT)
    recipe = replace(recipe, data=replace(recipe.data, options=options))
    model, objective = recipe.model, recipe.objective
    if not isinstance(model, MemoryGANConfig) or not isinstance(objective, MemoryGANObjective):
        return recipe
    if model.memory is not None:
        slots = min(model.memory.num_slots, max(FEWEST_SLOTS, 1 << (number // OF_A_SLOT).bit_length()))
        model = replace(model, memory=replace(model.memory, num_slots=slots, top_k=min(model.memory.top_k, slots)))
    if number < FEW_PICTURES and recipe.variant not in ("paper", "code", "as_printed", "no_memory_as_printed"):
        objective = replace(objective, augmentation=FEW)
    return replace(recipe, model=model, objective=objective)


def announcement(recipe: Recipe, number: int) -> str:
    """One line on a training of ``number`` pictures of the user's own, with the options that change it; empty for other data."""
    if recipe.data.name != "folder":
        return ""
    options = recipe.data.options
    parts = [f"{number:,} pictures"]
    if options.target and options.fit != "error":
        how = "the middle cut out" if options.fit == "crop" else "stretched"
        parts.append(f"each {options.target[1]} x {options.target[0]}, {how} (--data.options.size and .fit)")
    if options.test_share:
        parts.append(f"{options.test_share:.0%} of the folder held out to judge by (--data.options.test_share)")
    if isinstance(recipe.model, MemoryGANConfig) and recipe.model.memory is not None:
        parts.append(f"{recipe.model.memory.num_slots:,} slots (--model.memory.num_slots)")
    if isinstance(recipe.objective, MemoryGANObjective) and recipe.objective.augmentation is not None:
        parts.append("the critic sees augmented views (--objective.augmentation null leaves it out)")
    return f"trains on {'; '.join([*parts, f'{recipe.training.steps:,} steps (--steps)'])}"


# --- the images of a recipe ---


def _placed(recipe: Recipe, name: str, place: Path | None) -> Recipe:
    chosen = replace(recipe.data, name=name, folder=None if place is None else str(place.resolve()))
    return replace(recipe, data=chosen) if name == recipe.data.name else replace(recipe, data=chosen, scoring=_scoring_for(recipe, name))


def meant(own: DataConfig, given: str | Path) -> tuple[str, Path | None]:
    """(name, place) of the data set that the user means by ``given``, where the configuration names its ``own``.

    The name of a data set is taken as it is. A place is read as the configuration's own data set if the files there may be that set, or if nothing
    there is recognised. Otherwise :func:`memogen.data.named` decides by the files there.
    """
    place = Path(given).expanduser()
    if str(given) in data.DATASETS:
        return str(given), None
    if not is_there(place):
        apart = place.name in data.DATASETS and place.parent.is_dir()
        return data.named(given) if apart else (own.name, place)
    if own.name != "folder" and (may_hold(place, own.name) or not (recognised(place) or holds_images(place))):
        return own.name, place
    return data.named(given)


def _scoring_for(recipe: Recipe, name: str) -> ScoringConfig:
    """The scoring on another data set: by its classifier; where none ships, in pixels, unless nothing is judged or classes come one by one."""
    scoring, own = recipe.scoring, own_extractor(name)
    if own is not None:
        usual = scoring.extractor == PIXELS and scoring.metrics == IN_PIXELS
        return replace(scoring, extractor=own, metrics=ScoringConfig().metrics if usual else scoring.metrics)
    if scoring.extractor is None or recipe.succession is not None:
        return replace(scoring, extractor=None)
    return replace(scoring, extractor=PIXELS, metrics=(*scoring.asked, *IN_PIXELS))


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
        """Loads a split anew and does not keep it. Raises InputError."""
        return data.load(self.config.name, folder=self.config.folder, split=split, options=self.config.options)


def check_learner(recipe: Recipe) -> None:
    """Raises InputError for an objective that does not learn the tasks which are asked for."""
    if recipe.succession is not None and not isinstance(recipe.objective, TaskObjective):
        raise InputError(
            f"succession: {recipe.recipe} does not learn tasks one after another: leave it null, or use a recipe whose name ends with _stream"
        )


def with_images(recipe: Recipe, splits: Splits) -> Recipe:
    """The recipe in the shape of its training images. Where tasks are learned, a conditional model gets a place for each class, under its name.

    Raises InputError where the images do not make the tasks, or the objective does not learn tasks.
    """
    images = splits.train
    recipe = shaped(recipe, images.image_shape)
    if recipe.succession is None:
        return recipe
    check_tasks(images, recipe.succession.tasks)
    check_learner(recipe)
    if not isinstance(recipe.model, LabelledConfig):
        return recipe
    count = num_classes(images)
    return replace(recipe, model=recipe.model.with_classes(count, images.classes[:count]))
