"""One paper, one folder: configuration, networks and objective. A further family is a folder of its own and a line in ``FAMILIES``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .mem_vae import AttentionConfig, GaussianConfig, MemVAE, MemVAEConfig, MemVAEObjective
from .memory_gan import MemoryConfig, MemoryGAN, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from .outline import outline
from .replay_gan import ReplayGAN, ReplayGANConfig, ReplayGANObjective


@dataclass(frozen=True)
class Family:
    """What the rest of the library knows of a family by name; everything else it asks the model itself, by the protocols of :mod:`memogen.types`.

    ``config`` builds the model, ``objective`` trains it, both frozen dataclasses. ``recipes`` are modules with a tuple ``RECIPES`` of functions that
    return a :class:`memogen.recipes.Recipe`.
    """

    config: type[Any]
    objective: type[Any]
    recipes: tuple[str, ...] = ()


FAMILIES = {
    "memory_gan": Family(MemoryGANConfig, MemoryGANObjective, ("memogen.recipes.memory_gan", "memogen.recipes.memory_gan_tasks")),
    "mem_vae": Family(MemVAEConfig, MemVAEObjective, ("memogen.recipes.mem_vae",)),
    "replay_gan": Family(ReplayGANConfig, ReplayGANObjective, ("memogen.recipes.replay_gan",)),
}
"""Every family by the name that a saved model and a recipe say."""

__all__ = [
    "FAMILIES",
    "AttentionConfig",
    "Family",
    "GaussianConfig",
    "MemVAE",
    "MemVAEConfig",
    "MemVAEObjective",
    "MemoryConfig",
    "MemoryGAN",
    "MemoryGANConfig",
    "MemoryGANObjective",
    "NoiseConfig",
    "ReplayGAN",
    "ReplayGANConfig",
    "ReplayGANObjective",
    "outline",
]
