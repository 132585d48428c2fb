"""A user's own pictures: what is fitted to them, what stands, and what is never fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.models import MemoryGANConfig, MemoryGANObjective
from memogen.recipes import RECIPES
from memogen.runs import choose


def pictures(folder: Path, number: int, sizes: tuple[tuple[int, int], ...] = ((20, 20),)) -> Path:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for index in range(number):
        width, height = sizes[index % len(sizes)]
        Image.fromarray(pixels[:height, :width]).save(folder / f"{index}.png", compress_level=0)
    return folder


@pytest.mark.parametrize(("number", "slots"), [(8, 32), (120, 32), (300, 128)])
def test_a_slot_for_about_four_pictures(number: int, slots: int, tmp_path: Path) -> None:
    model = choose("memory_gan/folder", data=pictures(tmp_path / "own", number)).model
    assert isinstance(model, MemoryGANConfig) and model.memory is not None
    assert model.memory.num_slots == slots >= model.memory.top_k


@pytest.mark.parametrize(("number", "share"), [(99, 0.0), (100, 0.1)])
def test_a_tenth_is_held_out_where_it_can_be_spared(number: int, share: float, tmp_path: Path) -> None:
    assert choose("memory_gan/folder", data=pictures(tmp_path / "own", number)).data.options.test_share == share


def test_a_split_of_the_users_own_stands(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for split in ("train", "test"):
        pictures(tmp_path / "own" / split, 120)
    assert choose("memory_gan/folder", data=tmp_path / "own").data.options.test_share == 0


@pytest.mark.parametrize(
    ("sizes", "size"), [(((20, 24),), None), (((64, 64),), None), (((20, 24), (20, 20)), 32), (((60, 30), (30, 60)), 32)]
)  # the side of what is trained on; None: as they are
def test_one_small_size_stays_and_others_become_squares(sizes: tuple[tuple[int, int], ...], size: int | None, tmp_path: Path) -> None:
    options = choose("mem_vae/folder", data=pictures(tmp_path / "own", 6, sizes), options={"training.device": "cpu"}).data.options
    assert options.size == size and (size is None or options.fit == "crop")


def test_what_is_asked_for_stands(tmp_path: Path) -> None:
    asked = {
        "data.options.size": 16,
        "data.options.test_share": 0.25,
        "model.memory.num_slots": 40,
        "model.memory.top_k": 7,
        "objective.augmentation": None,
    }
    recipe = choose("memory_gan/folder", options=asked, data=pictures(tmp_path / "own", 120, ((20, 24), (20, 20))))
    assert isinstance(recipe.model, MemoryGANConfig) and recipe.model.memory is not None and isinstance(recipe.objective, MemoryGANObjective)
    assert (recipe.data.options.size, recipe.data.options.test_share) == (16, 0.25)
    assert (recipe.model.memory.num_slots, recipe.model.memory.top_k, recipe.objective.augmentation) == (40, 7, None)


def test_few_pictures_are_judged_by_views_of_them_except_where_the_paper_is_asked_for(tmp_path: Path) -> None:
    place = pictures(tmp_path / "own", 10)
    ours = choose("memory_gan/folder", data=place).objective
    assert isinstance(ours, MemoryGANObjective) and ours.augmentation is not None
    for variant in ("as_printed", "no_memory_as_printed"):
        printed = choose("memory_gan/folder", variant, data=place).objective
        assert isinstance(printed, MemoryGANObjective) and printed.augmentation is None


def test_a_finished_recipe_other_data_and_a_place_that_is_not_there_are_never_fitted(tmp_path: Path) -> None:
    place, finished = pictures(tmp_path / "own", 120), RECIPES["memory_gan/folder"]()
    there, nowhere = (replace(finished, data=replace(finished.data, folder=str(each.resolve()))) for each in (place, tmp_path / "none"))
    assert choose(finished, data=place) == there
    other = choose("memory_gan/digits", data=place)
    assert (other.data, other.model) == (replace(there.data, options=other.data.options), RECIPES["memory_gan/digits"]().model)
    assert other.data.options == RECIPES["memory_gan/digits"]().data.options
    assert choose("memory_gan/folder", data=tmp_path / "none") == nowhere
