"""What editing a trained memory does, as numbers: classes forgotten, and a class added from five pictures. Nobody printed them."""

from __future__ import annotations

from dataclasses import replace

from . import memory_gan
from .memory_gan import Variant
from .recipe import DataConfig, Recipe, ScoringConfig
from .table import Budget, Table, TableRow


def digits_without_9(variant: Variant = "memory_gan") -> Recipe:
    """The embedded digits but the nines, which a test split of all ten has: ``memory_gan/digits`` on nine classes."""
    recipe = memory_gan.digits()
    recipe = replace(
        recipe, recipe="memory_gan/digits_without_9", data=DataConfig("digits-without-9"), scoring=ScoringConfig("digits", ("prdc", "few"))
    )
    return memory_gan.apply_variant(recipe, variant)


def edits_table() -> Table:
    """Every edit that needs no training."""
    costs = (("digits", 1437, 0.08), ("digits_without_9", 1293, 0.08), ("fashion_mnist_small", 60_000, 0.3))
    budgets = {name: _budgets(images=images, hours=hours) for name, images, hours in costs}
    cost = budgets["fashion_mnist_small"]
    budgets["fashion_mnist_small"] = {name: replace(budget, precision="bf16", channels_last=True, seeds=1) for name, budget in cost.items()}
    note = (
        "Forgotten: each class by itself, by the slots that labelled training images of it belong to; what is left is its share of the samples less "
        "the rate at which the classifier sees it in held-out images of other classes, the cost a part of the other classes' Fréchet distance; "
        "means over the classes, and the worst one. Unseen: five pictures of the class that training lacked are written as slots; nothing is trained."
    )
    metrics = {f"memory_gan/{name}": ("fid", "forgotten") for name in ("digits", "fashion_mnist_small")}
    rows = tuple(TableRow(f"memory_gan/{name}", "memory_gan", None) for name in budgets)
    return Table("memory_gan/edits", "Edits of a memory", rows, {f"memory_gan/{name}": cost for name, cost in budgets.items()}, note, metrics)


def _budgets(*, images: int, hours: float) -> dict[str, Budget]:
    short = Budget(5000, 10_000, hours, seeds=3)
    smoke = replace(short, steps=20, num_samples=1000, hours=0.02 + 20 * hours / 5000, seeds=1, curves=False)
    return {"smoke": smoke, "short": short, "paper": replace(short, steps=1500 * images // 64, hours=None, seeds=1)}


RECIPES = (digits_without_9,)
