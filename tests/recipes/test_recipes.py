"""Every recipe and variant: complete, re-runnable, with the paper's number beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest
import yaml

from memogen import configs
from memogen.data import DATASETS
from memogen.memory import Policy
from memogen.recipes import RECIPES, read_recipe, shaped
from memogen.recipes.memory_gan import VARIANTS
from memogen.types import InputError

GANS = [name for name in RECIPES if name.startswith("memory_gan/")]
ROWS = [(name, variant) for name, function in RECIPES.items() for variant in get_args(get_type_hints(function)["variant"])]


@pytest.mark.parametrize(("name", "variant"), ROWS)
def test_recipes_survive_yaml(name: str, variant: str) -> None:
    recipe = RECIPES[name](variant=variant)
    assert (recipe.recipe, recipe.variant) == (name, variant)
    assert recipe.data.name in DATASETS
    text = yaml.safe_dump(configs.to_dict(recipe))
    assert read_recipe(yaml.safe_load(text)) == recipe


def test_a_recipe_of_no_family_is_refused() -> None:
    mapping = configs.to_dict(RECIPES["memory_gan/digits"]())
    with pytest.raises(InputError, match=r"^recipe: 'memory_gam' .* did you mean 'memory_gan'"):
        read_recipe({**mapping, "recipe": "memory_gam/digits"})
    with pytest.raises(InputError, match=r"^recipe: missing"):
        read_recipe({name: value for name, value in mapping.items() if name != "recipe"})
    with pytest.raises(InputError, match="not a mapping"):
        read_recipe([1])


def test_shaped_changes_the_shape_alone() -> None:
    recipe = RECIPES["memory_gan/digits"]()
    other = shaped(recipe, (3, 16, 16))
    assert other.model.image_shape == (3, 16, 16)
    assert shaped(other, recipe.model.image_shape) == recipe


def test_variants_are_the_rows_of_table_2() -> None:
    rows = {variant: RECIPES["memory_gan/fashion_mnist"](variant=variant) for variant in VARIANTS}
    full = rows["memory_gan"].model
    assert rows["no_memory"].model.memory is None
    assert rows["no_em"].model == replace(full, memory=replace(full.memory, policy=replace(Policy.preset("robust"), rule="kaiser")))
    assert rows["no_mcgn"].model == replace(full, condition="none", noise=replace(full.noise, dim=32))
    assert rows["as_printed"].model == replace(full, head="printed", condition="key", noise=replace(full.noise, dim=2))
    assert rows["no_memory_as_printed"].model == replace(rows["as_printed"].model, memory=None, noise=replace(full.noise, dim=32))
    assert RECIPES["memory_gan/cifar10"](variant="no_memory").model.norm == RECIPES["memory_gan/cifar10"]().model.norm, "the same networks"
    contrasted = {variant for variant, row in rows.items() if row.objective.contrast.weight}
    assert contrasted == {"memory_gan", "no_em", "no_mcgn", "no_memory_contrast"}
    printed = {variant: row.claims[0].value for variant, row in rows.items() if row.claims}
    whole = dict.fromkeys(("memory_gan", "as_printed", "paper", "code"), 6.39)
    assert printed == {**whole, "no_em": 6.05, "no_mcgn": 6.02, "no_memory": 5.82, "no_memory_as_printed": 5.82}


@pytest.mark.parametrize("name", GANS)
@pytest.mark.parametrize("variant", ["no_memory", "no_memory_contrast"])
def test_arms_without_memory_are_as_large(name: str, variant: str) -> None:
    if variant not in get_args(get_type_hints(RECIPES[name])["variant"]):
        pytest.skip("another list of variants")
    one, full = RECIPES[name](variant=variant), RECIPES[name]()
    for build in ("build_generator", "build_critic"):
        sizes = [sum(parameter.numel() for parameter in getattr(recipe.model, build)().parameters()) for recipe in (one, full)]
        assert abs(sizes[0] / sizes[1] - 1) < 0.03, (build, sizes)
    assert replace(one.training, seed=0) == full.training and one.data == full.data


def test_table_3() -> None:
    """Noise, key dimension, slots, top-k and lambda as printed."""

    def settings(name: str) -> tuple[object, ...]:
        recipe = RECIPES[f"memory_gan/{name}"](variant="as_printed")
        memory = recipe.model.memory
        return recipe.model.image_shape, recipe.model.noise.dim, memory.key_dim, memory.num_slots, memory.top_k, recipe.objective.information

    assert settings("affine_mnist") == ((1, 40, 40), 2, 256, 4096, 128, 0.01)
    assert settings("fashion_mnist") == ((1, 28, 28), 2, 256, 4096, 128, 0.01)
    assert settings("cifar10") == ((3, 32, 32), 16, 512, 16384, 256, 2e-6)
    printed = RECIPES["memory_gan/cifar10"](variant="as_printed").model
    assert (printed.norm, printed.head, printed.condition) == ("layer", "printed", "key")
    assert settings("chairs") == settings("celeba") == ((3, 64, 64), 16, 512, 16384, 256, 2e-6)


@pytest.mark.parametrize("name", [name for name, variant in ROWS if name in GANS and variant == "paper"])
def test_the_literal_readings(name: str) -> None:
    paper, code, printed = (RECIPES[name](variant=variant) for variant in ("paper", "code", "as_printed"))
    for reading in (paper, code):
        assert reading.model.memory.concentration == 1
        assert (reading.model.head, reading.model.condition, reading.objective.contrast.weight) == ("printed", "key", 0)
        assert reading.objective.adversarial == "saturating"
        assert replace(reading.model.memory, concentration=20.0, policy="robust") == printed.model.memory, "the printed sizes"
    assert (paper.model.memory.policy, code.model.memory.policy) == ("paper", "code")
    assert (paper.model.noise.law, code.model.noise.law) == ("normal", "uniform")
    assert (paper.objective.information_form, code.objective.information_form) == ("cosine", "squared")
    assert (paper.objective.write_in_generator_step, code.objective.write_in_generator_step) == (False, True)
    grey = code.model.network != "resnet"
    assert [reading.model.query_norm for reading in (paper, code, printed)] == [False, grey, False]
    views = code.objective.augmentation
    assert (views is not None) == name.startswith("memory_gan/cifar10")
    assert views is None or (views.offset, views.contrast, views.moves, code.objective.augment_fake) == (16 / 255, 0.2, False, False)
    assert paper.objective.augmentation is printed.objective.augmentation is None
    lambdas = {reading.objective.information for reading in (paper, code)}
    assert lambdas == ({2e-6, 1e-6} if name == "memory_gan/cifar10" else {printed.objective.information})
