"""Result rows of a learner of tasks by the protocol of the continual benchmark, of our models and of anybody's method alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data.task_sequence import of_classes
from ..metrics.accuracy import real_accuracy
from ..metrics.exam import Exam
from ..metrics.rows import UNSEEN, ResultRow, judged, made
from ..metrics.samples import device_of
from ..types import ImageData
from .stages import accuracy_matrix


@dataclass(frozen=True)
class Kept:
    """What a learner has when the last task begins, beside its images, in bytes: ``past``, which keeps the earlier tasks, and ``carried``, all of it.

    ``past`` None: nobody can tell it from the rest. ``drawn``: images that generators drew in training, None where nobody counted.
    """

    carried: int
    past: int | None = None
    drawn: int | None = None

    def numbers(self) -> dict[str, float]:
        """Those that are known, by the names of result rows."""
        found = {"generated_images": self.drawn, "kept_megabytes": None if self.past is None else self.past / 1e6}
        found |= {"carried_megabytes": self.carried / 1e6}
        return {name: float(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Examined:
    """Rows of an exam. They say nothing of the training, which the caller adds."""

    exam: Exam

    def after(self, number: int, drawn: ImageData) -> list[ResultRow]:
        """After task ``number``: class by class, then over all classes so far."""
        standing, protocol = self.exam.standing(drawn, number), self.exam.protocol(number, drawn)
        rows = [
            self._row(metric, value, protocol).but(task=number, class_=label)
            for metric, values in standing.by_class().items()
            for label, value in values.items()
        ]
        return rows + [self._row(metric, value, protocol).but(task=number) for metric, value in standing.numbers().items()]

    def end(self, rows: Sequence[ResultRow], kept: Kept) -> list[ResultRow]:
        """What a table shows, from the ``rows`` of all tasks: the standing after the last one, what was forgotten, and what it took."""
        last = len(self.exam.tasks) - 1
        found = [row.but(task=None) for row in rows if row.task == last and row.class_ is None]
        protocol = found[0].protocol or {}
        found += [self._row(metric, value, protocol) for metric, value in self._forgetting(rows).items()]
        return found + [self._row(metric, value, UNSEEN) for metric, value in kept.numbers().items()]

    def real(self, train: ImageData) -> list[ResultRow]:
        """What real images reach: as many training images in the place of samples, and the accuracy of test images."""
        last = len(self.exam.tasks) - 1
        part = of_classes(train, self.exam.seen(last))
        numbers = self.exam.real(train).numbers() | {"accuracy": real_accuracy(self.exam.test, self.exam.seen(last), self.exam.judge)}
        named = {"data": train.name, "split": train.split, "digest": part.digest}
        protocol = self.exam.protocol(last, replace(part, digest="")) | {"num_samples": min(self.exam.num_samples, len(part)), "images": named}
        return [self._row(metric, value, protocol).but(variant="real") for metric, value in numbers.items()]

    def _forgetting(self, rows: Sequence[ResultRow]) -> dict[str, float]:
        found = {name: accuracy_matrix(rows, self.exam.tasks, metric=metric) for name, metric in _MATRICES.items()}
        several = {name: matrix for name, matrix in found.items() if matrix is not None and len(matrix.values) > 1}
        return {name: matrix.forgetting for name, matrix in several.items()}

    def _row(self, metric: str, value: float, about: Mapping[str, Any]) -> ResultRow:
        row: dict[str, Any] = {"metric": metric, "value": value, "spread": None, "protocol": {**judged(self.exam.judge), **about}}
        return ResultRow.read(row | {"split": self.exam.test.split, "task": None, "class": None, **made(device_of(self.exam.judge))})


_MATRICES = {"forgetting": "accuracy", "reverse_forgetting": "reverse_accuracy"}
"""Which accuracies of tasks each number is taken of."""
