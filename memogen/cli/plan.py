"""From the words of ``memogen train`` to a complete configuration, and what ``--dry-run`` says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import yaml

from memogen.cli.options import UsageError, nearest, override

if TYPE_CHECKING:
    from memogen.recipes import Recipe


def choose(name: str, row: Mapping[str, str | None], options: Mapping[str, str]) -> Recipe:
    """The recipe or configuration file of that name, with dotted options set; ``row`` holds the recipe's own arguments, such as its variant."""
    from memogen import configs, runs
    from memogen.recipes import RECIPES, read_recipe

    given = {key: value for key, value in row.items() if value is not None}
    if name in RECIPES:
        recipe = _call(RECIPES[name], name, given)
    elif Path(name).suffix in (".yaml", ".yml"):
        if given:
            raise UsageError(f"--{next(iter(given))}: {name} is a complete configuration; set its own options instead")
        recipe = runs.load_config(Path(name))
    else:
        raise UsageError(f"{name}: no such recipe{nearest(name, RECIPES)}; there are {', '.join(RECIPES)}, or name a config.yaml")
    if not options:
        return recipe
    return read_recipe(override(configs.to_dict(recipe), options))


def _call(recipe: Callable[..., Recipe], name: str, given: Mapping[str, str]) -> Recipe:
    """The recipe with the given arguments, each of which must be one of the choices in its signature."""
    hints = get_type_hints(recipe)
    for key, value in given.items():
        choices = get_args(hints.get(key))
        if value not in choices:
            known = f"choose one of {', '.join(choices)}" if choices else "leave it out"
            raise UsageError(f"--{key} {value}: {name} has no such {key}{nearest(value, choices)}; {known}")
    return recipe(**given)


def describe(recipe: Recipe, *, data: str | None, out: Path | None, resume: str) -> str:
    """The complete configuration as YAML, under comments that say what training it would do."""
    from memogen import configs, runs

    recipe = recipe if data is None else runs.with_data(recipe, data)
    images = recipe.data.folder or ("none yet: give --data FOLDER" if recipe.data.name == "folder" else recipe.data.name)
    folder = out or runs.default_folder(recipe)
    steps, batch_size = recipe.training.steps, recipe.training.batch_size
    notes = [
        f"would train {recipe.recipe}, variant {recipe.variant}: {steps:,} steps of {batch_size} images, {steps * batch_size:,} in all",
        f"data: {images}",
        f"run folder: {folder}, {'which exists' if folder.exists() else 'which is new'}; resume: {resume}",
        "this output is a configuration file: memogen train config.yaml",
    ]
    return "\n".join([*(f"# {note}" for note in notes), yaml.safe_dump(configs.to_dict(recipe), sort_keys=False).rstrip()])
