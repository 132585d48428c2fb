"""What a learner of tasks in a row keeps of the earlier ones: averages over the matrix of accuracies after each task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memogen.types import InputError


@dataclass(frozen=True)
class AccuracyMatrix:
    """``values[i, j]``: the accuracy on task j after learning tasks 0 to i. ``untrained[j]``: that of a model that has learned nothing.

    Entries above the diagonal, tasks not yet learned, may be nan where nobody asks for the forward transfer.
    """

    values: Float[np.ndarray, "learned tasks"]
    untrained: Float[np.ndarray, " each"] | None = None

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise InputError(f"accuracy matrix: its shape is {shape}: give one row and one column for each task")
        if not np.isfinite(self.values[np.tril_indices(len(self.values))]).all():
            raise InputError("accuracy matrix: an accuracy of a task already learned is missing: evaluate every task so far after each task")
        if self.untrained is not None and self.untrained.shape != shape[:1]:
            raise InputError(f"accuracy matrix: {self.untrained.shape} accuracies of the untrained model for {shape[0]} tasks: give one for each")

    @property
    def average_accuracy(self) -> float:
        """The mean over all tasks after the last one (Lopez-Paz and Ranzato 2017, "ACC")."""
        return float(self.values[-1].mean())

    @property
    def backward_transfer(self) -> float:
        """The mean over earlier tasks of the accuracy at the end less that when the task was learned (2017, "BWT"): negative is forgetting."""
        self._more_than_one("backward transfer")
        return float((self.values[-1] - self.values.diagonal())[:-1].mean())

    @property
    def forward_transfer(self) -> float:
        """The mean over later tasks of the accuracy just before the task is learned less the untrained model's (2017, "FWT")."""
        self._more_than_one("forward transfer")
        before = self.values.diagonal(offset=1)
        if self.untrained is None or not np.isfinite(before).all():
            raise InputError("forward transfer: it needs the accuracy on each task before it is learned, and that of the untrained model: give both")
        return float((before - self.untrained[1:]).mean())

    @property
    def forgetting(self) -> float:
        """The mean over earlier tasks of the best accuracy before the last task less that at the end (Chaudhry et al. 2018, Eq. 3)."""
        return float(self.forgetting_by_task.mean())

    @property
    def forgetting_by_task(self) -> Float[np.ndarray, " earlier"]:
        """How much of each earlier task is forgotten at the end; below zero where it was never better."""
        self._more_than_one("forgetting")
        learned = np.where(np.tri(len(self.values), dtype=bool), self.values, -np.inf)  # what task j was like before it was learned does not count
        return learned[:-1, :-1].max(axis=0) - self.values[-1, :-1]

    def _more_than_one(self, what: str) -> None:
        if len(self.values) < 2:
            raise InputError(f"{what}: there is one task: learn two or more")
