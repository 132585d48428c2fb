"""What a training takes over where it is one part of a longer course: a task after other tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from memogen.training.optimise import PhaseOptimiser
from memogen.training.state import TrainState

Watch = Callable[[int, nn.Module], None]
"""Shown the step within this training and the live model, which it leaves as it is."""


@dataclass(frozen=True)
class Course:
    """``teacher`` is handed to the objective and kept in every checkpoint. The step counter begins at ``begun``.

    ``former`` is the training before this one, of the same model: its counters go on, so that no noise is drawn twice, and with ``keep_optimisers``
    its moments too. ``watch`` is called by the leading process before the first step and after every step. ``title`` and ``end``, the last step of
    the whole course, are what the progress shows (0: the course ends with this training).
    """

    teacher: nn.Module | None = None
    begun: int = 0
    former: TrainState | None = None
    keep_optimisers: bool = False
    watch: Watch | None = None
    title: str = "training"
    end: int = 0

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What is to be kept beside the model."""
        return {} if self.teacher is None else {"teacher": self.teacher}

    @property
    def first_update(self) -> int:
        """The step since which the optimisers have been counting."""
        return 0 if self.keep_optimisers else self.begun

    def hand_over(self, state: TrainState, turns: tuple[PhaseOptimiser, ...]) -> None:
        """Bring a fresh state to where the former training ended."""
        state.step = self.begun
        if self.former is None:
            return
        state.images_seen, state.seconds = self.former.images_seen, self.former.seconds
        state.processor_seconds = self.former.processor_seconds
        if self.keep_optimisers:
            for turn in turns:
                turn.optimiser.state.update(self.former.optimisers[turn.phase.name].state)

    @torch.no_grad()
    def show(self, step: int, model: nn.Module) -> None:
        """Let whoever watches see the model after ``step``, which counts from the beginning of the course."""
        if self.watch is not None:
            self.watch(step - self.begun, model)
