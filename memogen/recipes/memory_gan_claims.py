"""What Kim, Kim and Kim (ICLR 2018) claim of a memory, as numbers, for networks of equal size; nobody printed them.

Quality; structural discontinuity (Fig. 1); a discriminator that forgets (section 1); rare samples, on long-tailed sets; modes, on stacked digits.
"""

from __future__ import annotations

from dataclasses import replace

from ..augment import AugmentConfig
from ..data import DataOptions
from ..models import MemoryConfig, MemoryGANConfig, MemoryGANObjective
from ..models.memory_gan import ContrastConfig
from . import memory_gan
from .memory_gan import Variant
from .recipe import DataConfig, Recipe, ScoringConfig
from .table import Budget, Table, TableRow

ARMS: tuple[Variant, ...] = ("memory_gan", "no_memory_contrast", "no_memory")
TAIL = 0.6  # class k keeps 0.6^k of its images
PLAIN = ("is", "fid", "prdc", "copies", "paths", "critic")
TAILED = ("prdc", "rare", "paths", "critic")
"""Test images are as many of each class: Fréchet distances to all of them say little, and they lie farther from the training images than samples."""
CHECKPOINTS = 5  # whose fakes the last discriminator judges


def digits_long_tail(variant: Variant = "memory_gan") -> Recipe:
    """The embedded digits thinned to 357: 142 of the class 0, and of the classes 7, 8 and 9 four, two and one."""
    return _long_tailed(memory_gan.digits(variant))


def fashion_mnist_small_long_tail(variant: Variant = "memory_gan") -> Recipe:
    """Fashion-MNIST thinned to a quarter: 6,000 of the first class, 60 of the last."""
    return _long_tailed(memory_gan.fashion_mnist_small(variant))


def stacked_digits(variant: Variant = "memory_gan") -> Recipe:
    """Three digits in three channels, with the networks of ``memory_gan/digits`` and as many real slots as there are combinations."""
    base = memory_gan.digits()
    assert isinstance(base.model, MemoryGANConfig) and isinstance(base.objective, MemoryGANObjective)
    model = replace(base.model, image_shape=(3, 8, 8), memory=MemoryConfig(2048, 64, top_k=64))
    views = AugmentConfig(saturation=0.0)  # a digit must not show through in another's channel
    recipe = replace(
        base,
        recipe="memory_gan/stacked_digits",
        data=DataConfig("stacked-digits"),
        model=model,
        objective=replace(base.objective, contrast=ContrastConfig(augment=views)),
        training=replace(base.training, keep=CHECKPOINTS),
        scoring=ScoringConfig("stacked-digits", ("fid", "prdc", "modes", "copies", "paths", "critic")),
    )
    return memory_gan.apply_variant(recipe, variant)


def _long_tailed(recipe: Recipe) -> Recipe:
    return replace(
        recipe,
        recipe=f"{recipe.recipe}_long_tail",
        data=replace(recipe.data, options=DataOptions(long_tail=TAIL)),
        training=replace(recipe.training, keep=CHECKPOINTS),
        scoring=replace(recipe.scoring, metrics=TAILED),
        claims=(),
    )


def claims_table() -> Table:
    """Every claim of a memory and of both plain arms."""
    sets = ("digits", "digits_long_tail", "stacked_digits", "fashion_mnist_small", "fashion_mnist_small_long_tail")
    rows = tuple(TableRow(f"memory_gan/{name}", arm, None) for name in sets for arm in ARMS)
    budgets = {
        "memory_gan/digits": _budgets(images=1437, steps=5000, hours=0.06),
        "memory_gan/digits_long_tail": _budgets(images=1437, steps=5000, hours=0.06),
        "memory_gan/stacked_digits": _budgets(images=50_000, steps=4000, hours=0.06),
        "memory_gan/fashion_mnist_small": _half(_budgets(images=60_000, steps=1500, hours=0.11)),
        "memory_gan/fashion_mnist_small_long_tail": _half(_budgets(images=60_000, steps=1500, hours=0.11)),
    }
    note = (
        "Networks without memory are as wide as it takes to have as many parameters as those with it. Off the data: outside the balls around test "
        "images that precision is taken by; of samples, of images between two samples, and of ways between two samples on the data which leave it. "
        "D: the last discriminator judges fakes of earlier checkpoints, and held-out real images beside, as one that calls all fake would look "
        "perfect. Rare: the three rarest classes of the training images; their share among the samples is 1 where it is the true one."
    )
    metrics = {f"memory_gan/{name}": PLAIN for name in ("digits", "fashion_mnist_small")}
    return Table("memory_gan/claims", "Claims of the paper at equal size", rows, budgets, note, metrics)


def _budgets(*, images: int, steps: int, hours: float) -> dict[str, Budget]:
    """The short budget's steps and hours; "paper" is the limit of 1,500 epochs in the authors' code."""
    short = Budget(steps, 10_000, hours, seeds=3, checkpoints=CHECKPOINTS)
    smoke = replace(short, steps=20, num_samples=1000, hours=0.01 + 20 * hours / steps, seeds=1, curves=False)
    return {"smoke": smoke, "short": short, "paper": replace(short, steps=1500 * images // 64, hours=None, seeds=1)}


def _half(budgets: dict[str, Budget]) -> dict[str, Budget]:
    """In half precision, one seed."""
    return {name: replace(cost, precision="bf16", channels_last=True, seeds=1) for name, cost in budgets.items()}


RECIPES = (digits_long_tail, fashion_mnist_small_long_tail, stacked_digits)
