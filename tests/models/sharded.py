"""A tiny memoryGAN whose keys the processes divide."""

from __future__ import annotations

import os
from pathlib import Path

from memogen.memory import ShardedMemory
from memogen.models import MemoryConfig, MemoryGANConfig, MemoryGANObjective, NoiseConfig
from memogen.training import TrainingConfig, TrainState, fit, seed
from memogen.training.fit import Course
from memogen.types import ImageData, InputError
from tests.models.two_processes import DATA

SLOTS, DIM = 45, 16


def scores(model: object, data: ImageData, *, seed: int) -> dict[str, float]:
    """What an evaluator sees: a memory with all keys, of which it asks for all scores."""
    memory = model.memory  # type: ignore[attr-defined]
    return {"filled": float(memory.keys.ne(0).any(1).sum()), "likelihood": float(memory.log_likelihood(memory.keys[:1] + 1).sum())}


def train(folder: Path, steps: int, condition: str = "draw", *, sharded: bool = True) -> TrainState:
    """Train in double precision, with sample grids and scores on the way."""
    seed(1)
    memory = MemoryConfig(SLOTS, DIM, top_k=16, sharded=sharded)
    model = MemoryGANConfig((1, 8, 8), width=8, norm="none", noise=NoiseConfig(3), memory=memory, condition=condition).build()  # type: ignore[arg-type]
    config = TrainingConfig(steps=steps, batch_size=16, precision="float64", sample_every=3, log_every=1, device="cpu")
    return fit(model, MemoryGANObjective(), DATA, config, folder, evaluators={"own": scores}, evaluate_every=4, console=False)


def trained(folder: Path, steps: int, condition: str = "draw") -> None:
    """The training of one of several processes, which leaves the bytes of its keys."""
    memory = train(folder, steps, condition).modules["model"].get_submodule("memory")
    assert isinstance(memory, ShardedMemory)
    (folder / f"bytes-{os.environ['RANK']}").write_text(str(memory.keys.nbytes))


def watched(folder: Path) -> None:
    """Leaves the message of a training that one process wants to watch."""
    seed(1)
    model = MemoryGANConfig((1, 8, 8), width=8, norm="none", memory=MemoryConfig(SLOTS, DIM, sharded=True)).build()
    try:
        fit(model, MemoryGANObjective(), DATA, TrainingConfig(1, device="cpu"), folder, console=False, course=Course(watch=lambda step, model: None))
    except InputError as error:
        (folder / f"told-{os.environ['RANK']}").write_text(str(error))
