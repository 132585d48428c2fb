"""Memory Replay GANs on two classes a task, five tasks: the setting of the continual benchmark, in which other families learn without labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from ..models.replay_gan import ReplayGANConfig, ReplayGANObjective
from ..models.replay_gan.options import SHORT_ALIGNMENT, SHORT_RATE
from ..types import InputError
from . import replay_gan
from .recipe import DataConfig, Recipe, ScoringConfig

Variant = Literal["joint_training", "fine_tuning", "ewc", "dgr", "joint_replay", "joint_replay_mean", "replay_alignment", "joint_replay_alignment"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


def digits_stream(variant: Variant = "joint_replay") -> Recipe:
    """Two of the embedded 8x8 digits a task: the networks of ``replay_gan/digits`` at half the width, learning rate and lambda of MNIST."""
    recipe = replay_gan.digits(_known(variant))
    assert isinstance(recipe.objective, ReplayGANObjective)
    return _stream(replace(recipe, objective=recipe.objective.at_rate(SHORT_RATE, SHORT_ALIGNMENT)), "digits", width=16)


def mnist_stream(variant: Variant = "joint_replay") -> Recipe:
    """Two digits of MNIST a task, with networks of a quarter of the width, for a CPU."""
    return _stream(replay_gan.mnist(_known(variant)), "mnist", width=8)


def fashion_mnist_stream(variant: Variant = "joint_replay") -> Recipe:
    """Two articles of Fashion-MNIST a task, with networks of a quarter of the width, for a CPU."""
    return _stream(replay_gan.fashion_mnist(_known(variant)), "fashion-mnist", width=8)


def cifar10_stream(variant: Variant = "joint_replay") -> Recipe:
    """Two classes of CIFAR-10 a task, with the three-layer networks and the settings of SVHN. Unverified: it has not been run."""
    recipe = replace(replay_gan.svhn(_known(variant)), recipe="replay_gan/cifar10", data=DataConfig("cifar10"))
    return _stream(recipe, "cifar10")


def _known(variant: Variant) -> Variant:
    if variant not in VARIANTS:
        raise InputError(f"variant: {variant!r} is unknown: choose {', '.join(VARIANTS)}")
    return variant


def _stream(recipe: Recipe, judge: str, *, width: int | None = None) -> Recipe:
    """Two classes a task, every image of the training split learned."""
    model, succession = recipe.model, recipe.succession
    assert isinstance(model, ReplayGANConfig) and succession is not None
    return replace(
        recipe,
        recipe=f"{recipe.recipe}_stream",
        model=replace(model, width=width or model.width),
        scoring=ScoringConfig(judge, ("continual",), num_samples=2000, likelihood_every=0),
        claims=(),
        succession=replace(succession, tasks=replace(succession.tasks, classes_per_task=2, left_out=0)),
    )


RECIPES = (digits_stream, mnist_stream, fashion_mnist_stream, cifar10_stream)
