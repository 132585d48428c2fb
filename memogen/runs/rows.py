"""What the result rows of a run say beside its scores, and how they are read again."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from ..report.history import read_lines, read_run
from .recipe import config_hash

Row = dict[str, Any]


def context(recipe: Recipe, budget: str | None) -> Row:
    """What every row of a run says: the recipe, what names its configuration, and the command that was typed."""
    about = {"recipe": recipe.recipe, "seed": recipe.training.seed, "budget": budget, "config": config_hash(recipe)}
    return {**about, "command": command_line()}


def progress_of(folder: Path) -> Row:
    """How far a run has been trained."""
    run = read_run(folder)
    return {"steps": run.count("step"), "images": run.count("images_seen"), "training_seconds": run.last("seconds")}


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["memogen", *sys.argv[1:]])


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file, without lines that are cut off; none where there is no file."""
    return [dict(row) for row in read_lines(path)]


def leads() -> bool:
    """Whether this process writes for all."""
    return int(os.environ.get("RANK", "0")) == 0
