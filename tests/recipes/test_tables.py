"""The papers' tables as data: every row can be trained or is printed only, and says what the paper printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memogen.recipes import RECIPES
from memogen.recipes.tables import TABLES, Budget, claim_of, find_table
from memogen.types import InputError

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "reproduce_a_table.md"
ROWS = [(table, row) for table in TABLES.values() for row in table.rows if row.recipe]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{table.name} {row.recipe} {row.variant}" for table, row in ROWS])
def test_every_row_is_a_recipe_with_all_three_budgets(table, row) -> None:
    recipe = RECIPES[row.recipe](variant=row.variant)
    assert row.claim is None or (row.claim.metric, row.claim.value) in {(claim.metric, claim.value) for claim in recipe.claims}
    steps = [table.budget(row.recipe, name).spent_on(recipe, seed=0).training.steps for name in ("smoke", "short", "paper")]
    counts = row.claim is not None and row.claim.metric == "parameters"  # which no training changes
    assert steps == ([1, 1, 1] if counts else sorted(set(steps)))


def test_table_2_is_the_printed_one() -> None:
    printed = {(row.recipe.partition("/")[2], row.variant): (row.claim.value, row.claim.spread) for row in TABLES["memory_gan/table2"].rows}
    assert len(printed) == 12
    assert printed["cifar10", "memory_gan"] == (8.04, 0.13)
    assert printed["affine_mnist", "no_memory"] == (8.00, 0.01)
    assert printed["fashion_mnist", "no_em"] == (6.05, 0.28)


def test_a_budget_changes_what_it_names_and_nothing_else() -> None:
    recipe = RECIPES["memory_gan/fashion_mnist"]()
    spent = Budget(5000, 10_000, 0.3, precision="bf16", channels_last=True).spent_on(recipe, seed=3)
    assert spent == replace(recipe, training=replace(recipe.training, seed=3, precision="bf16", channels_last=True))
    long = Budget(1_000_000, 640_000, None).spent_on(recipe, seed=0)
    assert (long.training.sample_every, long.training.checkpoint_every, long.scoring.likelihood_every) == (10_000, 10_000, 10_000)
    quick = Budget(20, 1000, 0.1, curves=False).spent_on(recipe, seed=0)
    assert (quick.training.sample_every, quick.scoring.likelihood_every, quick.scoring.num_samples) == (0, 0, 1000)


def test_the_papers_budget_is_1500_epochs() -> None:
    budget = TABLES["memory_gan/table2"].budget("memory_gan/cifar10", "paper")
    assert budget.steps == 1500 * 50_000 // 64
    assert (budget.num_samples, budget.hours) == (640_000, None)


def test_tables_are_narrowed_by_recipe_and_by_variant() -> None:
    table = find_table("memory_gan/table2/fashion_mnist").of_variants(("no_em", "no_memory"))
    assert [(row.recipe, row.variant) for row in table.rows] == [("memory_gan/fashion_mnist", "no_em"), ("memory_gan/fashion_mnist", "no_memory")]
    assert len(find_table("memory_gan/table1/cifar10").of_variants(("memory_gan",)).rows) == 9, "the methods of others stay beside ours"


@pytest.mark.parametrize(
    ("name", "told"), [("memory_gan/tabel2", "memory_gan/table2"), ("memory_gan/table2/cifar", "cifar10"), ("table2", "table2"), ("", "table")]
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        find_table(name)


def test_a_variant_that_the_paper_has_not_gets_a_row_of_every_recipe() -> None:
    table = TABLES["memory_gan/table2"].of_variants(("as_printed", "no_em"))
    assert [(row.recipe.partition("/")[2], row.variant) for row in table.rows if row.claim is None] == [
        ("fashion_mnist", "as_printed"),
        ("affine_mnist", "as_printed"),
        ("cifar10", "as_printed"),
    ]
    assert len(table.rows) == 6


@pytest.mark.parametrize("name", ["smoke", "short", "long", "paper"])
def test_the_page_shows_the_budgets(name: str) -> None:
    (line,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |"))
    cells = dict(zip(("fashion_mnist", "affine_mnist", "cifar10"), line.split(" | ")[1:], strict=False))
    for data, cell in cells.items():
        budget = TABLES["memory_gan/table2"].budget(f"memory_gan/{data}", name)
        seeds = f", {budget.seeds} seeds" if budget.seeds > 1 else ""
        assert cell == f"{budget.steps:,} steps, {budget.num_samples:,} samples{seeds}"


def test_a_wrong_budget_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'smoke'"):
        TABLES["memory_gan/table2"].budget("memory_gan/cifar10", "smok")


def test_claims_are_found_by_what_a_result_row_says() -> None:
    claim = claim_of("memory_gan/affine_mnist", "no_em", "inception_score")
    assert claim is not None and (claim.value, claim.spread) == (8.17, 0.04)
    assert claim_of("memory_gan/affine_mnist", "no_em", "fid") is None
    assert claim_of("memory_gan/digits", "no_em", "inception_score") is None


def test_the_claims_are_scored_by_what_each_set_is_for() -> None:
    table = TABLES["memory_gan/claims"]
    assert {row.variant for row in table.rows} == {"memory_gan", "no_memory", "no_memory_contrast"}
    scored = {name: set(table.scored(RECIPES[name]()).scoring.metrics) for name in table.recipes}
    assert all({"prdc", "paths", "critic"} <= metrics for metrics in scored.values())
    assert {name for name, metrics in scored.items() if "copies" in metrics} == {name for name in scored if not name.endswith("long_tail")}
    assert {name for name, metrics in scored.items() if "rare" in metrics} == {name for name in scored if name.endswith("long_tail")}
    assert {name for name, metrics in scored.items() if "modes" in metrics} == {"memory_gan/stacked_digits"}
    assert {name for name, metrics in scored.items() if "is" in metrics} == {"memory_gan/digits", "memory_gan/fashion_mnist_small"}
    for name in table.recipes:
        assert (RECIPES[name]().data.options.long_tail == 0.6) == name.endswith("long_tail")
        for budget in ("smoke", "short"):
            training = table.budget(name, budget).spent_on(table.scored(RECIPES[name]()), seed=0).training
            assert training.keep == training.steps // training.checkpoint_every == 5, "fakes of four earlier checkpoints"
