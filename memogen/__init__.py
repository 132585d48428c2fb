"""Generative models with memory. The public names, and nothing else; each is imported when it is first used, so that ``import memogen`` is quick."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memogen.data import load as load_data
    from memogen.memory import AttentionMemory, VMFMemory
    from memogen.metrics.evaluate import evaluate
    from memogen.models.mem_vae import MemVAE, MemVAEConfig, MemVAEObjective
    from memogen.models.memory_gan import MemoryGAN, MemoryGANConfig, MemoryGANObjective
    from memogen.models.replay_gan import ReplayGAN, ReplayGANConfig, ReplayGANObjective
    from memogen.pretrained import from_pretrained, push_to_hub, save_pretrained
    from memogen.runs import train
    from memogen.training import TrainingConfig
    from memogen.training.continual import fit_tasks
    from memogen.training.fit import fit
    from memogen.types import ImageData, InputError

__version__ = "0.1.0"

_HOMES = {
    "AttentionMemory": "memogen.memory",
    "ImageData": "memogen.types",
    "InputError": "memogen.types",
    "MemVAE": "memogen.models.mem_vae",
    "MemVAEConfig": "memogen.models.mem_vae",
    "MemVAEObjective": "memogen.models.mem_vae",
    "MemoryGAN": "memogen.models.memory_gan",
    "MemoryGANConfig": "memogen.models.memory_gan",
    "MemoryGANObjective": "memogen.models.memory_gan",
    "ReplayGAN": "memogen.models.replay_gan",
    "ReplayGANConfig": "memogen.models.replay_gan",
    "ReplayGANObjective": "memogen.models.replay_gan",
    "TrainingConfig": "memogen.training",
    "VMFMemory": "memogen.memory",
    "evaluate": "memogen.metrics",
    "fit": "memogen.training",
    "fit_tasks": "memogen.training",
    "from_pretrained": "memogen.pretrained",
    "load_data": "memogen.data:load",
    "push_to_hub": "memogen.pretrained",
    "save_pretrained": "memogen.pretrained",
    "train": "memogen.runs",
}

__all__ = [
    "AttentionMemory",
    "ImageData",
    "InputError",
    "MemVAE",
    "MemVAEConfig",
    "MemVAEObjective",
    "MemoryGAN",
    "MemoryGANConfig",
    "MemoryGANObjective",
    "ReplayGAN",
    "ReplayGANConfig",
    "ReplayGANObjective",
    "TrainingConfig",
    "VMFMemory",
    "__version__",
    "evaluate",
    "fit",
    "fit_tasks",
    "from_pretrained",
    "load_data",
    "push_to_hub",
    "save_pretrained",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'memogen' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
