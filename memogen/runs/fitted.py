"""The ``folder`` recipes fitted to a user's own pictures before any option is set: size, memory and augmentation by what lies in the folder.

Every option that is set by name stands; a configuration file and a finished :class:`~memogen.recipes.Recipe` are never fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..augment import FEW
from ..data import DataOptions
from ..data.own import picture_sizes
from ..models import MemoryGANConfig, MemoryGANObjective
from ..recipes import Recipe
from ..training.runtime import choose_device
from .recipe import with_data

SMALL_SIDE, LARGE_SIDE = 32, 64  # on a CPU a step of 64 x 64 takes four times as long as one of 32 x 32
FEW_PICTURES = 5000  # Zhao et al. 2020 and Karras et al. 2020 gain most below so many; above, a critic has enough to look at
HELD_OUT, ENOUGH = 0.1, 100  # of so many pictures a tenth can be spared: ten images, the fewest that tell anything
OF_A_SLOT = 4  # pictures for each slot: with one each, a slot would be a copy and no cluster
FEWEST_SLOTS = 32


def fitted(recipe: Recipe, place: str | Path | None) -> Recipe:
    """A recipe for a user's own pictures, fitted to those at ``place``; any other, or one without pictures there, as it is. Raises InputError."""
    if place is None or recipe.data.name != "folder" or not Path(place).expanduser().exists():
        return recipe
    recipe = with_data(recipe, place)
    if recipe.data.name != "folder" or recipe.data.folder is None:
        return recipe
    sizes, known = picture_sizes(Path(recipe.data.folder))
    if not sizes:
        return recipe
    device = choose_device(recipe.training.device).type
    options = _shaped(recipe.data.options, sizes, SMALL_SIDE if device == "cpu" else LARGE_SIDE)
    if known == ("train",) and len(sizes) >= ENOUGH and recipe.succession is None:
        options = replace(options, test_share=HELD_OUT)
    recipe = replace(recipe, data=replace(recipe.data, options=options))
    return _by_number(recipe, len(sizes))


def _shaped(options: DataOptions, sizes: Sequence[tuple[int, int]], side: int) -> DataOptions:
    """Pictures of one small size stay as they are; others become squares, without stretching."""
    if len(set(sizes)) == 1 and max(sizes[0]) <= LARGE_SIDE:
        return options
    return replace(options, size=side, fit="crop")


def _by_number(recipe: Recipe, number: int) -> Recipe:
    """A memoryGAN's memory and augmentation by the number of pictures; other families as they are."""
    model, objective = recipe.model, recipe.objective
    if not isinstance(model, MemoryGANConfig) or not isinstance(objective, MemoryGANObjective):
        return recipe
    if model.memory is not None:
        slots = min(model.memory.num_slots, max(FEWEST_SLOTS, 1 << (number // OF_A_SLOT).bit_length()))
        model = replace(model, memory=replace(model.memory, num_slots=slots, top_k=min(model.memory.top_k, slots)))
    if number < FEW_PICTURES and recipe.variant not in ("paper", "code", "as_printed", "no_memory_as_printed"):
        objective = replace(objective, augmentation=FEW)
    return replace(recipe, model=model, objective=objective)


def announcement(recipe: Recipe, number: int) -> str:
    """What a training of ``number`` pictures of the user's own is about to do, in one line with the options that change it; empty for other data."""
    if recipe.data.name != "folder":
        return ""
    options = recipe.data.options
    parts = [f"{number:,} pictures"]
    if options.target and options.fit != "error":
        how = "the middle cut out" if options.fit == "crop" else "stretched"
        parts.append(f"each {options.target[1]} x {options.target[0]}, {how} (--data.options.size and .fit)")
    if options.test_share:
        parts.append(f"{options.test_share:.0%} of the folder held out to judge by (--data.options.test_share)")
    if isinstance(recipe.model, MemoryGANConfig) and recipe.model.memory is not None:
        parts.append(f"{recipe.model.memory.num_slots:,} slots (--model.memory.num_slots)")
    if isinstance(recipe.objective, MemoryGANObjective) and recipe.objective.augmentation is not None:
        parts.append("the critic sees augmented views (--objective.augmentation null leaves it out)")
    return f"trains on {'; '.join([*parts, f'{recipe.training.steps:,} steps (--steps)'])}"
