"""What a few pictures of a class that training never showed are worth, written into the memory as slots without any training.

Of data whose training images lack classes that the held-out images have: five held-out pictures of such a class become slots. What does the
generator draw from them, and does the memory find the other pictures of the class again?
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.memory.edit import added
from memogen.memory.inspect import best_slots
from memogen.metrics.extractors import Extractor
from memogen.metrics.metric import Asked, Metric, Number, Result, needs, probabilities
from memogen.metrics.samples import Source, Watch, device_of, finite, shuffled
from memogen.metrics.slots import queries
from memogen.types import ImageData, InputError, SlotModel, to_uint8

PICTURES = 5  # of the new class
TRIES = 20  # choices of these pictures
DRAWN = 100  # images from the new slots, for each choice


@dataclass(frozen=True)
class Few:
    """Of one class and one choice of pictures. ``drawn``: the parts of the images from the new slots that the judge takes for each class.
    ``recalled``: of the class's other pictures, the part whose most probable real slot is a new one; ``mistaken``: the same of all other classes.
    """

    drawn: Float[Tensor, " classes"]
    recalled: float
    mistaken: float


def unseen(asked: Asked) -> list[int]:
    """The classes of the held-out images that no training image has."""
    asked.labelled("few", asked.data)
    asked.labelled("few", asked.trained_on("few").data)
    return sorted(set(_labels(asked.data).tolist()) - set(_labels(asked.trained_on("few").data).tolist()))


def _labels(data: ImageData) -> Int[np.ndarray, " n"]:
    assert data.label is not None, "the check has looked"
    return np.asarray(data.label)


def check(asked: Asked) -> None:
    """Refuse a model that draws from no slots, and data of which every class was trained on, or an unseen one has too few pictures."""
    if not isinstance(asked.subject, SlotModel) or asked.subject.memory is None or asked.subject.latents(1).slot is None:
        raise asked.unable("few", "draws from no slots of a memory")
    label = unseen(asked)
    if not label:
        raise InputError(f"metric few: every class of {asked.data.name} was trained on: use data whose training images lack one, or leave few out")
    counts = [int((_labels(asked.data) == one).sum()) for one in label]
    if min(counts) <= PICTURES:
        raise InputError(f"metric few: {min(counts)} images of an unseen class are too few: give {PICTURES + 1} at least")


def drawn_from(model: Any, slots: Int[Tensor, " n"], *, seed: int) -> Source:
    """Images of the slots in turn."""

    @torch.no_grad()
    def draw(start: int, num: int) -> Tensor:
        index = torch.arange(start, start + num, device=slots.device)
        return to_uint8(finite(model.decode(model.latents_at(index, seed=seed, slot=slots[index % len(slots)])), "samples"), model.image_range)

    return draw


def tried(asked: Asked, label: int, query: Float[Tensor, "n d"], seed: int) -> Few:
    """One choice of pictures, by ``seed``; the new slots together get the share of the prior that each class would have. ``query`` is that of every
    held-out image.
    """
    model, memory = asked.subject, asked.subject.memory
    of = torch.from_numpy(_labels(asked.data) == label)
    rows = of.nonzero()[:, 0][torch.from_numpy(shuffled(int(of.sum()), seed))]
    share = 1 / len(np.unique(_labels(asked.data)))
    edited = deepcopy(model)
    edited.memory, slots = added(memory, query[rows[:PICTURES]], share=share)
    found = torch.isin(best_slots(edited.memory, query.to(memory.keys.device)), slots).cpu()
    seen = Watch(asked.judge.extractor, asked.judge.batch_size, asked.work)(drawn_from(edited, slots, seed=seed), DRAWN)
    drawn = torch.cat([probabilities(part) for part in seen])
    counts = torch.bincount(drawn.argmax(1).cpu(), minlength=drawn.shape[1]).double()
    return Few(counts / DRAWN, float(found[rows[PICTURES:]].double().mean()), float(found[~of].double().mean()))


def results(asked: Asked) -> Iterator[Result]:
    """Means over the choices of pictures, and over the unseen classes where there are several; the spread is over choices."""
    named, found = asked.data.classes, dict[int, list[Few]]()
    query = queries(asked.subject, asked.data)
    judge = asked.judge.extractor
    for label in unseen(asked):
        found[label] = [tried(asked, label, query, asked.seed + turn) for turn in range(TRIES)]
    protocol: dict[str, object] = {"pictures": PICTURES, "tries": TRIES, "num_samples": DRAWN, "of": asked.reference.protocol}
    protocol["drawn_as"] = {
        named[label]: {named[k]: round(float(share), 4) for k, share in enumerate(torch.stack([one.drawn for one in tries]).mean(0)) if share > 0}
        for label, tries in found.items()
    }
    right = [_seen_right(judge, asked.data, label) for label in found]
    protocol["judge"] = fmean(right)
    for name, values in (
        ("few_drawn", [[float(one.drawn[label]) for one in tries] for label, tries in found.items()]),
        ("few_recalled", [[one.recalled for one in tries] for tries in found.values()]),
        ("few_mistaken", [[one.mistaken for one in tries] for tries in found.values()]),
    ):
        yield Result(name, fmean(map(fmean, values)), fmean(map(stdev, values)), protocol)


def _seen_right(judge: Extractor, data: ImageData, label: int) -> float:
    """The part of the class's own pictures that the judge takes for it: what no generator can be expected to pass."""
    image = torch.from_numpy(np.array(data.image[_labels(data) == label])).to(device_of(judge))
    return float((judge(image).argmax(1) == label).double().mean())


FEW = Metric(
    "few",
    "five pictures of an unseen class written as slots",
    (
        Number("few_drawn", "drawn of an unseen class", "higher"),
        Number("few_recalled", "its pictures found again", "higher"),
        Number("few_mistaken", "others taken for it", "lower"),
    ),
    needs("extractor", "model", "labels", "train"),
    results,
    check,
)
