"""The rows of ``results/``, but for its archive, name configurations that their commands make today: what a table shows can be run again."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from memogen import runs
from memogen.cli.options import split
from memogen.cli.plan import choose
from memogen.data.datasets import FASHION
from memogen.models import ReplayGANConfig
from memogen.recipes import Recipe
from memogen.runs import reproduce

ROOT = Path(__file__).parents[2]
OF_COMMANDS = ("data", "out", "variant")


def trained(words: list[str]) -> Recipe:
    """The recipe of ``memogen train ...``."""
    (name, *own), options = split(words, [f"--{option}" for option in OF_COMMANDS], [])
    given = dict(zip(own[::2], own[1::2], strict=True))
    return choose(name, {"variant": given.get("--variant")}, options)


def reproduced(words: list[str], recipe: str, variant: str, seed: int) -> Recipe:
    """The recipe of one row of ``memogen reproduce TABLE ...``."""
    given = dict(zip(words[1::2], words[2::2], strict=True))
    plan = reproduce.plan(words[0], budget=given.get("--budget", "short"), variants=[variant], seeds=seed + 1)
    return next(job.recipe for job in plan.jobs if (job.recipe.recipe, job.recipe.training.seed) == (recipe, seed))


def kept() -> dict[tuple[str, str, str, int, str], str]:
    """The digits of the configuration by command, recipe, variant, seed and file."""
    found = {}
    for file in sorted(file for file in (ROOT / "results").rglob("*.jsonl") if "archive" not in file.parts):
        for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            if row["variant"] != "real" and row.get("config"):
                found[row["command"].partition(" && ")[0], row["recipe"], row["variant"], row["seed"], file.name] = row["config"]
    return found


@pytest.mark.parametrize(("about", "digits"), kept().items(), ids=[" ".join(map(str, about[1:])) for about in kept()])
def test_a_row_s_command_makes_its_configuration(about: tuple[str, str, str, int, str], digits: str) -> None:
    command, name, variant, seed, _ = about
    _, action, *words = shlex.split(command)
    recipe = trained(words) if action == "train" else reproduced(words, name, variant, seed)
    if isinstance(recipe.model, ReplayGANConfig):  # a run takes its classes' names from the images
        names = FASHION if recipe.data.name == "fashion-mnist" else tuple("0123456789")
        recipe = replace(recipe, model=replace(recipe.model, classes=names))
    assert runs.config_hash(recipe) == digits and (recipe.variant, recipe.training.seed) == (variant, seed)
