"""Recipes of Memory Replay GANs: the methods, what the paper and its code differ in, and the printed numbers."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest

from memogen.models import ReplayGANObjective
from memogen.models.replay_gan import ConsolidationConfig
from memogen.recipes import RECIPES
from memogen.recipes.replay_gan import READINGS, ROWS, TABLE_1, TABLE_2, VARIANTS
from memogen.recipes.tables import TABLES, claim_of
from memogen.runs.reproduce import plan
from memogen.types import InputError


def made(name: str = "mnist", **options: Any) -> Any:
    return RECIPES[f"replay_gan/{name}"](**options)


def test_variants_are_the_methods() -> None:
    kept = {variant: made(variant=variant).objective for variant in VARIANTS}
    for variant, objective in kept.items():
        variant = READINGS[variant][0]
        assert (objective.joint is not None) == variant.startswith("joint_replay")
        assert (objective.alignment is not None) == (variant in ("replay_alignment", "joint_replay_alignment"))
        assert (objective.consolidation is not None) == (variant == "ewc")
        assert (objective.generative_replay is not None) == (variant == "dgr")
    assert made(variant="dgr").model.conditioning == "none"
    joint = made(variant="joint_training")
    assert joint.succession.tasks.joint and joint.model.statistics == "batch"
    assert made(variant="joint_training_half").succession.tasks.tasks(10) == ((0, 1, 2, 3, 4),)
    with pytest.raises((InputError, TypeError)):
        made(variant="nothing")


def test_settings_of_the_paper_and_of_the_authors_code() -> None:
    """Section 4 of the paper: lambdas; train.sh: the way replays are drawn and weigh; everything else from the code."""
    digits, numbers, scenes = (made(name, variant="joint_replay_alignment") for name in ("mnist", "svhn", "lsun"))
    for printed in (_printed, lambda name: made(name, variant="replay_alignment_code")):
        assert [printed(name).objective.alignment.weight for name in ("mnist", "svhn", "lsun")] == [1e-3, 1e-2, 1e-3]
    assert [recipe.objective.alignment.weight for recipe in (digits, numbers, scenes)] == [1e-2, 1e-2, 1e-3]
    assert [recipe.objective.alignment.norm for recipe in (digits, numbers, scenes)] == ["split", "split", "full"]
    assert [recipe.objective.replay.images for recipe in (digits, numbers, scenes)] == ["split", "split", "full"]
    assert [recipe.objective.joint.weights for recipe in (digits, numbers, scenes)] == ["sum", "sum", "mean"]
    assert (scenes.model.network, scenes.model.conditioning, scenes.model.width) == ("resnet", "concat", 64)
    assert ConsolidationConfig().weight == 1e9
    for recipe, rate in zip((digits, numbers, scenes), (1e-3, 1e-3, 1e-4), strict=True):
        adam = recipe.objective.generator
        assert (adam.learning_rate, adam.betas, adam.eps, adam.eps_form) == (rate, (0.0, 0.9), 1e-8, "uncorrected")
        assert (recipe.objective.game.steps, recipe.objective.game.penalty, recipe.objective.game.class_weight) == (5, 10, 1)
        assert (recipe.model.noise_dim, recipe.model.num_classes, recipe.training.batch_size) == (128, 10, 64)
        assert not recipe.succession.keep_optimisers and not recipe.succession.fresh_critic
    assert digits.succession.tasks.left_out == 5000


def test_the_printed_learning_rate_belongs_to_the_printed_iterations() -> None:
    """1e-4 where the paper's text, its code or its 4,000 iterations a task are asked for; ten times as much for the 250 of a CPU."""
    budgets = TABLES["replay_gan/table1"].budgets["replay_gan/mnist"]
    for variant in ("replay_alignment", "joint_replay", "dgr"):
        short = made(variant=variant)
        rates = [_rates(recipe.objective) for recipe in (short, *(budgets[name].spent_on(short, seed=0) for name in ("short", "paper")))]
        assert rates == [{1e-3}, {1e-3}, {1e-4}]
    literal = [variant for variant, (_, reading) in READINGS.items() if reading != "robust"]
    assert [_rates(made(variant=variant).objective) for variant in literal] == [{1e-4}] * 4
    assert _rates(made("lsun").objective) == {1e-4}


def _printed(name: str) -> Any:
    """The recipe with alignment at the paper's budget."""
    table = TABLES["replay_gan/table2" if name == "lsun" else "replay_gan/table1"]
    return table.budgets[f"replay_gan/{name}"]["paper"].spent_on(made(name, variant="replay_alignment"), seed=0)


def _rates(objective: ReplayGANObjective) -> set[float]:
    replayed = objective.generative_replay
    optimisers = [objective.critic, objective.generator, *([replayed.solver] if replayed is not None else [])]
    return {adam.learning_rate for adam in optimisers}


def test_the_literal_readings_of_the_paper_s_own_methods() -> None:
    """The one rule of their names, and where paper and code differ; each is its row in every other point, printed numbers included."""
    assert set(VARIANTS) - set(ROWS) == {f"{row}_{reading}" for row in ("joint_replay", "replay_alignment") for reading in ("paper", "code")}
    assert set(VARIANTS) == set(get_args(get_type_hints(RECIPES["replay_gan/mnist"])["variant"]))
    robust, paper, code = (made("lsun", variant=f"joint_replay{reading}") for reading in ("", "_paper", "_code"))
    assert (robust.objective.game.class_term, paper.objective.game.class_term, code.objective.game.class_term) == ("several", "several", "always")
    assert (paper.model.conditioning, code.model.conditioning) == ("norm", "concat")
    assert paper.objective.joint.penalty and paper.objective.joint.bank and not code.objective.joint.penalty and not code.objective.joint.bank
    assert (paper.objective.joint.weights, code.objective.joint.weights, robust.objective.joint.weights) == ("uniform", "mean", "mean")
    norms = {variant: made("lsun", variant=variant).objective.alignment.norm for variant in VARIANTS if variant.startswith("replay_alignment")}
    assert norms == {"replay_alignment": "full", "replay_alignment_paper": "mean", "replay_alignment_code": "full"}
    assert (paper.training.ema_decay, code.training.ema_decay, robust.training.ema_decay) == (0, 0, 0.999)
    assert (paper.scoring.statistics, code.scoring.statistics, robust.scoring.statistics) == ("stored", "batch", "stored")
    assert paper.claims == code.claims == robust.claims != ()
    mnist = made(variant="joint_replay_paper")
    assert (mnist.model.framing, mnist.succession.tasks.left_out) == ("resize", 0)


def test_table_1_is_the_printed_one() -> None:
    found = {(row.recipe, row.variant, row.claim.metric): row.claim.value for row in TABLES["replay_gan/table1"].rows if row.claim}
    assert len(found) == 24
    assert found["replay_gan/mnist", "joint_training_half", "accuracy 5"] == 0.9766
    assert found["replay_gan/mnist", "joint_training", "accuracy 10"] == 0.9692
    assert found["replay_gan/mnist", "replay_alignment", "accuracy 10"] == 0.9701
    assert found["replay_gan/mnist", "ewc", "accuracy 5"] == 0.7062
    assert found["replay_gan/svhn", "joint_replay", "accuracy 5"] == 0.809
    assert found["replay_gan/svhn", "dgr", "accuracy 10"] == 0.4728
    assert {len(numbers) for rows in TABLE_1.values() for numbers in rows.values()} == {6}


def test_table_2_is_the_printed_one() -> None:
    for variant, (accuracy, reverse, fid) in TABLE_2.items():
        claims = [claim_of("replay_gan/lsun", variant, metric) for metric in ("accuracy 4", "reverse_accuracy", "fid")]
        assert [claim.value for claim in claims if claim] == pytest.approx([accuracy / 100, reverse / 100, fid])
    assert claim_of("replay_gan/lsun", "replay_alignment", "fid").value == 37.73


def test_a_table_is_planned_with_each_run_once() -> None:
    planned = plan("replay_gan/table1/mnist")
    titles = [job.title for job in planned.jobs]
    assert len(titles) == len(set(titles))
    seeds = {variant: sum(f" {variant}," in title for title in titles) for variant in ROWS}
    assert sum(seeds.values()) == len(titles)
    assert seeds == {**dict.fromkeys(ROWS, 1), "joint_replay": 3, "replay_alignment": 3}
    assert {job.recipe.training.steps for job in planned.jobs} == {250}
    assert {job.recipe.training.steps for job in plan("replay_gan/table1/mnist", budget="paper").jobs} == {4000}
    assert plan("replay_gan/table2").jobs == (), "no classifier of LSUN ships"
    assert "no classifier of lsun" in plan("replay_gan/table2").left_out[0]
