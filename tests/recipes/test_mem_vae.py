"""Recipes and tables of Li et al. 2016: settings, parameter counts and printed numbers as the paper has them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from memogen.recipes import RECIPES
from memogen.recipes.mem_vae import SVM, TABLE_4, VARIANTS
from memogen.recipes.tables import TABLES

OURS = [table for table in TABLES.values() if table.name.startswith("mem_vae/")]


@pytest.mark.parametrize(
    ("recipe", "variant", "count"),
    [
        ("mnist", "vae", 1_440_984),
        ("mnist", "iwae_50", 1_440_984),
        ("mnist", "vae_large", 1_559_184),
        ("mnist", "mem_vae", 1_550_084),
        ("mnist", "mem_iwae_5", 1_550_084),
        ("mnist", "vis_mem_vae", 1_541_084),
        ("ocr_letters", "vae", 163_828),
        ("ocr_letters", "mem_vae", 207_528),
    ],
)
def test_parameters_are_those_of_table_3(recipe: str, variant: str, count: int) -> None:
    made = RECIPES[f"mem_vae/{recipe}"](variant=variant)
    assert sum(parameter.numel() for parameter in made.model.build().parameters()) == count
    for claim in made.claims:
        assert claim.metric != "parameters" or round(count, -3) == claim.value


def test_settings_of_section_5() -> None:
    mnist, letters, faces = (RECIPES[f"mem_vae/{name}"]() for name in ("mnist", "ocr_letters", "frey_faces"))
    assert (mnist.model.hidden, mnist.model.latent_dim, mnist.model.memory.slots, mnist.model.pixel_levels) == ((500, 500), 100, (70, 30), 256)
    assert (letters.model.hidden, letters.model.latent_dim, letters.model.memory.slots, letters.model.pixel_levels) == ((200, 200), 50, (70, 30), 255)
    assert (faces.model.hidden, faces.model.latent_dim, faces.model.memory.slots, faces.model.output) == ((200,), 10, (20,), "gaussian")
    assert [recipe.training.steps for recipe in (mnist, letters, faces)] == [1_800_000, 963_000, 54_000]
    for recipe in (mnist, letters, faces):
        adam = recipe.objective.optimiser
        assert (adam.learning_rate, adam.betas, adam.eps, adam.eps_form) == (1e-3, (0.9, 0.999), 1e-4, "uncorrected")
        assert (adam.clip_norm, adam.clip_value, adam.weight_decay) == (5.0, 1.0, 0.0)
        assert (recipe.training.batch_size, recipe.training.ema_decay) == (100, 0.0)
    assert [recipe.objective.local_reconstruction for recipe in (mnist, letters, faces)] == [(0.1, 0.1), (0.1, 0.1), ()]


def test_variants_differ_in_what_their_names_say() -> None:
    made = {variant: RECIPES["mem_vae/mnist"](variant=variant) for variant in VARIANTS if "batch" not in variant}
    assert {variant: recipe.objective.num_samples for variant, recipe in made.items()} == {
        variant: 50 if "50" in variant else 5 if "5" in variant else 1 for variant in made
    }
    assert {variant for variant, recipe in made.items() if recipe.model.memory.slots} == {
        variant for variant in made if "mem" in variant or variant == "code"
    }
    regularised = {variant for variant, recipe in made.items() if recipe.objective.local_reconstruction}
    assert regularised == {"mem_vae", "mem_iwae_5", "mem_iwae_50", "vis_mem_vae", "vae_lre", "code", "vamp_mem_vae"}
    assert {variant for variant, recipe in made.items() if recipe.model.hidden == (530, 530)} == {variant for variant in made if "large" in variant}
    learned = {variant: recipe.model.prior_slots for variant, recipe in made.items()}
    assert learned == {variant: 500 if "vamp" in variant else 0 for variant in made}
    assert RECIPES["mem_vae/digits"](variant="vamp_vae").model.prior_slots == 50
    full, code = made["mem_vae"], made["code"]
    assert code == replace(full, variant="code", objective=replace(full.objective, second_draw=True)), "all else is the code's already"
    visible = made["vis_mem_vae"].model.memory
    assert (visible.addressing, visible.compose) == ("softmax", "additive")


def test_frey_faces_in_tens_keep_their_learning_rate() -> None:
    tens = RECIPES["mem_vae/frey_faces"](variant="mem_vae_batch_10")
    assert (tens.training.batch_size, tens.training.steps, tens.model.memory.slots) == (10, 186_000, (20,))
    decay = tens.objective.optimiser.decay
    assert decay.hold == decay.stages


def test_printed_numbers() -> None:
    def printed(recipe: str, variant: str) -> dict[str, float]:
        return {claim.metric: claim.value for claim in RECIPES[f"mem_vae/{recipe}"](variant=variant).claims}

    assert printed("mnist", "mem_vae") == {
        "log_likelihood": -84.41,
        "parameters": 1_550_000,
        "imputation_mse rect-12 by batch": 0.1362,
        "imputation_mse rand-0.6 by batch": 0.0187,
        "imputation_mse half by batch": 0.0539,
        "svm_accuracy": SVM["mem_vae"],
    }
    assert printed("mnist", "mem_iwae_50") == {"log_likelihood": -82.84}
    assert printed("ocr_letters", "iwae_5") == {"log_likelihood": -28.69}
    assert printed("frey_faces", "vae_batch_10") == {"elbo": 1055.0}
    assert printed("digits", "mem_vae") == {}
    assert printed("mnist", "vis_mem_vae")["slot_preference 1"] == pytest.approx(sum(TABLE_4[0]) / 10)


def test_all_tables_share_their_runs_and_score_them_in_their_own_way() -> None:
    """But for the one that counts parameters, for which a step is enough."""
    assert {table.runs for table in OURS if table.name != "mem_vae/table3"} == {"mem_vae/runs"}
    assert TABLES["mem_vae/table3"].budget("mem_vae/mnist", "paper").steps == 1
    scored = {table.name: table.scored(RECIPES["mem_vae/mnist"]()).scoring for table in OURS}
    assert all(scoring.asked and not scoring.judged for scoring in scored.values())
    for table in OURS:
        for row in table.rows:
            if row.recipe:
                assert (row.claim is None) == ("vamp" in row.variant), "the paper prints numbers of all but the learned priors"
                assert row.variant in get_args(get_type_hints(RECIPES[row.recipe])["variant"])


def test_budgets_know_what_a_variant_costs() -> None:
    table = TABLES["mem_vae/table1"]
    vae, five, fifty = (table.budget("mem_vae/mnist", "short", variant) for variant in ("vae", "iwae_5", "iwae_50"))
    assert (vae.seeds, five.seeds) == (3, 1) and vae.hours < five.hours < fifty.hours
    assert vae.steps == five.steps == 100 * 600 and (vae.num_samples, vae.importance_samples) == (1000, 5000)
    letters = table.budget("mem_vae/ocr_letters", "paper", "vae")
    assert (letters.steps, letters.num_samples, letters.importance_samples) == (963_000, 10_000, 100_000)
    spent = vae.spent_on(RECIPES["mem_vae/mnist"](variant="vae"), seed=2)
    assert spent.scoring.model.importance_samples == 5000 and spent.scoring.num_samples == 1000 and spent.training.seed == 2
    quick = table.budget("mem_vae/mnist", "smoke").spent_on(RECIPES["mem_vae/mnist"](), seed=0)
    assert quick.scoring.model.importance_samples == 20
