"""The continual benchmark as data: five tasks of two classes, by every family's ways of keeping the past. Nobody printed it."""

from __future__ import annotations

from dataclasses import replace

from . import mem_vae_tasks, memory_gan_tasks, replay_gan_tasks
from .table import Budget, Criterion, Table, TableRow

_METHODS: dict[str, tuple[str, ...]] = {
    "replay_gan": ("joint_training", "fine_tuning", "joint_replay", "replay_alignment", "joint_replay_alignment", "ewc", "dgr"),
    "memory_gan": ("joint_training", "fine_tuning", "slot_replay", "plain_replay"),
    "mem_vae": ("joint_training", "fine_tuning", "sample_replay"),
}
_FAMILIES = {"replay_gan": replay_gan_tasks, "memory_gan": memory_gan_tasks, "mem_vae": mem_vae_tasks}
_SETS = ("digits", "mnist", "fashion_mnist", "cifar10")
_STREAM = "_stream"


def continual_table() -> Table:
    """What each method has kept of ten classes after five tasks."""
    recipes = [(family, f"{family}/{name}{_STREAM}") for name in _SETS for family in _METHODS if _has(family, f"{name}{_STREAM}")]
    rows = tuple(TableRow(recipe, variant, None) for family, recipe in recipes for variant in _METHODS[family])
    note = (
        "Every method sees as many real images of a task: a Memory Replay GAN makes five critic steps an iteration, a memoryGAN one, a MEM-VAE has "
        "none. Iterations are those of all five tasks together. Numbers are of samples of all ten classes after the last task. Accuracy is of asked "
        "classes; methods that take no labels have none. Reverse accuracy is that of real test images by a classifier trained on samples alone, "
        "labelled by the class asked for or, of methods without labels, by the shipped classifier. MB kept stand beside the networks; MB carried "
        "hold both."
    )
    metrics = {recipe: ("continual",) for _, recipe in recipes}
    return Table("continual", "Ten classes in five tasks", rows, _budgets(), note, metrics, ending=_STREAM, criterion=Criterion())


def _has(family: str, function: str) -> bool:
    return function in {recipe.__name__ for recipe in _FAMILIES[family].RECIPES}


def _budgets() -> dict[str, dict[str, Budget]]:
    """Steps are those of a task, and a fifth of them for a Memory Replay GAN, whose critic makes five to each: all see as many real images.

    "smoke" shows that everything works, and nothing else.
    """
    short = {"digits": (Budget(1000, 2000, 0.05, seeds=3), 5000), "mnist": (Budget(1250, 2000, 0.15), 20_000)}
    short |= {name: (Budget(1250, 2000, None), 20_000) for name in ("fashion_mnist", "cifar10")}
    found = dict[str, dict[str, Budget]]()
    for name, (cost, paper) in short.items():
        smoke = replace(cost, steps=2, num_samples=200, hours=None if cost.hours is None else 0.01, seeds=1, curves=False)
        long = replace(cost, steps=paper, num_samples=10_000, hours=None)
        for family in _METHODS:
            of = {"smoke": smoke, "short": cost, "paper": long}
            shorter = {key: replace(each, steps=each.steps // 5) for key, each in of.items() if key != "smoke"}
            found[f"{family}/{name}{_STREAM}"] = of | shorter if family == "replay_gan" else of
    return found
