"""One paper, one file: configuration, module and objective."""

from .memory_gan import MemoryConfig, MemoryGAN, MemoryGANConfig, MemoryGANObjective, NoiseConfig

MODELS = {"memory_gan": MemoryGANConfig}
"""The family named in a saved model, and the configuration that builds it."""

OBJECTIVES = {"memory_gan": MemoryGANObjective}
"""The same for the objective that trains it."""

__all__ = ["MODELS", "OBJECTIVES", "MemoryConfig", "MemoryGAN", "MemoryGANConfig", "MemoryGANObjective", "NoiseConfig"]
