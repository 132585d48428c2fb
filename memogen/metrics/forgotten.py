"""Removes each class in turn from a memory, without training: how often is it still drawn, and how much worse do the others become?

Labelled training images show which slots draw the class and how much the others are to grow (:mod:`.slot_choice`). A classifier judges the samples of
the edited model.
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
from memogen.metrics.samples import Source, Watch, device_of, image_source, images_at, model_source, shuffled
from memogen.metrics.slot_choice import DRAWN, ENOUGH, HELD, drawn, without_classes
from memogen.metrics.slots import placed
from memogen.types import SlotModel


@dataclass(frozen=True)
class Forgotten:
    """One removed class. ``slots``: the number of emptied slots; ``prior``: their share of the prior. ``before``, ``after``: the class's share of the
    samples. ``floor``: how often the judge finds it in held-out images of other classes. ``distance_before``, ``distance_after``: the Fréchet
    distance of samples of the other classes to held-out images of these; both are of the same samples, the second weighted by p'(c) / p(c) of their
    slots, so that they differ by the edit alone. ``seconds``: processor time to find and empty the slots.
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
        """The class's share of the samples beyond the judge's own mistakes."""
        return self.after - self.floor

    @property
    def rise(self) -> float:
        """The relative increase of the others' distance."""
        return self.distance_after / self.distance_before - 1


class Forgetting:
    """Samples of a model and the held-out images, as the judge sees them: (features, the class that it assigns each to)."""

    def __init__(self, asked: Asked) -> None:
        assert isinstance(asked.subject, SlotModel) and asked.subject.memory is not None, "the check has passed"
        self.model, self.memory, self.seed, self.num = asked.subject, asked.subject.memory, asked.seed, asked.num_samples
        self.training = asked.trained_on("forgotten").data
        self.watch = Watch(asked.judge.extractor, asked.judge.batch_size, asked.work)
        order = shuffled(len(asked.data), 0)
        self.label = torch.from_numpy(np.array(asked.data.label, dtype=np.int64)[order])
        self.real = self._look(image_source(asked.data, order), len(order))
        drawn = self.model.latents(self.num, seed=self.seed).slot
        assert drawn is not None, "the check has passed"
        self.slot, self.drawn = drawn.cpu(), self._look(model_source(self.model, seed=self.seed), self.num)

    def _look(self, source: Source, num: int) -> tuple[Float[Tensor, "n f"], Int[Tensor, " n"]]:
        seen = [(part.features.cpu(), probabilities(part).argmax(1).cpu()) for part in self.watch(source, num)]
        return torch.cat([features for features, _ in seen]), torch.cat([found for _, found in seen])

    def of(self, label: int) -> Forgotten:
        """Removes the class from a copy of the model."""
        began = time.process_time()
        labelled = placed(self.model, self.training, num=ENOUGH)
        known, memory, gone = drawn(self.model, labelled), self.memory, torch.empty(0, dtype=torch.long)
        if label in known.label or label not in labelled.label:  # else the class is known and never drawn, and there is nothing to remove
            memory, gone = without_classes(memory, known, [label])
        seconds = time.process_time() - began
        edited: Any = deepcopy(self.model)
        edited.memory = memory
        chance, left = prior(self.memory).cpu(), prior(memory).cpu()
        weight = (left / chance)[self.slot]
        (features, found), (real, real_found), others = self.drawn, self.real, self.label != label
        stays = found != label
        rows, fitted = features[stays], moments(real[others], torch.ones(int(others.sum())))
        before, after = (gaussian_distance(*moments(rows, given), *fitted) for given in (torch.ones(len(rows)), weight[stays]))
        return Forgotten(
            slots=len(gone),
            prior=float(chance[gone].sum()),
            before=_share(~stays),
            after=_share(self._look(model_source(edited, seed=self.seed), self.num)[1] == label),
            floor=_share(real_found[others] == label),
            distance_before=before,
            distance_after=after,
            seconds=seconds,
        )


def _share(right: Bool[Tensor, " n"]) -> float:
    return float(right.double().mean())


def check(asked: Asked) -> None:
    if not isinstance(asked.subject, SlotModel) or asked.subject.memory is None or asked.subject.latents(1).slot is None:
        raise asked.unable("forgotten", "draws from no slots of a memory")
    label = asked.labels("forgotten")
    asked.labels("forgotten", asked.trained_on("forgotten").data)
    asked.check_judge("forgotten")
    dim = asked.judge.extractor.features(images_at(asked.data, slice(0, 1)).to(device_of(asked.judge.extractor))).shape[1]
    check_count(asked.num_samples // 2, dim, "samples of the classes that stay")
    check_count(int(min((label != name).sum() for name in np.unique(label))), dim, "images of the classes that stay")


def results(asked: Asked) -> Iterator[Result]:
    """Mean and maximum over the classes, each removed by itself; the protocol has the numbers of each."""
    task, named = Forgetting(asked), asked.data.classes
    found = {label: task.of(label) for label in task.label.unique().tolist()}
    by_class = {named[label] if label < len(named) else str(label): asdict(one) for label, one in found.items()}
    protocol = {"held": HELD, "known": min(ENOUGH, len(task.training)), "drawn": DRAWN, "of": asked.reference.protocol, "by_class": by_class}
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
