"""Result rows of a model after a task: class by class where it knows classes, by the classes of its samples where not, and by the protocol of the
continual benchmark, for this library's models and anybody's method alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch

from ..data.task_sequence import of_classes
from ..metrics import METRICS, evaluate, score_images
from ..metrics.accuracy import STUDENT, ClassJudge, ClassScore, class_references, mean_score, real_accuracy, reverse_accuracy
from ..metrics.exam import Exam
from ..metrics.extractors import NetworkExtractor
from ..metrics.forgetting import AccuracyMatrix
from ..metrics.modes import class_shares
from ..metrics.rows import UNSEEN, ResultRow, judged, made
from ..metrics.samples import Work, device_of, drawn_batches, shuffled
from ..metrics.slot_contents import slot_recall
from ..recipes import ScoringConfig
from ..types import ClassModel, CostedObjective, GenerativeModel, ImageData, SlotModel


@dataclass(frozen=True)
class ClassStage:
    """``model`` after a task, judged by ``judge`` against the real ``test`` images; ``scoring`` says how many samples of a class, and how drawn."""

    model: ClassModel
    judge: NetworkExtractor
    test: ImageData
    scoring: ScoringConfig
    work: Work = field(default_factory=Work)

    @property
    def drawn(self) -> GenerativeModel:
        """The model, drawing by the statistics that are asked for."""
        return self.model.drawing_by(self.scoring.statistics)

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
        rows += [self.row(metric, value, task=task) for metric, value in zip(("accuracy", "fid"), mean_score(self.scores), strict=True)]
        return [row for row in rows if row.value is not None]

    def over_classes(self) -> list[ResultRow]:
        """What a table shows: the means over the classes learned so far."""
        accuracy, fid = mean_score(self.scores)
        rows = [self.row("accuracy", accuracy, learned=len(self.labels)), self.row("fid", fid, over="classes, each by itself")]
        return [row for row in rows if row.value is not None]

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
        image = torch.cat([part.cpu() for label in self.labels for part in drawn_batches(self.drawn, each, seed=seed, label=label)])
        generated = ImageData(image.numpy(), np.repeat(self.labels, each), test.classes, "generated", "samples")
        about: dict[str, Any] = {"student": asdict(STUDENT), "student_seed": seed, **UNSEEN}
        rows = [self.row("reverse_accuracy", reverse_accuracy(generated, test, seed=seed), **about)]
        if train is not None:
            real = of_classes(train, self.labels)
            some = shuffled(len(real), seed)[: each * len(self.labels)]
            assert real.label is not None
            real = replace(real, image=np.array(real.image[some]), label=np.array(real.label[some]), digest="")
            rows.append(self.row("reverse_accuracy", reverse_accuracy(real, test, seed=seed), **about).but(variant="real"))
        return rows

    def kept(self, rows: Iterable[ResultRow], tasks: Sequence[Sequence[int]]) -> list[ResultRow]:
        """Averages over the matrix of accuracies of all tasks; ``rows`` are those of the earlier stages. Nothing where a stage is missing."""
        matrix = accuracy_matrix([*rows, *self.by_class(len(tasks) - 1)], tasks)
        if matrix is None or len(tasks) < 2:
            return []
        found = {"average_accuracy": matrix.average_accuracy, "backward_transfer": matrix.backward_transfer, "forgetting": matrix.forgetting}
        return [self.row(metric, value) for metric, value in found.items()]

    def cost(self, objective: object, tasks: Sequence[Sequence[int]], *, steps: int, batch_size: int) -> list[ResultRow]:
        """What keeping the past took, where the objective counts it."""
        if not isinstance(objective, CostedObjective):
            return []
        found = objective.cost(self.model, [len(classes) for classes in tasks], steps=steps, batch_size=batch_size)
        return [self.row(metric, value, **UNSEEN) for metric, value in found.items()]


@dataclass(frozen=True)
class UnlabelledStage:
    """``model`` after task ``number`` of ``tasks``, judged by ``judge`` against the real ``test`` images of all classes that came so far."""

    model: GenerativeModel
    judge: NetworkExtractor
    test: ImageData
    scoring: ScoringConfig
    number: int
    tasks: tuple[tuple[int, ...], ...]
    work: Work = field(default_factory=Work)

    @cached_property
    def seen(self) -> tuple[int, ...]:
        """The classes that came so far."""
        return tuple(chain.from_iterable(self.tasks[: self.number + 1]))

    @cached_property
    def reference(self) -> ImageData:
        """Their test images."""
        return of_classes(self.test, self.seen)

    def rows(self) -> list[ResultRow]:
        """Shares of the classes, inception score and Fréchet distance, and what the memory recalls; after the last task again as the run's end."""
        whole = [*self._shares(), *self._images(), *self._slots()]
        found = [row.but(task=self.number) for row in whole]
        if self.number + 1 < len(self.tasks):
            return found
        ends = [row for row in whole if row.class_ is None]
        return [*found, *ends, *score_images(self.test, self.test, extractor=self.judge, metrics=("is",), progress=False)]

    def _shares(self) -> list[ResultRow]:
        found = class_shares(self.model, self.judge, self.seen, self.scoring.num_samples, seed=self.scoring.seed, work=self.work)
        rows = [self._row("class_share", float(found.share[label]), label) for label in self.seen]
        rows.append(self._row("unseen_share", found.elsewhere))
        return rows if found.divergence is None else [*rows, self._row("class_divergence", found.divergence)]

    def _images(self) -> list[ResultRow]:
        num = self.scoring.num_samples
        dim = self.judge.features(torch.from_numpy(np.array(self.test.image[:1])).to(device_of(self.judge))).shape[1]
        enough = dim < min(num, len(self.reference))  # for a covariance
        plain = [name for name in self.scoring.judged if METRICS[name].batched and not METRICS[name].needs & {"labels", "train"}]
        metrics = tuple(name for name in plain if enough or name != "fid")
        if not metrics:
            return []
        return evaluate(self.model, self.reference, extractor=self.judge, metrics=metrics, num_samples=num, seed=self.scoring.seed, progress=False)

    def _slots(self) -> list[ResultRow]:
        """By class, and over the classes of the earlier tasks."""
        if not isinstance(self.model, SlotModel) or self.model.memory is None:
            return []
        found = slot_recall(self.model, self.reference, self.judge, seed=self.scoring.seed)
        rows = [self._row("slot_recall", each.recalled, each.label) for each in found]
        rows += [self._row("slot_recognition", each.recognised, each.label) for each in found]
        old = set(chain.from_iterable(self.tasks[: self.number]))
        earlier = [each for each in found if each.label in old]
        if earlier:
            rows.append(self._row("slot_recall", float(np.mean([each.recalled for each in earlier]))))
            rows.append(self._row("slot_recognition", float(np.mean([each.recognised for each in earlier]))))
        return rows

    def _row(self, metric: str, value: float, label: int | None = None) -> ResultRow:
        about: dict[str, object] = {}
        if metric.startswith("slot"):  # asked with held-out images, not with samples
            asked = of_classes(self.test, [label] if label is not None else list(chain.from_iterable(self.tasks[: self.number])))
            about = {"num_samples": len(asked)} | ({"over": "classes of earlier tasks"} if label is None else {})
        return stage_row(self.judge, self.test, self.scoring, metric, value, about).but(class_=label)


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


def accuracy_matrix(rows: Iterable[Mapping[str, Any]], tasks: Sequence[Sequence[int]], *, metric: str = "accuracy") -> AccuracyMatrix | None:
    """The accuracy on each task (mean over its classes) after each task, from rows by class; None where one is missing."""
    by_address = {(row.task, row.class_): row.value for row in map(ResultRow.read, rows) if row.metric == metric and row.class_ is not None}
    values = np.full((len(tasks), len(tasks)), np.nan)
    for after in range(len(tasks)):
        for number, classes in enumerate(tasks[: after + 1]):
            values[after, number] = np.mean([by_address.get((after, label), np.nan) for label in classes])
    return None if np.isnan(values[np.tril_indices(len(tasks))]).any() else AccuracyMatrix(values)


@dataclass(frozen=True)
class Kept:
    """Bytes that a learner holds when the last task begins, besides the task's images: ``carried`` in all, of which ``past`` keeps the earlier tasks.

    ``past`` None: it cannot be told from the rest. ``drawn``: images that generators drew in training, None where they were not counted.
    """

    carried: int
    past: int | None = None
    drawn: int | None = None

    def numbers(self) -> dict[str, float]:
        """The known numbers by their names in result rows."""
        found = {"generated_images": self.drawn, "kept_megabytes": None if self.past is None else self.past / 1e6}
        found |= {"carried_megabytes": self.carried / 1e6}
        return {name: float(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Examined:
    """Rows by the protocol of the continual benchmark. What they say of the training is added by the caller."""

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
        for name, metric in (("forgetting", "accuracy"), ("reverse_forgetting", "reverse_accuracy")):
            matrix = accuracy_matrix(rows, self.exam.tasks, metric=metric)
            if matrix is not None and len(matrix.values) > 1:
                found.append(self._row(name, matrix.forgetting, protocol))
        return found + [self._row(metric, value, UNSEEN) for metric, value in kept.numbers().items()]

    def real(self, train: ImageData) -> list[ResultRow]:
        """What real images reach: as many training images in the place of samples, and the accuracy of test images."""
        last = len(self.exam.tasks) - 1
        part = of_classes(train, self.exam.seen(last))
        numbers = self.exam.real(train).numbers() | {"accuracy": real_accuracy(self.exam.test, self.exam.seen(last), self.exam.judge)}
        named = {"data": train.name, "split": train.split, "digest": part.digest}
        protocol = self.exam.protocol(last, replace(part, digest="")) | {"num_samples": min(self.exam.num_samples, len(part)), "images": named}
        return [self._row(metric, value, protocol).but(variant="real") for metric, value in numbers.items()]

    def _row(self, metric: str, value: float, about: Mapping[str, Any]) -> ResultRow:
        row: dict[str, Any] = {"metric": metric, "value": value, "spread": None, "protocol": {**judged(self.exam.judge), **about}}
        return ResultRow.read(row | {"split": self.exam.test.split, "task": None, "class": None, **made(device_of(self.exam.judge))})
