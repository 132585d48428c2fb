"""Few-shot generation: five held-out pictures of a class that was not in the training data are written into the memory as slots, without training.

How often do images from the new slots show the class, and does the memory assign its other pictures to them?
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.memory.edit import added
from memogen.memory.inspect import best_slots
from memogen.metrics.metric import Asked, Metric, Number, Result, needs, probabilities
from memogen.metrics.samples import Watch, finite, predicted, shuffled, take
from memogen.metrics.slots import queries
from memogen.types import InputError, SlotModel, to_uint8

PICTURES = 5  # of the new class
TRIES = 20  # choices of these pictures
DRAWN = 100  # images from the new slots, for each choice


@dataclass(frozen=True)
class Few:
    """For one class and one choice of pictures. ``drawn``: the shares of the images from the new slots that the judge assigns to each class.
    ``recalled``: the share of the class's other pictures whose most probable real slot is a new one; ``mistaken``: the same of all other classes.
    """

    drawn: Float[Tensor, " classes"]
    recalled: float
    mistaken: float


def unseen(asked: Asked) -> list[int]:
    """The classes of the held-out images that no training image has. Raises InputError without labels."""
    return sorted(set(asked.labels("few").tolist()) - set(asked.labels("few", asked.trained_on("few").data).tolist()))


def check(asked: Asked) -> None:
    if not isinstance(asked.subject, SlotModel) or asked.subject.memory is None or asked.subject.latents(1).slot is None:
        raise asked.unable("few", "draws from no slots of a memory")
    label = unseen(asked)
    if not label:
        raise InputError(f"metric few: every class of {asked.data.name} was trained on: use data whose training images lack one, or leave few out")
    least = min(int((asked.labels("few") == one).sum()) for one in label)
    if least <= PICTURES:
        raise InputError(f"metric few: {least} images of an unseen class are too few: give {PICTURES + 1} at least")


def tried(asked: Asked, label: int, query: Float[Tensor, "n d"], seed: int) -> Few:
    """One choice of pictures, drawn by ``seed``. The new slots together get the share of the prior that each class would have if all were equal.
    ``query`` holds the queries of all held-out images.
    """
    model, memory, labels = asked.subject, asked.subject.memory, asked.labels("few")
    of = torch.from_numpy(labels == label)
    rows = of.nonzero()[:, 0][torch.from_numpy(shuffled(int(of.sum()), seed))]
    edited = deepcopy(model)
    edited.memory, slots = added(memory, query[rows[:PICTURES]], share=1 / len(np.unique(labels)))
    found = torch.isin(best_slots(edited.memory, query.to(memory.keys.device)), slots).cpu()

    @torch.no_grad()
    def draw(start: int, num: int) -> Tensor:
        index = torch.arange(start, start + num, device=slots.device)
        latents = edited.latents_at(index, seed=seed, slot=slots[index % len(slots)])
        return to_uint8(finite(edited.decode(latents), "samples"), edited.image_range)

    seen = Watch(asked.judge.extractor, asked.judge.batch_size, asked.work)(draw, DRAWN)
    drawn = torch.cat([probabilities(part) for part in seen])
    counts = torch.bincount(drawn.argmax(1).cpu(), minlength=drawn.shape[1]).double()
    return Few(counts / DRAWN, float(found[rows[PICTURES:]].double().mean()), float(found[~of].double().mean()))


def results(asked: Asked) -> Iterator[Result]:
    """Means over the choices of pictures and the unseen classes; the spread is over the choices."""
    named, labels, query = asked.data.classes, asked.labels("few"), queries(asked.subject, asked.data)
    found = {label: [tried(asked, label, query, asked.seed + turn) for turn in range(TRIES)] for label in unseen(asked)}
    protocol: dict[str, object] = {"pictures": PICTURES, "tries": TRIES, "num_samples": DRAWN, "of": asked.reference.protocol}
    protocol["drawn_as"] = {
        named[label]: {named[k]: round(float(share), 4) for k, share in enumerate(torch.stack([one.drawn for one in tries]).mean(0)) if share > 0}
        for label, tries in found.items()
    }
    judge, right = asked.judge.extractor, []
    for label in found:  # the judge's own accuracy on real pictures, which no generator can be expected to pass
        part = take(asked.data, np.flatnonzero(labels == label))
        right.append(float((predicted(judge, part, batch_size=len(part)) == label).mean()))
    protocol["judge"] = fmean(right)
    for name, values in (
        ("few_drawn", [[float(one.drawn[label]) for one in tries] for label, tries in found.items()]),
        ("few_recalled", [[one.recalled for one in tries] for tries in found.values()]),
        ("few_mistaken", [[one.mistaken for one in tries] for tries in found.values()]),
    ):
        yield Result(name, fmean(map(fmean, values)), fmean(map(stdev, values)), protocol)


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
