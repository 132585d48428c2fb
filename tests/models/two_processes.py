"""The families in one process or several, on the same joint batches: ``python -m tests.models.two_processes FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from torch import nn

from memogen.memory import VMFMemory
from memogen.models import (
    AttentionConfig,
    MemoryConfig,
    MemoryGANConfig,
    MemoryGANObjective,
    MemVAEConfig,
    MemVAEObjective,
    NoiseConfig,
    ReplayGANConfig,
    ReplayGANObjective,
)
from memogen.training import TrainingConfig, fit, seed
from memogen.types import ImageData

DATA = ImageData(np.random.default_rng(0).integers(0, 256, (90, 1, 8, 8), dtype=np.uint8), np.arange(90) % 4, tuple("abcd"), digest="random")
REPLAY = ReplayGANConfig(image_shape=(1, 8, 8), width=4, noise_dim=6, num_classes=4)
MODEL = MemoryGANConfig(image_shape=(1, 8, 8), width=8, norm="none", noise=NoiseConfig(3), memory=MemoryConfig(64, 16, top_k=24))


def train(folder: Path) -> VMFMemory:
    """20 steps in float64 without batch norm; returns the memory of this process."""
    seed(1)
    model = MODEL.build()
    config = TrainingConfig(steps=20, batch_size=16, precision="float64", sample_every=0, log_every=1, device="cpu")
    fit(model, MemoryGANObjective(), DATA, config, folder, console=False)
    assert model.memory is not None
    return model.memory


def others(folder: Path) -> dict[str, nn.Module]:
    """A MEM-VAE and a replay GAN after a few steps, as this process has them. Both have batch norm, which sees each process's share alone."""
    vae, replay = MemVAEConfig(DATA.image_shape, hidden=(12, 10), latent_dim=3, memory=AttentionConfig((5, 4))), REPLAY.build()
    replay.begin_task(0, range(REPLAY.num_classes))
    found = {"mem_vae": (vae.build(), MemVAEObjective(num_samples=2)), "replay_gan": (replay, ReplayGANObjective())}
    for name, (model, objective) in found.items():
        config = TrainingConfig(steps=4, batch_size=16, sample_every=0, device="cpu")
        fit(model, objective, DATA, config, folder / name, console=False)
    return {name: model for name, (model, _) in found.items()}


def main() -> None:
    """Train, and leave what this rank has learned beside the run."""
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    memory = train(folder)
    np.savez(folder / f"memory-{rank}.npz", **{name: buffer.numpy() for name, buffer in memory.named_buffers()})
    for name, model in others(folder).items():
        np.savez(folder / f"{name}-{rank}.npz", **{key: weight.detach().numpy() for key, weight in model.named_parameters()})


if __name__ == "__main__":
    main()
