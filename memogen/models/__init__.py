"""One paper, one file: configuration, module and objective."""

from .mem_vae import AttentionConfig, GaussianConfig, MemVAE, MemVAEConfig, MemVAEObjective
from .memory_gan import MemoryConfig, MemoryGAN, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from .replay_gan import ReplayGAN, ReplayGANConfig, ReplayGANObjective

MODELS = {"memory_gan": MemoryGANConfig, "mem_vae": MemVAEConfig, "replay_gan": ReplayGANConfig}
"""The family named in a saved model, and the configuration that builds it."""

OBJECTIVES = {"memory_gan": MemoryGANObjective, "mem_vae": MemVAEObjective, "replay_gan": ReplayGANObjective}
"""The same for the objective that trains it."""

__all__ = [
    "MODELS",
    "OBJECTIVES",
    "AttentionConfig",
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
]
