"""How a model that learns a stream without labels stands after a task, as result rows; the classes of the data score it and never reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
import torch

from .data.stream import of_classes
from .metrics import METRICS, evaluate, score_images
from .metrics.extractors import NetworkExtractor
from .metrics.modes import class_shares
from .metrics.rows import ResultRow
from .metrics.slot_contents import slot_recall
from .metrics.stream import device_of
from .metrics.work import Work
from .models import MemoryGAN
from .recipes import ScoringConfig
from .stages import stage_row
from .types import ImageData


@dataclass(frozen=True)
class UnlabelledStage:
    """``model`` after task ``number`` of ``tasks``, judged by ``judge`` against the real ``test`` images of all classes that came so far."""

    model: MemoryGAN
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
        plain = [name for name in self.scoring.judged if METRICS[name].streamed and not METRICS[name].needs & {"labels", "train"}]
        metrics = tuple(name for name in plain if enough or name != "fid")
        if not metrics:
            return []
        return evaluate(self.model, self.reference, extractor=self.judge, metrics=metrics, num_samples=num, seed=self.scoring.seed, progress=False)

    def _slots(self) -> list[ResultRow]:
        """By class, and over the classes of the earlier tasks."""
        if self.model.memory is None:
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
