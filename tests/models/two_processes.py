"""Tiny trainings of all families, in one process or in several, and what one process must do to learn what several learn."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from memogen import cli, processes
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
from memogen.runs import run
from memogen.training import TrainingConfig, TrainState, fit, seed
from memogen.training.outputs import Outputs
from memogen.training.runtime import settled
from memogen.types import Batch, ImageData, Loss, Objective, OptimiserConfig, Phase

DATA = ImageData(np.random.default_rng(0).integers(0, 256, (90, 1, 8, 8), dtype=np.uint8), np.arange(90) % 4, tuple("abcd"), digest="random")
STEPS = {"memory_gan": 20, "mem_vae": 8, "replay_gan": 4}
NORMED = ("mem_vae", "replay_gan")
"""The families that cannot do without batch norm, which sees each process's share alone."""


def made(family: str) -> tuple[nn.Module, Objective]:
    """A fresh model of the family, and its objective."""
    seed(1)
    if family == "memory_gan":
        return MemoryGANConfig(
            (1, 8, 8), width=8, norm="none", noise=NoiseConfig(3), memory=MemoryConfig(64, 16, top_k=24)
        ).build(), MemoryGANObjective()
    if family == "mem_vae":
        return MemVAEConfig((1, 8, 8), hidden=(12, 10), latent_dim=3, memory=AttentionConfig((5, 4))).build(), MemVAEObjective(
            2, optimiser=OptimiserConfig(1e-3)
        )
    model = ReplayGANConfig((1, 8, 8), width=4, noise_dim=6, num_classes=4).build()
    model.begin_task(0, range(4))
    return model, ReplayGANObjective()


def train(family: str, folder: Path, *, steps: int, shares: int = 1) -> TrainState:
    """Train in double precision, by the losses of :class:`Shared` if there are several ``shares``."""
    model, objective = made(family)
    config = TrainingConfig(steps=steps, batch_size=16, precision="float64", sample_every=0, log_every=1, device="cpu")
    return fit(model, objective if shares == 1 else Shared(objective, shares), DATA, config, folder, console=False)


@dataclass(frozen=True)
class Shared:
    """The objective on several shares of the batch, one after another: the mean of their losses is what several processes minimise together.

    Nothing is committed: for families without a memory that is written.
    """

    objective: Objective
    shares: int

    def phases(self, model: nn.Module, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        return tuple(replace(phase, loss=self._mean(phase.loss)) for phase in self.objective.phases(model, teacher=teacher))

    def _mean(self, loss: Callable[[Batch], Loss]) -> Callable[[Batch], Loss]:
        def mean(batch: Batch) -> Loss:
            parts = [loss(self._share(batch, number)) for number in range(self.shares)]
            terms = {name: torch.stack([part.terms[name] for part in parts]).mean() for name in parts[0].terms}
            return Loss(torch.stack([part.total for part in parts]).mean(), terms)

        return mean

    def _share(self, batch: Batch, number: int) -> Batch:
        def part(rows: Tensor | None) -> Tensor | None:
            return None if rows is None else rows.chunk(self.shares)[number]

        index = part(batch.index)
        assert index is not None
        return replace(batch, index=index, image=part(batch.image), label=part(batch.label))


def learned(state: TrainState) -> dict[str, np.ndarray]:
    """All weights, buffers (the memory among them), averages and moments."""
    tensors = dict(state.modules["model"].state_dict())
    assert state.averages is not None
    tensors |= {f"average {name}": value for name, value in state.averages.values.items()}
    names = {parameter: name for name, parameter in state.modules["model"].named_parameters()}
    for phase, optimiser in state.optimisers.items():
        tensors |= {f"{phase} {names[p]} {key}": value for p, moments in optimiser.state.items() for key, value in moments.items()}
    return {name: value.numpy() for name, value in tensors.items()}


def everything(folder: Path) -> None:
    """Train every family, and leave what this rank has learned beside the runs; then continue what one process has begun in ``begun``."""
    rank = os.environ["RANK"]
    for family, steps in STEPS.items():
        np.savez(folder / f"{family}-{rank}.npz", **learned(train(family, folder / family, steps=steps)))
    for family, steps in STEPS.items():
        np.savez(folder / f"continued-{family}-{rank}.npz", **learned(train(family, folder / "begun" / family, steps=steps)))


def command(words: list[str], *, killed: int | None = None, step: int = 0) -> int:
    """Run a command line, without the page of a run. The process of rank ``killed`` gets SIGKILL after that step, before it writes anything of it."""
    run.write_report = lambda *_: None
    if os.environ["RANK"] == str(killed):
        write = Outputs.after_step

        def after_step(self: Outputs) -> None:
            if self.state.step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            write(self)

        Outputs.after_step = after_step  # type: ignore[method-assign]
    return cli.main(words)


def precision(folder: Path) -> None:
    """Leaves the precision that "auto" becomes where the first processor alone has AMX tiles."""
    rank = os.environ["RANK"]
    torch.cpu._is_amx_tile_supported = lambda: rank == "0"
    (folder / f"precision-{rank}").write_text(settled(TrainingConfig(1, precision="auto", device="cpu")).precision)


def impatient(words: list[str], *, late: float = 0.0) -> int:
    """Run a command line in processes that wait for each other two seconds at most. All but the first come ``late`` by so many seconds."""
    processes._MEETING, processes._SILENCE = timedelta(seconds=2 + late), 0.3
    time.sleep(late if os.environ["RANK"] != "0" else 0)
    return command(words)
