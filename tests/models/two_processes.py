"""memoryGAN in one process or several, on the same joint batches: ``python -m tests.models.two_processes FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from memogen.memory import VMFMemory
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from memogen.training import TrainingConfig, fit, seed
from memogen.types import ImageData

DATA = ImageData(np.random.default_rng(0).integers(0, 256, (90, 1, 8, 8), dtype=np.uint8), digest="random")
MODEL = MemoryGANConfig(image_shape=(1, 8, 8), width=8, norm="none", noise=NoiseConfig(3), memory=MemoryConfig(64, 16, top_k=24))


def train(folder: Path) -> VMFMemory:
    """20 steps in float64 without batch norm; returns the memory of this process."""
    seed(1)
    model = MODEL.build()
    config = TrainingConfig(steps=20, batch_size=16, precision="float64", sample_every=0, log_every=1, device="cpu")
    fit(model, MemoryGANObjective(), DATA, config, folder, console=False)
    assert model.memory is not None
    return model.memory


def main() -> None:
    """Train, and leave this rank's memory beside the run."""
    folder = Path(sys.argv[1])
    memory = train(folder)
    np.savez(folder / f"memory-{os.environ['RANK']}.npz", **{name: buffer.numpy() for name, buffer in memory.named_buffers()})


if __name__ == "__main__":
    main()
