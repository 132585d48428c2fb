"""The rows of ``results/``, but for its archive, name configurations that their commands make today: what a table shows can be run again."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memogen import configs, reproduce, runs
from memogen.cli.options import split
from memogen.cli.plan import choose
from memogen.data.datasets import FASHION
from memogen.memory import Policy
from memogen.models import ReplayGANConfig
from memogen.recipes import Recipe

ROOT = Path(__file__).parents[2]
OF_COMMANDS = ("data", "out", "variant")


def trained(words: list[str]) -> Recipe:
    """The recipe of ``memogen train ...``."""
    (name, *own), options = split(words, [f"--{option}" for option in OF_COMMANDS], [])
    given = dict(zip(own[::2], own[1::2], strict=True))
    return choose(name, given.get("--variant"), options)


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


def digits_of_then(recipe: Recipe) -> str:
    """The digits of a configuration before docs/decisions/0008-one-policy.md: under the names and with the options of then."""
    plain = json.loads(json.dumps(configs.identity(recipe)))
    plain["data"].pop("folder")
    model, objective = plain["model"], plain["objective"]
    if recipe.recipe.startswith("memory_gan/") and model["memory"]:
        policy = model["memory"].pop("policy")
        model["memory"] |= _two_policies(configs.to_dict(Policy.preset(policy)) if isinstance(policy, str) else policy)
    elif recipe.recipe.startswith("mem_vae/"):
        latents = "independent" if objective.pop("second_draw") else "shared"
        objective |= {"form": "mean", "features": "mixed", "latents": latents, "divergence": "sampled"}
    elif recipe.recipe.startswith("replay_gan/"):
        for name, gone in (("joint", {"shared_noise": True}), ("generative_replay", {"share": None, "steps": 1})):
            objective[name] = objective[name] and objective[name] | gone
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def _two_policies(policy: dict[str, Any]) -> dict[str, Any]:
    """How a memory read and how it wrote."""
    reading = {name: policy[name] for name in ("clip", "decayed_mass")} | {"smoothing": 1e-8, "index": "exact"}
    writing = {name: policy[name] for name in ("rule", "histogram", "mass_floor")} | {"replace_when": "top1", "initial_mass": 1e-5}
    reading |= {"lookup": _THEN[policy["lookup"]], "prior": "class" if policy["prior"] == "by_class" else "joint"}
    writing |= {"order": _THEN[policy["shared_slot"]], "label_lookup": policy["label_match"], "replace_which": _THEN[policy["oldest"]]}
    return {"reading": reading, "writing": writing | {"use": policy["age_reset"], "initial_keys": "queries" if policy["fill_empty"] else "zero"}}


_THEN = {"by_class": "stratified", "joint": "joint", "merged": "batch", "last": "last", "of_class": "same_class", "of_all": "global"}


@pytest.mark.parametrize(("about", "digits"), kept().items(), ids=[" ".join(map(str, about[1:])) for about in kept()])
def test_a_row_s_command_makes_its_configuration(about: tuple[str, str, str, int, str], digits: str) -> None:
    command, name, variant, seed, _ = about
    _, action, *words = shlex.split(command)
    recipe = trained(words) if action == "train" else reproduced(words, name, variant, seed)
    if isinstance(recipe.model, ReplayGANConfig):  # a run takes its classes' names from the images
        names = FASHION if recipe.data.name == "fashion-mnist" else tuple("0123456789")
        recipe = replace(recipe, model=replace(recipe.model, classes=names))
    assert digits in (runs.config_hash(recipe), digits_of_then(recipe)) and (recipe.variant, recipe.training.seed) == (variant, seed)
