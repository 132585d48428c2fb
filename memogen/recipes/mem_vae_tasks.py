"""A MEM-VAE on two classes a task, five tasks, without labels: an experiment of ours, which joins Li et al. 2016 and Shin et al. 2017."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..data.task_sequence import TaskConfig
from ..models.mem_vae import MemVAEConfig, MemVAEObjective
from ..training import SuccessionConfig
from ..types import InputError
from . import mem_vae
from .recipe import DataConfig, Recipe, ScoringConfig

Variant = Literal["sample_replay", "fine_tuning", "joint_training"]
VARIANTS: dict[Variant, str] = {
    "sample_replay": "a frozen copy of the decoder replays samples of the prior",
    "fine_tuning": "nothing is replayed",
    "joint_training": "all tasks at once: what the others are measured by",
}


def digits_stream(variant: Variant = "sample_replay") -> Recipe:
    """Two of the embedded 8x8 digits a task, with the networks of ``mem_vae/digits``."""
    return _stream(mem_vae.digits(), variant)


def mnist_stream(variant: Variant = "sample_replay") -> Recipe:
    """Two digits of MNIST a task, with layers of half the width."""
    return _stream(_half(mem_vae.mnist()), variant)


def fashion_mnist_stream(variant: Variant = "sample_replay") -> Recipe:
    """Two articles of Fashion-MNIST a task, with layers of half the width; grey pixels are made black or white by chance, as those of MNIST are."""
    recipe = _half(mem_vae.mnist())
    return _stream(replace(recipe, recipe="mem_vae/fashion_mnist", data=DataConfig("fashion-mnist")), variant)


def _half(recipe: Recipe) -> Recipe:
    assert isinstance(recipe.model, MemVAEConfig)
    return replace(recipe, model=replace(recipe.model, hidden=(250, 250)))


def _stream(recipe: Recipe, variant: Variant) -> Recipe:
    """Two classes a task, 250 steps each, in batches as large as those of the other families."""
    if variant not in VARIANTS:
        raise InputError(f"variant: {variant!r} is unknown: choose {', '.join(VARIANTS)}")
    assert isinstance(recipe.objective, MemVAEObjective)
    return replace(
        recipe,
        recipe=f"{recipe.recipe}_stream",
        variant=variant,
        objective=replace(recipe.objective, replay=variant == "sample_replay"),
        training=replace(recipe.training, steps=250, batch_size=64, checkpoint_every=125, sample_every=125, log_every=25, keep=1),
        scoring=ScoringConfig(recipe.data.name, ("continual",), num_samples=2000, likelihood_every=0),
        claims=(),
        succession=SuccessionConfig(TaskConfig(classes_per_task=2, joint=variant == "joint_training"), teacher="averaged"),
    )


RECIPES = (digits_stream, mnist_stream, fashion_mnist_stream)
