"""How a model stands after a task, as result rows: class by class, over all classes, what was kept, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .data.stream import of_classes
from .metrics.accuracy import STUDENT, ClassJudge, ClassScore, class_references, mean_score, real_accuracy, reverse_accuracy, told
from .metrics.extractors import NetworkExtractor
from .metrics.forgetting import AccuracyMatrix
from .metrics.rows import UNSEEN, ResultRow, judged, made
from .metrics.stream import device_of, sample_stream, shuffled
from .metrics.work import Work
from .models import ReplayGAN
from .models.replay_gan import BatchStatistics
from .recipes import ScoringConfig
from .types import ImageData


@dataclass(frozen=True)
class Stage:
    """``model`` after a task, judged by ``judge`` against the real ``test`` images; ``scoring`` says how many samples of a class, and how drawn."""

    model: ReplayGAN
    judge: NetworkExtractor
    test: ImageData
    scoring: ScoringConfig
    work: Work = field(default_factory=Work)

    @property
    def drawn(self) -> ReplayGAN | BatchStatistics:
        """The model, drawing by the statistics that are asked for."""
        return BatchStatistics(self.model) if self.scoring.statistics == "batch" else self.model

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The classes learned so far."""
        return self.model.known

    @cached_property
    def scores(self) -> list[ClassScore]:
        """Of every class learned so far."""
        judge = ClassJudge(self.judge, class_references(self.test, self.labels, self.judge, work=self.work))
        return judge.scores(self.drawn, self.labels, self.scoring.num_samples, seed=self.scoring.seed, work=self.work)

    def row(self, metric: str, value: float | None, *, task: int | None = None, label: int | None = None, **protocol: object) -> ResultRow:
        """One number, with what it was measured by."""
        about = {"statistics": self.scoring.statistics, **protocol}
        return stage_row(self.judge, self.test, self.scoring, metric, value, about).but(task=task, class_=label)

    def by_class(self, task: int) -> list[ResultRow]:
        """Accuracy and Fréchet distance of each class after ``task``, then their means."""
        rows = []
        for score in self.scores:
            rows += [self.row("accuracy", score.accuracy, task=task, label=score.label), self.row("fid", score.fid, task=task, label=score.label)]
        return _there([*rows, *(self.row(metric, value, task=task) for metric, value in self._means())])

    def over_classes(self) -> list[ResultRow]:
        """What a table shows: the means over the classes learned so far."""
        accuracy, fid = (value for _, value in self._means())
        return _there([self.row("accuracy", accuracy, learned=len(self.labels)), self.row("fid", fid, over="classes, each by itself")])

    def real(self) -> ResultRow:
        """The accuracy of real images of these classes."""
        row = self.row("accuracy", real_accuracy(self.test, self.labels, self.judge), learned=len(self.labels))
        return row.but(variant="real")

    def by_students(self, train: ImageData | None = None) -> list[ResultRow]:
        """The accuracy on real images of a classifier trained on generated ones and, as the ceiling, of one trained on as many real ones."""
        each, seed = self.scoring.num_samples, self.scoring.seed
        if "reverse_accuracy" not in self.scoring.metrics or each * len(self.labels) < STUDENT.batch_size:
            return []
        test = of_classes(self.test, self.labels)
        image = torch.cat([part.cpu() for label in self.labels for part in sample_stream(self.drawn, each, seed=seed, label=label)])
        generated = ImageData(image.numpy(), np.repeat(self.labels, each), test.classes, "generated", "samples")
        about: dict[str, Any] = {"student": told(STUDENT), "student_seed": seed, **UNSEEN}
        rows = [self.row("reverse_accuracy", reverse_accuracy(generated, test, seed=seed), **about)]
        if train is not None:
            real = _some(of_classes(train, self.labels), each * len(self.labels), seed)
            rows.append(self.row("reverse_accuracy", reverse_accuracy(real, test, seed=seed), **about).but(variant="real"))
        return rows

    def kept(self, rows: Iterable[ResultRow], tasks: Sequence[Sequence[int]]) -> list[ResultRow]:
        """Averages over the matrix of accuracies of all tasks; ``rows`` are those of the earlier stages. Nothing where a stage is missing."""
        matrix = accuracy_matrix([*rows, *self.by_class(len(tasks) - 1)], tasks)
        if matrix is None or len(tasks) < 2:
            return []
        found = {"average_accuracy": matrix.average_accuracy, "backward_transfer": matrix.backward_transfer, "forgetting": matrix.forgetting}
        return [self.row(metric, value) for metric, value in found.items()]

    def _means(self) -> list[tuple[str, float | None]]:
        return list(zip(("accuracy", "fid"), mean_score(self.scores), strict=True))


def stage_row(
    judge: NetworkExtractor,
    test: ImageData,
    scoring: ScoringConfig,
    metric: str,
    value: float | None,
    about: Mapping[str, object],
) -> ResultRow:
    """One number of a stage, of no task and no class yet, with what it was measured by; ``about`` joins the protocol."""
    base = {
        **judged(judge),
        "num_samples": scoring.num_samples,
        "seed": scoring.seed,
        "reference": {"data": test.name, "split": test.split, "digest": test.digest},
    }
    row: dict[str, Any] = {"metric": metric, "value": value, "spread": None, "protocol": {**base, **about}, "split": test.split}
    return ResultRow.read(row | {"task": None, "class": None, **made(device_of(judge))})


def accuracy_matrix(rows: Iterable[Mapping[str, Any]], tasks: Sequence[Sequence[int]]) -> AccuracyMatrix | None:
    """The accuracy on each task (mean over its classes) after each task, from rows by class; None where one is missing."""
    by_address = {(row.task, row.class_): row.value for row in map(ResultRow.read, rows) if row.metric == "accuracy" and row.class_ is not None}
    values = np.full((len(tasks), len(tasks)), np.nan)
    for after in range(len(tasks)):
        for number, classes in enumerate(tasks[: after + 1]):
            values[after, number] = np.mean([by_address.get((after, label), np.nan) for label in classes])
    return None if np.isnan(values[np.tril_indices(len(tasks))]).any() else AccuracyMatrix(values)


def _there(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """Those that hold a number."""
    return [row for row in rows if row.value is not None]


def _some(data: ImageData, num: int, seed: int) -> ImageData:
    rows = shuffled(len(data), seed)[:num]
    assert data.label is not None
    return ImageData(np.array(data.image[rows]), np.array(data.label[rows]), data.classes, data.name, data.split)
