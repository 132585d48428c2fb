"""Options of the training loop, and which of a run's settings may change when it continues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from memogen.configs import LATER, to_dict
from memogen.types import ImageData, InputError, Phase, check_seed

Precision = Literal["float32", "bf16", "fp16", "float64", "auto"]


@dataclass(frozen=True)
class TrainingConfig:
    """Counts are in steps (one pass over the objective's phases); ``batch_size`` is the joint batch of all processes.

    ``precision`` bf16 and fp16 are autocast over float32 weights; float64 trains everything in double; auto is bf16 where all processes have a GPU
    with it or a CPU with AMX tiles, else float32. ``channels_last`` keeps the channels of a pixel together in convolutions, which is faster on a CPU;
    auto is true there and false on a GPU. Both are decided once: config.yaml and result rows hold the decision. ``ema_decay`` 0 keeps no averages.
    ``checkpoint_every`` and ``sample_every`` 0 mean at the end only and never. ``keep`` is the number of checkpoints left on disk.
    ``sync_batch_norm`` computes batch statistics over all processes (CUDA only); otherwise each process uses its own share.
    ``cuda_graphs`` records a step's kernels once and repeats them, which spares the host starting each (one process on CUDA; no effect elsewhere).
    ``compile`` has torch.compile write the kernels of the losses, some half a minute before the first step (CUDA alone; no effect elsewhere). Neither
    changes what is computed but for rounding.
    """

    steps: int
    batch_size: int = 64
    seed: int = 0
    precision: Precision = "float32"
    channels_last: Literal["auto", True, False] = False
    ema_decay: float = 0.999
    checkpoint_every: int = 1000
    sample_every: int = 1000
    log_every: int = 50
    device: str = "auto"
    keep: int = 2
    tensorboard: bool = False
    sync_batch_norm: bool = False
    cuda_graphs: bool = False
    compile: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "keep"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        for name in ("checkpoint_every", "sample_every"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "use 0 or more")
        _require(self.steps < 2**40, "steps", self.steps, "use fewer")
        check_seed(self.seed, "training.seed")
        _require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "use a number in [0, 1)")
        _require(self.channels_last in ("auto", True, False), "channels_last", self.channels_last, "use auto, true or false")
        _require(self.precision in Precision.__args__, "precision", self.precision, f"use one of {', '.join(Precision.__args__)}")  # type: ignore[attr-defined]


def _require(holds: bool, name: str, value: object, mend: str) -> None:
    if not holds:
        raise InputError(f"training.{name} is {value!r}: {mend}")


Settings = dict[str, object]
"""What a run was started with: flat names such as "training.steps", and plain values."""

FREE = frozenset(
    f"training.{name}"
    for name in ("steps", "log_every", "sample_every", "checkpoint_every", "keep", "device", "tensorboard", "cuda_graphs", "compile")
)


def flat_settings(config: TrainingConfig, data: ImageData, phases: tuple[Phase, ...], given: Mapping[str, object]) -> Settings:
    """The caller's settings ``given``, and those of the loop: ``training.*``, ``data.*``, ``phases.NAME.*``."""
    own: Settings = {f"training.{name}": value for name, value in to_dict(config).items()}
    own["data.digest"] = data.digest
    own["data.size"] = len(data)
    for phase in phases:
        own[f"phases.{phase.name}.repeats"] = phase.repeats
        own |= {f"phases.{phase.name}.{name}": value for name, value in to_dict(phase.optimiser).items()}
    return plain({**given, **own})


def plain(settings: Mapping[str, object]) -> Settings:
    """As JSON keeps them."""
    kept: Settings = json.loads(json.dumps(settings, default=str))
    return kept


def check_unchanged(saved: Mapping[str, object], current: Mapping[str, object], where: object) -> None:
    """Raises InputError naming every option in which ``current`` may not continue what ``saved`` began."""
    changed = [name for name in sorted({*saved, *current} - FREE) if saved.get(name) != current.get(name)]
    if _steps(current) < _steps(saved) or (_steps(current) != _steps(saved) and _scheduled(current)):
        changed.append("training.steps")
    if changed:
        changes = ", ".join(f"{name} was {_shown(saved, name)} and is {_shown(current, name)}" for name in changed)
        reason = " (its schedule depends on the steps)" if "training.steps" in changed and _scheduled(current) else ""
        raise InputError(f"{where}: cannot be continued under other settings: {changes}{reason}: restore them, or use another folder")


def _shown(settings: Mapping[str, object], name: str) -> str:
    """A value; options of parts that are not there, and later ones at their default, are not among the settings."""
    return repr(settings[name]) if name in settings else "not set"


def _steps(settings: Mapping[str, object]) -> int:
    steps = settings.get("training.steps")
    return steps if isinstance(steps, int) else 0


def _scheduled(settings: Mapping[str, object]) -> bool:
    return any(name.startswith("phases.") and name.endswith(".schedule") and value != "constant" for name, value in settings.items())
