"""What keeping the past costs: images drawn, and what has to be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from ..replayed import state_bytes
from .losses import FEWEST, STORED
from .model import ReplayGANConfig

if TYPE_CHECKING:
    from .objective import ReplayGANObjective


@dataclass(frozen=True)
class Cost:
    """``drawn`` images by generators, the model's own and its teacher's, in all tasks; ``stored`` bytes beside the model when the last one ends."""

    drawn: int
    stored: int


def cost(
    objective: ReplayGANObjective, config: ReplayGANConfig, tasks: Sequence[int], *, steps: int, batch_size: int, teacher: nn.Module | None
) -> Cost:
    """Of tasks with so many classes each, for ``steps`` each."""
    drawn, past = 0, 0
    for number, new in enumerate(tasks):
        drawn += steps * images_in_a_step(objective, config, new, past, batch_size)
        drawn += -(-objective.joint.bank // STORED) * STORED * past if objective.joint is not None else 0
        past += new
        if objective.consolidation is not None and number + 1 < len(tasks):
            drawn += -(-objective.consolidation.num_samples // past) * past
    kept = state_bytes(teacher) if teacher is not None else 0
    pixels = config.frame[0] * config.frame[1] * config.frame[2]
    return Cost(drawn, kept + (4 * objective.joint.bank * (past - tasks[-1]) * pixels if objective.joint is not None else 0))


def images_in_a_step(objective: ReplayGANObjective, config: ReplayGANConfig, new: int, past: int, batch_size: int) -> int:
    """Of a step of a task with ``new`` classes after ``past`` others: the critic's turns and the generator's, and the solver's."""
    turns = objective.game.steps
    if objective.generative_replay is not None:
        again = batch_size if past else 0
        return turns * (batch_size + again) + batch_size + again
    fake = batch_size if config.statistics == "batch" else _in_turns(new, batch_size)
    if not past or not (objective.joint or objective.alignment):
        return (turns + 1) * fake
    replays = past * batch_size if objective.replay.images == "full" else _in_turns(past, batch_size)
    of_critic = 0 if objective.joint is None else replays * (1 if objective.joint.bank else 2)
    return turns * (fake + of_critic) + fake + replays * (2 if objective.alignment is not None else 1)


def _in_turns(classes: int, batch_size: int) -> int:
    together = min(classes, max(1, batch_size // FEWEST))
    return batch_size // together * together
