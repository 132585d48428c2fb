"""What the benchmarks of speed measure is what they say: works train and write, arms are alike, peers compute the same, floors are of real layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.speed import memory, scoring
from benchmarks.speed.step import operations, operators, training_step
from benchmarks.speed.timing import Setting, Work, products_of
from benchmarks.speed.vae import products, pythae_step
from memogen.metrics import copy_check
from memogen.recipes import RECIPES, Recipe
from tests.models.mem_vae import SMALL

SETTING = Setting(device="cpu", quick=True)
RUNTIME = SETTING.runtime()
MEMORY = RECIPES["mem_vae/digits"](variant="mem_vae")


def built(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, **given: int) -> tuple[list[nn.Module], Work]:
    """The models that a step has built, its own first, and the step."""
    made: list[nn.Module] = []
    build = type(recipe.model).build

    def kept(config: object) -> nn.Module:
        made.append(build(config))
        return made[-1]

    with monkeypatch.context() as patched:
        patched.setattr(type(recipe.model), "build", kept)
        return made, training_step(recipe, RUNTIME, 12, **given)


STEPS = (
    ("memory_gan/digits", "memory_gan", 0),
    ("mem_vae/digits", "mem_vae", 0),
    ("replay_gan/digits", "joint_training", 0),
    ("replay_gan/digits", "joint_replay", 6),
)


@pytest.mark.parametrize(("name", "variant", "classes"), STEPS)
def test_a_step_trains_all_of_a_model(name: str, variant: str, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, step = built(RECIPES[name](variant=variant), monkeypatch, classes=classes)
    before = {name: value.detach().clone() for name, value in made[0].named_parameters()}
    step(), step()
    moved = [not torch.equal(before[name], value) for name, value in made[0].named_parameters()]
    assert sum(moved) > 0.9 * len(moved)


def test_a_step_writes_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made, step = built(RECIPES["memory_gan/digits"](), monkeypatch)
    keys = made[0].memory.keys
    before = keys.clone()
    step()
    assert not torch.equal(before, keys)


def test_the_critics_part_writes() -> None:
    slots = memory.lived_in(64, 8, SETTING)
    before = slots.keys.clone()
    memory.critic_part(slots)()
    assert not torch.equal(before, slots.keys)
    torch.testing.assert_close(slots.keys.norm(dim=1), torch.ones(64))


def test_the_codebook_s_gradient_is_straight_through_with_commitment() -> None:
    """Of what is passed on it is 1; of a quarter of the mean square it is half the distance over the number of entries."""
    gradient = memory.codebook_part(32, 8, torch.device("cpu"))()
    assert gradient.shape == (2 * memory.BATCH, 8) and not torch.equal(gradient, torch.ones_like(gradient))
    torch.testing.assert_close(gradient, torch.ones_like(gradient), atol=0.01, rtol=0)


def test_operations_are_those_of_the_products() -> None:
    a, b = torch.randn(5, 7), torch.randn(7, 3)
    assert operations(lambda: a @ b) == 2 * 5 * 7 * 3
    assert operators(lambda: (a @ b).relu()) == 2
    assert products_of(64**3, SETTING, torch.device("cpu")).scale == 0.5


def test_the_floor_of_a_vae_has_a_product_for_every_matrix() -> None:
    """The products forward are those of the model's own matrices; backward, two for each, but for the first layer's input."""
    recipe = replace(MEMORY, model=SMALL, objective=replace(MEMORY.objective, num_samples=3))
    results = products(recipe, RUNTIME, 7).work()
    count = len(results) // 3 + 1
    matrices = {name: p for name, p in SMALL.build().named_parameters() if p.ndim == 2 and not name.endswith(("memory.linear", "memory.gate"))}
    assert len(results) == 3 * count - 1 and count == len(matrices)
    assert sorted(sorted(grad.shape) for grad in results[count : 2 * count]) == sorted(sorted(p.shape) for p in matrices.values())
    assert {len(out) for out in results[:count]} == {7, 21}


@pytest.mark.parametrize("samples", [1, 3])
def test_pythaes_arm_has_the_same_layers_and_falls(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many numbers as ours without memory: batch norm takes a gain and a shift in both."""
    pytest.importorskip("pythae")
    plain = RECIPES["mem_vae/digits"](variant="vae").model
    counted: list[int] = []
    adam = torch.optim.Adam

    def counting(parameters: object, **options: object) -> torch.optim.Adam:
        given = list(parameters)
        counted.append(sum(p.numel() for p in given))
        return adam(given, **options)

    monkeypatch.setattr(torch.optim, "Adam", counting)
    step = pythae_step(plain, samples, RUNTIME, 16)
    assert counted == [sum(p.numel() for p in plain.build().parameters())]
    losses = [step() for _ in range(60)]
    assert losses[-1] < losses[0]


def test_both_arms_of_the_scores_agree() -> None:
    pytest.importorskip("torchmetrics")
    given = scoring.features(1100, 8, seed=0), scoring.features(1000, 8, seed=1), scoring.features(1100, 10, seed=2)
    own, other = scoring.ours(*given, 5), scoring.theirs(*given, 5)
    assert own[0] == pytest.approx(other[0], rel=0.02)  # the splits are drawn in another order
    assert own[1] == pytest.approx(other[1], rel=1e-3)
    assert own[2] == pytest.approx(other[2], abs=1e-3)  # and so are the subsets


def test_both_arms_find_the_same_nearest_images() -> None:
    samples, held_out, training = (scoring.pictures(num, (1, 6, 6), seed=seed) for seed, num in enumerate((10, 12, 30)))
    found = copy_check(torch.from_numpy(samples.image), held_out, training)
    query = torch.from_numpy(np.concatenate([samples.image, held_out.image]))
    nearest = scoring.plain_nearest(query, training.image, chunk=7)
    torch.testing.assert_close(nearest, torch.cat([found.samples, found.held_out]).float(), atol=1e-5, rtol=1e-5)
