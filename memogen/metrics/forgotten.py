"""What a model still draws of a class after the class was forgotten, and what that cost the others: the slots that hold it are emptied.

Each class in turn: labelled training images say which slots hold it and how much the others are to grow (:mod:`.slot_choice`), and a classifier
looks at the samples of the edited model. Nothing is trained.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memogen.memory.inspect import prior
from memogen.metrics.fid import check_count, gaussian_distance, moments
from memogen.metrics.metric import Asked, Metric, Number, Result, needs, probabilities
from memogen.metrics.samples import Source, Watch, model_source, shuffled
from memogen.metrics.slot_choice import ENOUGH, HELD, without_classes
from memogen.metrics.slots import placed
from memogen.types import InputError, SlotModel


@dataclass(frozen=True)
class Images:
    """What the judge sees of images: their features, and the class that it takes each for."""

    features: Float[Tensor, "n f"]
    found: Int[Tensor, " n"]


@dataclass(frozen=True)
class Forgotten:
    """One class that was forgotten. ``before`` and ``after``: its share of the samples. ``floor``: how often the judge finds it in held-out images
    of other classes. ``distance_before``, ``distance_after``: the Fréchet distance of samples of the other classes to held-out images of these. Both
    are of the same samples, after weighted by p'(c) / p(c) of their slots, so that they differ by the edit and not by the luck of other draws.
    ``prior``: what the emptied ``slots`` held of the prior. ``seconds``: of the processor, to find and empty them.
    """

    slots: int
    prior: float
    before: float
    after: float
    floor: float
    distance_before: float
    distance_after: float
    seconds: float

    @property
    def left(self) -> float:
        """The share of the samples beyond the judge's own mistakes."""
        return self.after - self.floor

    @property
    def rise(self) -> float:
        """Of the others' distance, as a part of what it was."""
        return self.distance_after / self.distance_before - 1


class Forgetting:
    """A model, the images that tell its slots and those that it is compared with, as one judge sees them."""

    def __init__(self, asked: Asked) -> None:
        assert isinstance(asked.subject, SlotModel) and asked.subject.memory is not None, "the check has looked"
        self.model, self.memory, self.seed, self.num = asked.subject, asked.subject.memory, asked.seed, asked.num_samples
        self.training, work, judge = asked.trained_on("forgotten").data, asked.work, asked.judge.extractor
        self.watch = Watch(judge, asked.judge.batch_size, work)
        order = shuffled(len(asked.data), 0)
        self.label = torch.from_numpy(np.array(asked.data.label, dtype=np.int64)[order])
        self.real = self.look(lambda start, num: torch.from_numpy(np.array(asked.data.image[order[start : start + num]])), len(order))
        drawn = self.model.latents(self.num, seed=self.seed).slot
        assert drawn is not None, "the check has looked"
        self.slot, self.drawn = drawn.cpu(), self.look(model_source(self.model, seed=self.seed), self.num)

    def look(self, source: Source, num: int) -> Images:
        """Images 0 to ``num`` - 1 of the source."""
        seen = [(part.features.cpu(), probabilities(part).argmax(1).cpu()) for part in self.watch(source, num)]
        return Images(torch.cat([features for features, _ in seen]), torch.cat([found for _, found in seen]))

    def of(self, label: int) -> Forgotten:
        """The class forgotten, in a copy of the model."""
        began = time.process_time()
        memory, gone = without_classes(self.memory, placed(self.model, self.training, num=ENOUGH), [label])
        seconds = time.process_time() - began
        edited: Any = deepcopy(self.model)
        edited.memory = memory
        chance, left = prior(self.memory).cpu(), prior(memory).cpu()
        weight = (left / chance)[self.slot]
        others, stays = self.label != label, self.drawn.found != label
        real, rows = self.real.features[others], self.drawn.features[stays]
        fitted = moments(real, torch.ones(len(real)))
        before, after = (gaussian_distance(*moments(rows, given), *fitted) for given in (torch.ones(len(rows)), weight[stays]))
        return Forgotten(
            slots=len(gone),
            prior=float(chance[gone].sum()),
            before=_share(~stays),
            after=_share(self.look(model_source(edited, seed=self.seed), self.num).found == label),
            floor=_share(self.real.found[others] == label),
            distance_before=before,
            distance_after=after,
            seconds=seconds,
        )


def _share(right: Bool[Tensor, " n"]) -> float:
    return float(right.double().mean())


def check(asked: Asked) -> None:
    """Refuse a model without slots that its generator reads, data without labels, and too few images for a distance."""
    if not isinstance(asked.subject, SlotModel) or asked.subject.memory is None or asked.subject.latents(1).slot is None:
        raise asked.unable("forgotten", "draws from no slots of a memory")
    for data in (asked.data, asked.trained_on("forgotten").data):
        asked.labelled("forgotten", data)
    known = probabilities(Watch(asked.judge.extractor, 1).look(torch.from_numpy(np.array(asked.data.image[:1])))).shape[1]
    label = np.asarray(asked.data.label)
    if int(label.max()) >= known:
        raise InputError(f"metric forgotten: the extractor knows {known} classes, the images {int(label.max()) + 1}: use a classifier of the data")
    dim = asked.judge.extractor.features(torch.from_numpy(np.array(asked.data.image[:1]))).shape[1]
    check_count(asked.num_samples // 2, dim, "samples of the classes that stay")
    check_count(int(min((label != name).sum() for name in np.unique(label))), dim, "images of the classes that stay")


def results(asked: Asked) -> Iterator[Result]:
    """Means over the classes, each forgotten by itself, and the worst of them; what each one gave is in the protocol."""
    task, named = Forgetting(asked), asked.data.classes
    found = {label: task.of(label) for label in task.label.unique().tolist()}
    by_class = {named[label] if label < len(named) else str(label): asdict(one) for label, one in found.items()}
    protocol = {"held": HELD, "known": min(ENOUGH, len(task.training)), "of": asked.reference.protocol, "by_class": by_class}
    left, rise = [one.left for one in found.values()], [one.rise for one in found.values()]
    yield Result("forgotten_left", fmean(left), None, protocol)
    yield Result("forgotten_left_most", max(left), None, protocol)
    yield Result("forgotten_cost", fmean(rise), None, protocol)
    yield Result("forgotten_cost_most", max(rise), None, protocol)
    yield Result("forgotten_seconds", max(one.seconds for one in found.values()), None, protocol)


FORGOTTEN = Metric(
    "forgotten",
    "each class in turn taken out of the memory",
    (
        Number("forgotten_left", "left of a forgotten class", "lower"),
        Number("forgotten_left_most", "most left of one", "lower"),
        Number("forgotten_cost", "rise of the others' distance", "lower"),
        Number("forgotten_cost_most", "largest rise", "lower"),
        Number("forgotten_seconds", "processor seconds to forget", "lower", tabled=False),
    ),
    needs("extractor", "model", "labels", "train"),
    results,
    check,
)
