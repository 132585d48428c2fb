"""The papers' tables as data: which recipe and variant makes each row, the number printed for it, and what a run may cost.

``memogen.runs.reproduce`` runs them. A new table is an entry of ``TABLES``.
"""

from __future__ import annotations

from dataclasses import replace

from ..configs import suggest
from ..types import InputError
from . import memory_gan
from .continual import continual_table
from .mem_vae_tables import mem_vae_tables
from .memory_gan_claims import claims_table
from .memory_gan_edits import edits_table
from .memory_gan_tasks import tasks_table
from .recipe import Claim
from .replay_gan_tables import replay_gan_tables
from .table import Budget, Table, TableRow


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


# --- memoryGAN (Kim, Kim and Kim, ICLR 2018) ---


def _budgets(*, images: int, samples: int, steps: int, hours: float, long: int, seeds: int = 1, smoke: int = 20) -> dict[str, Budget]:
    """For a data set of so many ``images`` whose printed score is of so many ``samples``; the short budget's steps, hours and seeds, and the
    steps of the long and of the smoke budget.

    "smoke" shows that everything works, and nothing else; "long" is for minutes on a large GPU; "paper" is the limit of 1,500 epochs in the authors'
    code, as the paper states none.
    """
    short = Budget(steps, 10_000, hours, seeds, precision="bf16", channels_last=True)
    quick = replace(short, steps=smoke, num_samples=1000, hours=0.01 + smoke * hours / steps, seeds=1, curves=False)
    longer = replace(short, steps=long, hours=0.02 + long / 1e6, seeds=1, cuda_graphs=True, evaluations=20, curve_samples=2000)
    return {"smoke": quick, "short": short, "long": longer, "paper": Budget(1500 * images // 64, samples, hours=None)}


_BUDGETS = {
    "memory_gan/fashion_mnist": _budgets(images=60_000, samples=64_000, steps=5000, hours=0.4, long=50_000, seeds=3),
    "memory_gan/affine_mnist": _budgets(images=60_000, samples=640_000, steps=2000, hours=0.2, long=20_000),
    "memory_gan/cifar10": _budgets(images=50_000, samples=640_000, steps=1000, hours=0.5, long=5000, smoke=10),
}
_PRINTED_1 = {
    "ALI (Dumoulin et al. 2017)": (5.34, 0.05),
    "BEGAN (Berthelot et al. 2017)": (5.62, None),
    "DCGAN (Radford et al. 2016)": (6.54, 0.067),
    "Improved GAN (Salimans et al. 2016)": (6.86, 0.06),
    "EGAN-Ent-VI (Dai et al. 2017)": (7.07, 0.10),
    "DFM (Warde-Farley and Bengio 2017)": (7.72, 0.13),
    "WGAN-GP (Gulrajani et al. 2017)": (7.86, 0.07),
    "Fisher GAN (Mroueh et al. 2017)": (7.90, 0.05),
}


def _printed(value: float, spread: float | None, table: str) -> Claim:
    return Claim("inception_score", value, spread, f"Kim et al. 2018, {table}")


def _table_1() -> Table:
    others = [TableRow("", method, _printed(*printed, "Table 1")) for method, printed in _PRINTED_1.items()]
    ours = TableRow("memory_gan/cifar10", "memory_gan", _printed(*memory_gan.TABLE_2["cifar10"]["memory_gan"], "Table 1"))
    note = "Unverified: the printed scores are by the standard Inception network; ours are by whatever extractor their protocol names."
    return Table("memory_gan/table1", "CIFAR-10 without labels, beside the methods of others", (*others, ours), _BUDGETS, note)


def _table_2() -> Table:
    rows = [
        TableRow(f"memory_gan/{data}", variant, _printed(*memory_gan.TABLE_2[data][variant], "Table 2"))
        for data in ("fashion_mnist", "affine_mnist", "cifar10")
        for variant in memory_gan.TABLE_2[data]
    ]
    note = "The printed scores are by the authors' own classifiers (CIFAR-10: the standard Inception network), ours by those that ship with memogen."
    return Table("memory_gan/table2", "What each part of memoryGAN is worth", tuple(rows), _BUDGETS, note)


def _equal_size() -> Table:
    """What memory and contrast are worth, each alone and together. Nobody printed it."""
    small = _budgets(images=60_000, samples=64_000, steps=5000, hours=0.25, long=50_000, seeds=3)
    digits = {name: replace(cost, precision="float32", channels_last=False, hours=0.06) for name, cost in small.items()}
    digits["short"] = replace(digits["short"], seeds=5)
    colour = _budgets(images=50_000, samples=640_000, steps=1000, hours=0.2, long=5000, seeds=3, smoke=10)
    budgets = _BUDGETS | {"memory_gan/digits": digits, "memory_gan/fashion_mnist_small": small, "memory_gan/cifar10_small": colour}
    for name, of, steps in (("digits", digits, 9500), ("fashion_mnist_small", small, 6300)):  # as many processor seconds as with memory
        budgets[f"memory_gan/{name}/no_memory"] = of | {"equal_time": replace(of["short"], steps=steps, seeds=3)}
    data = ("digits", "fashion_mnist_small", "fashion_mnist", "cifar10_small", "cifar10")
    arms = ("memory_gan", "no_contrast", "no_memory_contrast", "no_memory")
    rows = tuple(TableRow(f"memory_gan/{name}", arm, None) for name in data for arm in arms)
    note = (
        "Networks without memory are as wide as it takes to have as many parameters as those with it; data and scoring are equal, and so are steps, "
        "or processor seconds with the budget equal_time."
    )
    return Table("memory_gan/equal_size", "What memory and contrast are worth at equal size", rows, budgets, note)


_MEMORY_GAN = (_equal_size(), claims_table(), edits_table(), _table_1(), _table_2())
TABLES = {table.name: table for table in (*_MEMORY_GAN, *mem_vae_tables(), *replay_gan_tables(), tasks_table(), continual_table())}
"""Every table by the name the command line knows."""
