"""From the words of ``memogen train`` to a complete configuration, and what ``--dry-run`` says about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from memogen.cli.options import UsageError, nearest, override

if TYPE_CHECKING:
    from memogen.recipes import Recipe


def choose(name: str, variant: str | None, options: Mapping[str, str]) -> Recipe:
    """The recipe or configuration file of that name, in a variant, with dotted options set."""
    from memogen import configs, runs
    from memogen.recipes import RECIPES, Recipe

    if name in RECIPES:
        recipe = RECIPES[name]() if variant is None else RECIPES[name](variant=variant)
    elif Path(name).suffix in (".yaml", ".yml"):
        if variant is not None:
            raise UsageError(f"--variant {variant}: {name} is a complete configuration; set its own options instead")
        recipe = runs.load_config(Path(name))
    else:
        raise UsageError(f"{name}: no such recipe{nearest(name, RECIPES)}; there are {', '.join(RECIPES)}, or name a config.yaml")
    if not options:
        return recipe
    return configs.from_dict(Recipe, override(configs.to_dict(recipe), options))


def describe(recipe: Recipe, *, data: str | None, out: Path | None, resume: str) -> str:
    """The complete configuration as YAML, under comments that say what training it would do."""
    from memogen import configs

    steps, batch_size = recipe.training.steps, recipe.training.batch_size
    notes = [
        f"would train {recipe.recipe}, variant {recipe.variant}: {steps:,} steps of {batch_size} images, {steps * batch_size:,} in all",
        f"data: {data or recipe.data.name}",
        f"run folder: {out or 'a new one under runs/'}; resume: {resume}",
        "this output is a configuration file: memogen train config.yaml",
    ]
    return "\n".join([*(f"# {note}" for note in notes), yaml.safe_dump(configs.to_dict(recipe), sort_keys=False).rstrip()])
