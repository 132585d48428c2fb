"""A stream of tiny images learned by a tiny replay GAN, here or in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from memogen.data.task_sequence import TaskConfig, TaskSequence, task_sequence
from memogen.models.replay_gan import (
    AlignmentConfig,
    ConsolidationConfig,
    CriticConfig,
    GenerativeReplayConfig,
    JointConfig,
    ReplayGANConfig,
    ReplayGANObjective,
)
from memogen.training import Onlooker, SuccessionConfig, TrainingConfig, TrainState, fit_tasks
from memogen.types import Batch, ImageData
from tests.training.toy import fingerprint

MODEL = ReplayGANConfig(image_shape=(1, 8, 8), width=2, noise_dim=4, num_classes=4)
GAME = CriticConfig(steps=2)
OBJECTIVES = {
    "fine_tuning": ReplayGANObjective(game=GAME),
    "ewc": ReplayGANObjective(consolidation=ConsolidationConfig(num_samples=8, accumulation="online"), game=GAME),
    "both": ReplayGANObjective(joint=JointConfig(bank=3), alignment=AlignmentConfig(), game=GAME),
    "dgr": ReplayGANObjective(generative_replay=GenerativeReplayConfig(), game=GAME),
}
STEPS = 4
CONFIG = TrainingConfig(STEPS, batch_size=8, ema_decay=0.9, checkpoint_every=2, sample_every=0, log_every=2, device="cpu", keep=2)


def data() -> ImageData:
    """Ten images of each of four classes: noise around a shade of the class."""
    noise = np.random.default_rng(0).integers(0, 40, (40, 1, 8, 8))
    label = np.arange(40) % 4
    return ImageData((noise + 60 * label[:, None, None, None]).astype(np.uint8), label)


def stream(**tasks: object) -> TaskSequence:
    return task_sequence(data(), TaskConfig(**tasks))


def train(
    folder: Path,
    method: str = "both",
    *,
    succession: SuccessionConfig | None = None,
    onlooker: Onlooker | None = None,
    resume: str = "auto",
    look: Callable[[Batch], None] | None = None,
    tasks: TaskSequence | None = None,
    **changes: object,
) -> TrainState:
    """Trains a fresh model on four tasks of one class, or on ``tasks``; ``look`` sees every batch that is drawn."""
    torch.manual_seed(0)
    model = replace(MODEL, conditioning="none" if method == "dgr" else "norm").build()
    objective = OBJECTIVES[method] if look is None else Watched(OBJECTIVES[method], look)
    options = {"succession": succession or SuccessionConfig(), "onlooker": onlooker or Onlooker(), "resume": resume}
    return fit_tasks(model, objective, tasks or stream(), replace(CONFIG, **changes), folder, console=False, **options)


class Watched:
    """An objective whose batches are looked at."""

    def __init__(self, objective: ReplayGANObjective, look: Callable[[Batch], None]) -> None:
        self.objective, self.look = objective, look
        self.teacher, self.teach = objective.teacher, objective.teach

    def phases(self, model: torch.nn.Module, *, teacher: torch.nn.Module | None = None) -> tuple[object, ...]:
        def seen(loss: Callable[[Batch], object]) -> Callable[[Batch], object]:
            def watched(batch: Batch) -> object:
                self.look(batch)
                return loss(batch)

            return watched

        return tuple(replace(phase, loss=seen(phase.loss)) for phase in self.objective.phases(model, teacher=teacher))


def main() -> None:
    """``task_toy.py FOLDER METHOD``: trains in a process of its own, slowly in the fourth task, and prints the hash of all that it ended with."""
    print(fingerprint(train(Path(sys.argv[1]), sys.argv[2], look=lambda batch: time.sleep(0.05 if batch.step >= 3 * STEPS else 0))))


if __name__ == "__main__":
    main()
