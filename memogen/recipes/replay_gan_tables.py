"""Tables 1 and 2 of Wu et al. 2018 as data, with Fashion-MNIST beside them, which nobody printed."""

from __future__ import annotations

from dataclasses import replace

from . import replay_gan
from .recipe import Claim
from .table import Budget, Table, TableRow

_ROWS = tuple(replay_gan.ROWS)
_FASHION = ("joint_training", "fine_tuning", "joint_replay", "joint_replay_mean", "replay_alignment")
_HOURS = {
    "joint_training_half": 0.22,
    "dgr": 0.69,
    "joint_replay": 0.68,
    "joint_replay_mean": 0.68,
    "joint_replay_alignment": 0.74,
}


def _budgets(steps: int, *, tasks: int = 10, scale: float | None = 1.0, alignment: float = 1e-3) -> dict[str, Budget]:
    """``steps`` of the paper for each task; "short" is 250, and costs ``scale`` times what MNIST costs, None: nobody knows.

    ``alignment`` is the printed lambda. The paper's number of samples, 6,400 of each class, is that of the authors' code. "smoke" shows that
    everything works, and nothing else.
    """
    hours = None if scale is None else scale * 0.44 * tasks / 10
    short = Budget(250, 1000, hours, precision="bf16", channels_last=True)
    smoke = replace(short, steps=2, num_samples=200, hours=None if hours is None else 0.02, curves=False)
    paper = Budget(steps, 6400, hours=None, learning_rate=replay_gan.PRINTED_RATE, alignment=alignment, cuda_graphs=True, curves=False, evaluations=4)
    return {"smoke": smoke, "short": short, "paper": paper}


def _by_variant(recipe: str, budgets: dict[str, Budget], repeated: tuple[str, ...] = ()) -> dict[str, dict[str, Budget]]:
    """The budgets of a recipe and of its variants, with their own hours, and three seeds of those ``repeated``."""
    found, short = {recipe: budgets}, budgets["short"]
    for variant in _ROWS:
        hours = _HOURS.get(variant, short.hours) if short.hours is not None else None
        found[f"{recipe}/{variant}"] = budgets | {"short": replace(short, hours=hours, seeds=3 if variant in repeated else 1)}
    return found


def _rows(name: str, variant: str) -> list[TableRow]:
    """A row for each number that the paper prints; one without a number where it prints none."""
    claims: tuple[Claim | None, ...] = replay_gan.printed(name, variant) or (None,)
    return [TableRow(f"replay_gan/{name}", variant, claim) for claim in claims]


def table_1() -> Table:
    budgets = _by_variant("replay_gan/mnist", _budgets(4000), repeated=("joint_replay", "replay_alignment"))  # the paper's own methods
    budgets |= _by_variant("replay_gan/svhn", _budgets(8000, scale=None, alignment=1e-2))
    budgets |= _by_variant("replay_gan/fashion_mnist", _budgets(4000))
    rows = [row for name in ("mnist", "svhn") for variant in _ROWS for row in _rows(name, variant)]
    rows += [row for variant in _FASHION for row in _rows("fashion_mnist", variant)]
    note = (
        "Shares of generated images that a classifier finds to be of the class asked for, over the classes learned so far; ours by the classifiers "
        "that ship with memogen. The lines of fewer iterations are the same runs after five tasks. SVHN is unverified: it needs your own files and "
        "a classifier. Fashion-MNIST is not in the paper."
    )
    return Table("replay_gan/table1", "Accuracy after five and ten classes learned one after another", tuple(rows), budgets, note)


def table_2() -> Table:
    rows = [row for variant in replay_gan.TABLE_2 for row in _rows("lsun", variant)]
    note = "Unverified: LSUN and its classifier are not to be had here. The Fréchet distance is the mean of those of the four categories."
    return Table(
        "replay_gan/table2", "LSUN after four categories", tuple(rows), _by_variant("replay_gan/lsun", _budgets(20_000, tasks=4, scale=None)), note
    )
