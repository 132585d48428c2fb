"""What ``memogen train --dry-run`` prints. :func:`memogen.runs.choose` makes the configuration from the words of the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from memogen.cli.options import UsageError

if TYPE_CHECKING:
    from memogen.recipes import Recipe


def describe(recipe: Recipe, *, data: str | None, out: Path | None, resume: str) -> str:
    """The complete configuration as YAML, under comments that say what training it would do."""
    from memogen import configs, runs

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
    """Steps, and how many real images they read; of each task alone if the model does not say how many classes there are."""
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
