"""Every table as data: which recipe and variant makes each row, the number printed for it, and what a run may cost.

``memogen.runs.reproduce`` runs them. A new table is an entry of ``TABLES``.
"""

from __future__ import annotations

from dataclasses import replace

from ..configs import suggest
from ..types import InputError
from . import RECIPES, memory_gan_tables
from .mem_vae_tables import mem_vae_tables
from .recipe import Claim
from .replay_gan_tables import table_1, table_2
from .table import Budget, Criterion, Table, TableRow

_STREAM = "_stream"


def _continual() -> Table:
    """The continual benchmark: five tasks of two classes, by every family's ways of keeping the past. Nobody printed it.

    Budgets: steps are those of a task, and a fifth of them for a Memory Replay GAN, whose critic makes five to each: all see as many real images.
    "smoke" shows that everything works, and nothing else.
    """
    methods = {
        "replay_gan": ("joint_training", "fine_tuning", "joint_replay", "replay_alignment", "joint_replay_alignment", "ewc", "dgr"),
        "memory_gan": ("joint_training", "fine_tuning", "slot_replay", "sparse_writing", "plain_replay"),
        "mem_vae": ("joint_training", "fine_tuning", "sample_replay"),
    }
    costs = {"digits": (Budget(1000, 2000, 0.05, seeds=3), 5000)}
    costs |= {name: (Budget(1250, 2000, hours), 20_000) for name, hours in {"mnist": 0.15, "fashion_mnist": 0.15, "cifar10": None}.items()}
    rows, budgets = list[TableRow](), dict[str, dict[str, Budget]]()
    for name, (short, paper) in costs.items():
        smoke = replace(short, steps=2, num_samples=200, hours=None if short.hours is None else 0.01, seeds=1, curves=False)
        long = replace(short, steps=paper, num_samples=10_000, hours=None)
        for family, variants in methods.items():
            recipe, share = f"{family}/{name}{_STREAM}", 5 if family == "replay_gan" else 1
            if recipe not in RECIPES:
                continue
            rows += [TableRow(recipe, variant, None) for variant in variants]
            fewer = {key: replace(each, steps=each.steps // share) for key, each in {"short": short, "paper": long}.items()}
            budgets[recipe] = {"smoke": smoke, **fewer}
    note = (
        "Every method sees as many real images of a task: a Memory Replay GAN makes five critic steps an iteration, a memoryGAN one, a MEM-VAE has "
        "none. Iterations are those of all five tasks together. Numbers are of samples of all ten classes after the last task. Accuracy is of asked "
        "classes; methods that take no labels have none. Reverse accuracy is that of real test images by a classifier trained on samples alone, "
        "labelled by the class asked for or, of methods without labels, by the shipped classifier. MB kept stand beside the networks; MB carried "
        "hold both."
    )
    metrics = {recipe: ("continual",) for recipe in budgets}
    return Table("continual", "Ten classes in five tasks", tuple(rows), budgets, note, metrics, ending=_STREAM, criterion=Criterion())


_MEMORY_GAN = (
    memory_gan_tables.equal_size(),
    memory_gan_tables.claims(),
    memory_gan_tables.edits(),
    memory_gan_tables.table_1(),
    memory_gan_tables.table_2(),
)
_EVERY = (*_MEMORY_GAN, *mem_vae_tables(), table_1(), table_2(), memory_gan_tables.stream(), _continual())
TABLES = {table.name: table for table in _EVERY}
"""Every table by the name that the command line knows, in the order of the pages."""


def find_table(name: str) -> Table:
    """A table by its name, or narrowed to a part as in ``memory_gan/table2/fashion_mnist`` or to a recipe by its whole name. Raises InputError."""
    if name in TABLES:
        return TABLES[name]
    whole = next((table for table in TABLES if name.startswith(f"{table}/")), None)
    if whole is None:
        raise InputError(f"{name}: no such table: {suggest(name, TABLES)}")
    table, part = TABLES[whole], name.removeprefix(f"{whole}/")
    parts = {**table.parts, **{recipe: (recipe,) for recipe in table.recipes}}
    if part not in parts:
        raise InputError(f"{name}: {whole} has no such part: {suggest(part, table.parts)}")
    return replace(table, rows=tuple(row for row in table.rows if row.recipe in ("", *parts[part])))


def table_of(name: str) -> Table | None:
    """The table of that name, or that it names a part of; None where there is none."""
    return TABLES.get(name) or TABLES.get(name.rpartition("/")[0])


def claim_of(recipe: str, variant: str, metric: str) -> Claim | None:
    """What a paper printed for this row, if any table has it."""
    rows = (row for table in TABLES.values() for row in table.rows if (row.recipe, row.variant) == (recipe, variant))
    return next((row.claim for row in rows if row.claim and row.claim.metric == metric), None)
