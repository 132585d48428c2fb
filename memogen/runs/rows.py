"""What the result rows of a run say beside its scores."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..metrics.rows import ResultRow
from ..pretrained import WEIGHTS, sha256
from ..recipes import Recipe
from ..report.history import read_run
from .recipe import config_hash


def context(recipe: Recipe, budget: str | None) -> dict[str, Any]:
    """What every row of a run says: the recipe, what names its configuration, and the command that was typed."""
    about = {"recipe": recipe.recipe, "seed": recipe.training.seed, "budget": budget, "config": config_hash(recipe)}
    return {**about, "command": command_line()}


def progress_of(folder: Path) -> dict[str, Any]:
    """How far a run has been trained."""
    run = read_run(folder)
    return {"steps": run.count("step"), "images": run.count("images_seen"), "training_seconds": run.last("seconds")}


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["memogen", *sys.argv[1:]])


def leads() -> bool:
    """Whether this process writes for all."""
    return int(os.environ.get("RANK", "0")) == 0


def weights_of(model: Path) -> str:
    """Sixteen digits that name the weights of a saved model."""
    return sha256(model / WEIGHTS)[:16]


def scored(rows: Iterable[ResultRow], of: Mapping[str, Any]) -> bool:
    """Whether rows are there of the same configuration, the same images and the same weights as ``of`` names."""
    return tuple(of[name] for name in ("config", "data", "weights")) in {(row.config, row.data, row.weights) for row in rows}
