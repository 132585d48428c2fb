"""From the words of ``memogen train`` to a complete configuration, and what ``--dry-run`` says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import yaml

from memogen.cli.options import UsageError, nearest, override

if TYPE_CHECKING:
    from memogen.recipes import Recipe


def choose(name: str, variant: str | None, options: Mapping[str, str]) -> Recipe:
    """The recipe, in one of its variants, or the configuration file of that name, with dotted options set."""
    from memogen import configs, runs
    from memogen.recipes import RECIPES, read_recipe

    if name in RECIPES:
        recipe = _row(name, variant, options)
    elif Path(name).suffix in (".yaml", ".yml"):
        if variant is not None:
            raise UsageError(f"--variant: {name} is a complete configuration; set its own options instead")
        recipe = runs.load_config(Path(name))
    elif Path(name).exists():
        kinds = " or ".join(known for known in RECIPES if known.endswith("/folder"))
        raise UsageError(f"{name}: is no recipe but a place; to train on its images: memogen train RECIPE --data {name}, where RECIPE is {kinds}")
    else:
        raise UsageError(f"{name}: no such recipe{nearest(name, RECIPES)}; memogen recipes lists them, or name a config.yaml")
    if not options:
        return recipe
    return read_recipe(override(configs.to_dict(recipe), options))


def _row(name: str, variant: str | None, options: Mapping[str, str]) -> Recipe:
    """A recipe in one of its variants; an option of another name that asks for one is refused with the right name."""
    from memogen.recipes import RECIPES

    known = get_args(get_type_hints(RECIPES[name]).get("variant"))
    for option, value in options.items():
        meant = [row for row in known if row == value or (value in ("paper", "code") and row.endswith(f"_{value}"))]
        if meant and "." not in option:
            raise UsageError(f"--{option} {value}: no such option (did you mean '--variant {meant[0]}'?)")
    if variant is None:
        return RECIPES[name]()
    if not known:
        raise UsageError(f"--variant {variant}: {name} has no variants; leave it out")
    if variant not in known:
        raise UsageError(f"--variant {variant}: {name} has no such variant{nearest(variant, known)}; choose one of {', '.join(known)}")
    return RECIPES[name](variant=variant)


def describe(recipe: Recipe, *, data: str | None, out: Path | None, resume: str) -> str:
    """The complete configuration as YAML, under comments that say what training it would do."""
    from memogen import configs, runs

    recipe = recipe if data is None else runs.with_data(recipe, data)
    if recipe.data.folder is not None and not Path(recipe.data.folder).exists():
        raise UsageError(f"--data {data or recipe.data.folder}: there is no such file or folder")
    if recipe.data.name == "folder" and recipe.data.folder is not None:
        recipe = runs.with_images(recipe, runs.Splits(recipe.data))  # the images say their shape
    images = recipe.data.folder or ("none yet: give --data FOLDER" if recipe.data.name == "folder" else recipe.data.name)
    folder = out or runs.default_folder(recipe)
    notes = [
        f"would train {recipe.recipe}, variant {recipe.variant}: {_amount(recipe)}",
        f"data: {images}",
        f"run folder: {folder}, {'which exists' if folder.exists() else 'which is new'}; resume: {resume}",
        "this output is a configuration file: memogen train config.yaml",
    ]
    return "\n".join([*(f"# {note}" for note in notes), yaml.safe_dump(configs.to_dict(recipe), sort_keys=False).rstrip()])


def _amount(recipe: Recipe) -> str:
    """Steps and the real images that they read. How many classes there are, only the data know, where the model does not."""
    from memogen.models import outline

    phases = recipe.objective.phases(outline(recipe.model))
    steps, images = recipe.training.steps, sum(phase.repeats for phase in phases if phase.reads_data) * recipe.training.batch_size
    each = f"{steps:,} steps of {images:,} images"
    if recipe.succession is None:
        return f"{each}, {steps * images:,} in all"
    num_classes = getattr(recipe.model, "num_classes", 0)
    if num_classes < 2:
        return f"{each} for each task"
    tasks = len(replace(recipe.succession.tasks, joint=False).tasks(num_classes))
    return f"{each} for each of {tasks} tasks{', joined in one' if recipe.succession.tasks.joint else ''}, {tasks * steps * images:,} in all"
