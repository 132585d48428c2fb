"""A memoryGAN that learns a sequence of tasks without labels: an experiment of ours, which joins Kim et al. 2018 and Wu et al. 2018."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..data.task_sequence import TaskConfig
from ..models import MemoryGANConfig, MemoryGANObjective
from ..training import SuccessionConfig
from ..types import InputError
from . import memory_gan
from .recipe import Recipe, ScoringConfig
from .table import Budget, Table, TableRow

Variant = Literal["slot_replay", "slot_replay_tenth", "sparse_writing", "fine_tuning", "plain_replay"]

KEPT_SLOTS = 51  # a fifth of the real slots, for five tasks

VARIANTS: dict[Variant, str] = {
    "slot_replay": "a frozen copy replays the slots of its memory",
    "slot_replay_tenth": "the same with a tenth of the replayed images",
    "sparse_writing": "nothing is replayed; each task's slots own rows of a frozen generator",
    "fine_tuning": "nothing is replayed",
    "plain_replay": "a plain GAN of equal size; a frozen copy replays",
}


def digits_stream(variant: Variant = "slot_replay") -> Recipe:
    """Two of the embedded digits a task, five tasks, with the networks of ``memory_gan/digits``. The averaged generator teaches."""
    if variant not in VARIANTS:
        raise InputError(f"variant: {variant!r} is unknown: choose {', '.join(VARIANTS)}")
    recipe = memory_gan.digits("no_memory" if variant.startswith("plain") else "memory_gan")
    assert isinstance(recipe.objective, MemoryGANObjective) and isinstance(recipe.model, MemoryGANConfig)
    sparse, share = variant == "sparse_writing", 0.1 if variant.endswith("tenth") else 1.0
    return replace(
        recipe,
        recipe="memory_gan/digits_stream",
        variant=variant,
        model=replace(recipe.model, slot_rows=sparse),
        objective=replace(recipe.objective, replay="replay" in variant, replay_share=share, kept_slots=KEPT_SLOTS * sparse),
        training=replace(recipe.training, steps=1000, checkpoint_every=500),
        scoring=ScoringConfig("digits", ("is", "fid"), num_samples=2000, likelihood_every=0),
        succession=SuccessionConfig(TaskConfig(classes_per_task=2), teacher="averaged"),
    )


def tasks_table() -> Table:
    """What a memory keeps of tasks without labels. Nobody printed it."""
    short = Budget(1000, 2000, 0.03, seeds=3)
    smoke = replace(short, steps=2, num_samples=200, hours=0.01, seeds=1, curves=False)
    rows = tuple(TableRow("memory_gan/digits_stream", variant, None) for variant in VARIANTS)
    note = (
        "Iterations are those of all five tasks together. The distance is to the test images of all ten digits, the divergence that of the samples' "
        "classes from the uniform distribution, in nats; recalled and recognised slots are those of held-out images of earlier tasks."
    )
    budgets = {"memory_gan/digits_stream": {"smoke": smoke, "short": short, "paper": replace(short, steps=5000, num_samples=10_000, hours=None)}}
    return Table("memory_gan/stream", "Ten digits in five tasks without labels", rows, budgets, note)


RECIPES = (digits_stream,)
