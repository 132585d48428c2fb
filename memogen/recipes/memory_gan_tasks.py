"""A memoryGAN on two classes a task without labels: an experiment of this library, which joins Kim et al. 2018 and Wu et al. 2018."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..augment import AugmentConfig
from ..data.task_sequence import TaskConfig
from ..models import MemoryGANConfig, MemoryGANObjective
from ..training import SuccessionConfig
from . import memory_gan
from .recipe import DataConfig, Recipe, ScoringConfig, check_variant

Variant = Literal["slot_replay", "slot_replay_tenth", "sparse_writing", "fine_tuning", "plain_replay", "joint_training"]

VARIANTS: dict[Variant, str] = {
    "slot_replay": "a frozen copy replays the slots of its memory",
    "slot_replay_tenth": "the same with a tenth of the replayed images",
    "sparse_writing": "nothing is replayed; each task's slots own rows of a frozen generator",
    "fine_tuning": "nothing is replayed",
    "plain_replay": "a plain GAN of equal size; a frozen copy replays",
    "joint_training": "all tasks at once: what the others are measured by",
}

NARROW_RATE = 5e-4
"""Learning rate of networks of a quarter of the width in a task of 1,250 steps, for both arms (docs/results/continual.md, "Learning rate")."""


def digits_stream(variant: Variant = "slot_replay") -> Recipe:
    """Two of the embedded digits a task, five tasks, with the networks of ``memory_gan/digits``. The averaged generator teaches."""
    recipe = memory_gan.digits(_networks(variant))
    return _stream(replace(recipe, training=replace(recipe.training, steps=1000, checkpoint_every=500)), variant, "digits", "is", "fid")


def mnist_stream(variant: Variant = "slot_replay") -> Recipe:
    """Two digits of MNIST a task, five tasks, with the networks of ``memory_gan/fashion_mnist_small`` at a quarter of the width, for a CPU."""
    recipe = _narrow(variant)
    assert isinstance(recipe.objective, MemoryGANObjective)
    objective = replace(recipe.objective, contrast=replace(recipe.objective.contrast, augment=AugmentConfig()))
    return _stream(replace(recipe, recipe="memory_gan/mnist", data=DataConfig("mnist"), objective=objective), variant, "mnist", "continual")


def fashion_mnist_stream(variant: Variant = "slot_replay") -> Recipe:
    """Two articles of Fashion-MNIST a task, five tasks, with the networks of ``mnist_stream``."""
    return _stream(replace(_narrow(variant), recipe="memory_gan/fashion_mnist"), variant, "fashion-mnist", "continual")


def cifar10_stream(variant: Variant = "slot_replay") -> Recipe:
    """Two classes of CIFAR-10 a task, five tasks, with the networks of ``memory_gan/cifar10_small``. Unverified: it has not been run."""
    recipe = _quick(memory_gan.cifar10_small(_networks(variant)))
    return _stream(replace(recipe, recipe="memory_gan/cifar10"), variant, "cifar10", "continual")


def _narrow(variant: Variant) -> Recipe:
    """Networks of a quarter of the width, at a learning rate at which they learn two classes within a task (docs/results/continual.md)."""
    recipe = _quick(memory_gan.fashion_mnist_small())
    assert isinstance(recipe.model, MemoryGANConfig) and isinstance(recipe.objective, MemoryGANObjective)
    critic, generator = (replace(adam, learning_rate=NARROW_RATE) for adam in (recipe.objective.critic, recipe.objective.generator))
    recipe = replace(recipe, model=replace(recipe.model, width=8), objective=replace(recipe.objective, critic=critic, generator=generator))
    return memory_gan.apply_variant(recipe, _networks(variant))


def _networks(variant: Variant) -> memory_gan.Variant:
    return "no_memory" if variant.startswith("plain") else "memory_gan"


def _quick(recipe: Recipe) -> Recipe:
    """250 steps a task."""
    return replace(recipe, training=replace(recipe.training, steps=250, checkpoint_every=125, sample_every=125, keep=1))


def _stream(recipe: Recipe, variant: Variant, extractor: str, *metrics: str) -> Recipe:
    """Two classes a task, scored by ``metrics``."""
    check_variant(variant, VARIANTS)
    assert isinstance(recipe.objective, MemoryGANObjective) and isinstance(recipe.model, MemoryGANConfig)
    sparse, share = variant == "sparse_writing", 0.1 if variant.endswith("tenth") else 1.0
    kept = recipe.model.memory.num_slots // 10 if sparse and recipe.model.memory else 0  # a fifth of the real slots, for five tasks
    return replace(
        recipe,
        recipe=f"{recipe.recipe}_stream",
        variant=variant,
        model=replace(recipe.model, slot_rows=sparse),
        objective=replace(recipe.objective, replay="replay" in variant, replay_share=share, kept_slots=kept),
        scoring=ScoringConfig(extractor, metrics, num_samples=2000, likelihood_every=0),
        claims=(),
        succession=SuccessionConfig(TaskConfig(classes_per_task=2, joint=variant == "joint_training"), teacher="averaged"),
    )


RECIPES = (digits_stream, mnist_stream, fashion_mnist_stream, cifar10_stream)
