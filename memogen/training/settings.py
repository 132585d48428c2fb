"""What a run was started with, as flat names and plain values, and what may change when it continues."""

from __future__ import annotations

import json
from collections.abc import Mapping

from memogen.configs import to_dict
from memogen.training.config import TrainingConfig
from memogen.types import ImageData, InputError, Phase

Settings = dict[str, object]

FREE = frozenset(
    f"training.{name}" for name in ("steps", "log_every", "sample_every", "checkpoint_every", "keep", "device", "tensorboard", "cuda_graphs")
)


def flat_settings(config: TrainingConfig, data: ImageData, phases: tuple[Phase, ...], given: Mapping[str, object]) -> Settings:
    """The caller's flat ``given`` settings and, over them, the loop's own: ``training.*``, ``data.digest``, ``phases.NAME.*``."""
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
        changes = ", ".join(f"{name} was {saved.get(name)!r} and is {current.get(name)!r}" for name in changed)
        reason = " (its schedule depends on the steps)" if "training.steps" in changed and _scheduled(current) else ""
        raise InputError(f"{where}: cannot be continued under other settings: {changes}{reason}: restore them, or use another folder")


def _steps(settings: Mapping[str, object]) -> int:
    steps = settings.get("training.steps")
    return steps if isinstance(steps, int) else 0


def _scheduled(settings: Mapping[str, object]) -> bool:
    return any(name.startswith("phases.") and name.endswith(".schedule") and value != "constant" for name, value in settings.items())
