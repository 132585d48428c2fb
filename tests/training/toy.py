"""A model and an objective of two phases, tiny, with everything a checkpoint must keep: batch norm, dropout and a written memory."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from memogen import noise
from memogen.models import FAMILIES, Family
from memogen.training import Stopped, TrainingConfig, TrainState, fit, seed
from memogen.types import Batch, ImageData, Latents, Loss, OptimiserConfig, Phase, to_range


@dataclass(frozen=True)
class ToyConfig:
    width: int = 6
    norm: bool = True
    dropout: float = 0.2

    def build(self) -> Toy:
        return Toy(self)


class Toy(nn.Module):
    """4 x 4 grey images from 3 noise numbers and the mean of the memory."""

    averaged_parts = ("generator",)
    image_range = (-1.0, 1.0)

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        norm = nn.BatchNorm1d(width) if config.norm else nn.Identity()
        self.generator = nn.Sequential(nn.Linear(3, width), norm, nn.Tanh(), nn.Linear(width, 16), nn.Tanh())
        self.critic = nn.Sequential(nn.Conv2d(1, width, 3), nn.Tanh(), nn.Dropout(config.dropout), nn.Flatten(), nn.Linear(4 * width, 1))
        self.register_buffer("memory", torch.zeros(16))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self.calibrations = 0

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        return Latents(noise.normal(torch.arange(start, start + num), 3, seed=seed))

    def decode(self, latents: Latents) -> Tensor:
        return self.generator(latents.noise).view(-1, 1, 4, 4)

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        return self.decode(self.latents(num, seed=seed, start=start))

    def calibrate(self, data: ImageData, *, seed: int = 0) -> None:
        self.calibrations += 1

    def write(self, image: Tensor) -> Tensor:
        """memory <- 0.9 memory + 0.1 mean image of the joint batch."""
        mean = image.flatten(1).mean(0).to(self.memory.dtype)
        if dist.is_initialized():
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        self.memory.lerp_(mean, 0.1)
        self.written += 1
        return self.memory.norm()


@dataclass(frozen=True)
class ToyObjective:
    """``bad_step`` makes the generator's loss infinite from that 1-based step on; in ``stop_step`` a SIGTERM arrives; ``seen`` notes the batches."""

    schedule: str = "constant"
    bad_step: int = 0
    stop_step: int = 0
    pause: float = 0.0
    clip_norm: float = 0.0
    seen: list[Batch] = field(default_factory=list)

    def phases(self, model: Toy, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        optimiser = OptimiserConfig(learning_rate=1e-2, schedule=self.schedule, clip_norm=self.clip_norm)

        def fake(batch: Batch) -> Tensor:
            return model.decode(Latents(noise.normal(batch.index, 3, seed=batch.seed, stream=batch.stream)))

        def critic(batch: Batch) -> Loss:
            self.seen.append(batch)
            real = to_range(batch.image, model.image_range)
            with torch.no_grad():
                false = fake(batch)
            gap = model.critic(real) - model.critic(false)
            return Loss((gap.square() - torch.tanh(gap)).mean(), {"gap": gap.detach().mean()}, real)

        def generator(batch: Batch) -> Loss:
            self.seen.append(batch)
            if self.pause:
                time.sleep(self.pause)
            if batch.step + 1 == self.stop_step:
                signal.raise_signal(signal.SIGTERM)
            image = fake(batch)
            loss = -model.critic(image).mean() + (image.flatten(1) - model.memory).square().mean()
            return Loss(loss / 0 if self.bad_step and batch.step + 1 >= self.bad_step else loss)

        def commit(loss: Loss) -> dict[str, Tensor]:
            return {"memory_norm": model.write(loss.carry)}

        return (
            Phase("critic", (model.critic,), critic, commit, repeats=2, optimiser=optimiser),
            Phase("generator", (model.generator,), generator, optimiser=optimiser, reads_data=False),
        )


DATA = ImageData(np.random.default_rng(0).integers(0, 256, (50, 1, 4, 4), dtype=np.uint8), digest="toy")


def config(**changes: object) -> TrainingConfig:
    options = {"steps": 40, "batch_size": 8, "checkpoint_every": 10, "sample_every": 0, "log_every": 4, "device": "cpu", "keep": 3}
    return TrainingConfig(**{**options, **changes})


def train(
    folder: Path, objective: ToyObjective | None = None, *, model: ToyConfig | None = None, resume: str | Path = "auto", **changes: object
) -> TrainState:
    """Trains a fresh toy; ``changes`` are to the training's options."""
    seed(0)
    return fit((model or ToyConfig()).build(), objective or ToyObjective(), DATA, config(**changes), folder, resume=resume, console=False)


def fingerprint(state: TrainState) -> str:
    """A hash of all bits that a training consists of."""
    tensors = {f"{name} {key}": value for name, module in state.modules.items() for key, value in module.state_dict().items()}
    if state.averages:
        tensors |= {f"average {name}": value for name, value in state.averages.values.items()}
    for phase, optimiser in state.optimisers.items():
        for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
            tensors |= {f"{phase} {i} {key}": value for key, value in optimiser.state[parameter].items()}
    digest = hashlib.sha256(f"{state.step} {state.images_seen} {state.scaler.state_dict() if state.scaler else ''}".encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def main(folder: Path, mode: str) -> None:
    """``toy.py FOLDER PAUSE``: trains in a process of its own; ``toy.py FOLDER joint``: float64 without batch norm, for several processes."""
    FAMILIES["toy"] = Family(ToyConfig, object)
    if mode == "joint":
        joint(folder)
        return
    try:
        print("finished", fingerprint(train(folder, ToyObjective(pause=float(mode)))), flush=True)
    except Stopped as stopped:
        print("stopped", stopped.step, flush=True)


def joint(folder: Path) -> None:
    """20 steps in float64; every rank leaves its memory beside the run."""
    state = train(folder, model=ToyConfig(norm=False, dropout=0.0), steps=20, precision="float64", log_every=1, checkpoint_every=10)
    np.save(folder / f"memory-{os.environ.get('RANK', 'alone')}.npy", state.modules["model"].memory.numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
