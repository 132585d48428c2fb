"""How long, how wide and how exactly to train: the part of a run's configuration that knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memogen.types import InputError, check_seed

Precision = Literal["float32", "bf16", "fp16", "float64"]


@dataclass(frozen=True)
class TrainingConfig:
    """Counts are in steps (one pass over the objective's phases); ``batch_size`` is the joint batch of all processes.

    ``precision`` bf16 and fp16 are autocast over float32 weights; float64 trains everything in double. ``ema_decay`` 0 keeps no averages.
    ``checkpoint_every`` and ``sample_every`` 0 mean at the end only and never. ``keep`` is the number of checkpoints left on disk.
    ``sync_batch_norm`` computes batch statistics over all processes (CUDA only); otherwise each process uses its own share.
    ``cuda_graphs`` records a step's kernels once and repeats them, which spares the host starting each (one process on CUDA; no effect elsewhere).
    """

    steps: int
    batch_size: int = 64
    seed: int = 0
    precision: Precision = "float32"
    channels_last: bool = False
    ema_decay: float = 0.999
    checkpoint_every: int = 1000
    sample_every: int = 1000
    log_every: int = 50
    device: str = "auto"
    keep: int = 2
    tensorboard: bool = False
    sync_batch_norm: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "keep"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        for name in ("checkpoint_every", "sample_every"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "use 0 or more")
        _require(self.steps < 2**40, "steps", self.steps, "use fewer")
        check_seed(self.seed, "training.seed")
        _require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "use a number in [0, 1)")
        _require(self.precision in Precision.__args__, "precision", self.precision, f"use one of {', '.join(Precision.__args__)}")  # type: ignore[attr-defined]


def _require(holds: bool, name: str, value: object, mend: str) -> None:
    if not holds:
        raise InputError(f"training.{name} is {value!r}: {mend}")
