"""What the slots of a memory hold: what images of one slot share, whether old classes are still recalled, and which slots each class uses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memogen.metrics.extractors import Extractor
from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.samples import BLOCK, Work, device_of, finite, images_at, labels_for
from memogen.metrics.slots import Placed, variance_between
from memogen.types import ImageData, InputError, Latents, Pixels, SlotModel, to_uint8

# --- what images of one slot share ---

SHOWN = 2000  # images, and samples, at most

Views = dict[str, Tensor]
"""Rows of numbers that stand for images, a row for each image, by name: mean colours, pixels, features."""


@dataclass(frozen=True)
class Contents:
    """The slot of each image, and the images as rows of numbers of several kinds."""

    slot: Int[Tensor, " n"]
    views: Mapping[str, Float[Tensor, "n _"]]

    @property
    def num_slots(self) -> int:
        """The number of different slots."""
        return len(self.slot.unique())

    def between(self) -> dict[str, float]:
        """The share of each view's variance that lies between slots."""
        return {name: variance_between(rows, self.slot) for name, rows in self.views.items()}


def image_contents(asked: Placed, *, judge: Extractor | None = None, num: int = SHOWN, work: Work | None = None) -> Contents:
    """The first ``num`` of the images, each with its most probable real slot; ``judge`` adds its features to the views."""
    slot = asked.slot[:num]
    return Contents(slot, _gathered(work or Work(), "images", len(slot), lambda rows: _views(judge, images_at(asked.images, rows))))


@torch.no_grad()
def sample_contents(
    model: SlotModel, *, judge: Extractor | None = None, num: int = SHOWN, seed: int = 0, work: Work | None = None
) -> Contents | None:
    """``num`` samples, each with the slot that it was drawn from; None if the generator reads no slot."""
    if model.memory is None or model.latents(1).slot is None:
        return None

    def look(rows: slice) -> Views:
        latents = model.latents(rows.stop - rows.start, seed=seed, start=rows.start)
        assert latents.slot is not None, "the first one has a slot"
        return {"slot": latents.slot, **_views(judge, to_uint8(model.decode(latents), model.image_range))}

    views = _gathered(work or Work(), "samples", num, look)
    return Contents(views.pop("slot"), views)


def _gathered(work: Work, name: str, num: int, look: Callable[[slice], Views]) -> Views:
    """The views of images 0 to ``num`` - 1, block by block."""
    found = list[Views]()
    for turn in work.rounds(name, num, BLOCK):
        views = look(slice(turn.start, turn.start + turn.num))
        found.append({each: work.processes.gather(rows, turn).cpu() for each, rows in views.items()})
    return {each: torch.cat([part[each] for part in found]) for each in found[0]}


@torch.no_grad()
def _views(judge: Extractor | None, image: UInt8[Tensor, "b c h w"]) -> Views:
    plain = {"mean colours": image.double().mean((2, 3)), "pixels": image.flatten(1).double()}
    return plain if judge is None else {**plain, "the classifier's features": judge.features(image.to(device_of(judge))).double()}


# --- recall of classes, by a model that was never told them ---


@dataclass(frozen=True)
class SlotRecall:
    """For the held-out images of one class. ``recalled``: the share whose most probable real slot draws an image of the class, by the judge.
    ``recognised``: the share whose most probable slot of all is a real one.
    """

    label: int
    recalled: float
    recognised: float


@torch.no_grad()
def slot_recall(model: SlotModel, data: ImageData, extractor: Extractor, *, seed: int = 0) -> list[SlotRecall]:
    """For every class in ``data``; image i is drawn with noise i of ``seed``. Raises InputError if the generator reads no slot."""
    if model.memory is None or model.latents(1).slot is None:
        raise InputError("slot recall: the generator of this model reads no memory slot: use a model with memory")
    assert data.label is not None, "held-out images come with labels"
    recalled, recognised = list[Tensor](), list[Tensor]()
    for start in range(0, len(data), BLOCK):
        image = images_at(data, slice(start, start + BLOCK)).to(model.memory.keys.device)
        posterior = model.memory.posterior(model.encode(image))
        real = model.memory.values > 0.5
        recognised.append(real[posterior.argmax(1)].cpu())
        index = torch.arange(start, start + len(image), device=image.device)
        latents = model.latents_at(index, seed=seed, slot=posterior.masked_fill(~real, -1).argmax(1))
        drawn = to_uint8(model.decode(latents), model.image_range)
        recalled.append(extractor(drawn.to(device_of(extractor))).argmax(1).cpu())
    right, known = torch.cat(recalled).numpy() == data.label, torch.cat(recognised).numpy()
    return [
        SlotRecall(int(label), float(right[data.label == label].mean()), float(known[data.label == label].mean())) for label in np.unique(data.label)
    ]


# --- which slots of an attention memory each class uses (Li et al. 2016, section 5.2, Fig. 3) ---

ADDRESSED = 1000  # images at once


@runtime_checkable
class AddressesSlots(Protocol):
    """A model whose images address memory slots: ``addresses`` gives a weight for each slot, one tensor for each memory, from the data up.

    Row i's latent is a function of (``seed``, ``start`` + i). A conditional model is also given ``label``.
    """

    def addresses(self, image: Pixels, *, seed: int, start: int) -> tuple[Float[Tensor, "b _"], ...]: ...


@runtime_checkable
class ShowsPrior(Protocol):
    """A model whose prior may be learned: the mean of the posteriors of ``prior_slots`` pseudo-inputs; 0 for the standard normal."""

    image_range: tuple[float, float]

    @property
    def prior_slots(self) -> int: ...
    def prior_picture(self, *, decoded: bool = False) -> Float[Tensor, "k c h w"]: ...


@runtime_checkable
class ShowsSlots(AddressesSlots, Protocol):
    """A model whose slots can be drawn, and whose memories can be left out layer by layer; layers count from the data up."""

    image_range: tuple[float, float]

    @property
    def slot_counts(self) -> tuple[int, ...]: ...
    def slot_picture(self, slots: Sequence[int] | None = None, *, layer: int = 0) -> Float[Tensor, "b c h w"]: ...
    def latents(self, num: int, *, seed: int = 0) -> Latents: ...
    def decode(self, latents: Latents, *, without_memory: Collection[int] = ()) -> Float[Tensor, "b c h w"]: ...


@dataclass(frozen=True)
class Preferences:
    """``by_layer[i][c, s]``: the mean share of slot s of memory i over the images of class c; a row sums to one. ``pixels``: the same of pixels."""

    by_layer: tuple[Float[np.ndarray, "classes _"], ...]
    pixels: Float[np.ndarray, "classes chw"]
    classes: tuple[str, ...]

    def layer(self, number: int) -> Float[np.ndarray, "classes slots"]:
        """The shares in memory ``number``, from the data up. Raises InputError."""
        if not 0 <= number < len(self.by_layer):
            raise InputError(f"layer: {number}: memories are in layers 0 (next to the data) to {len(self.by_layer) - 1}")
        return self.by_layer[number]

    def top(self, number: int, num: int = 3) -> list[list[tuple[int, float]]]:
        """For each class, the ``num`` slots of a memory with the largest shares, and these, in descending order (Table 4)."""
        table = self.layer(number)
        best = np.argsort(-table, axis=1, kind="stable")[:, :num]
        return [[(int(slot), float(row[slot])) for slot in slots] for row, slots in zip(table, best, strict=True)]

    def unused(self, number: int, below: float = 1e-3) -> int:
        """The number of slots of a memory whose mean share over all classes is below ``below``."""
        return int((self.layer(number).mean(0) < below).sum())


@torch.no_grad()
def slot_preferences(model: AddressesSlots, data: ImageData, *, seed: int = 0, work: Work | None = None) -> Preferences:
    """From the images, not binarised, with one z ~ q(z | x) each: each image's slot weights divided by their sum, then means over classes.

    Raises InputError if the data have no labels.
    """
    if data.label is None:
        raise InputError(f"preferences: {data.name} has no labels, and they are means over classes: choose a labelled data set")
    work, device = work or Work(), device_of(model)
    classes = data.classes or tuple(str(number) for number in range(int(data.label.max()) + 1))
    sums: list[Tensor] = []
    for turn in work.rounds("preferences", len(data), ADDRESSED):
        rows = slice(turn.start, turn.start + turn.num)
        image = images_at(data, rows)
        label = work.processes.gather(torch.from_numpy(np.array(data.label[rows])), turn)
        addresses: Callable[..., tuple[Tensor, ...]] = model.addresses
        parts = (*addresses(image.to(device), seed=seed, start=turn.start, **labels_for(model, data, rows)), image.flatten(1))
        member = torch.nn.functional.one_hot(label.cpu(), len(classes)).double()
        found = []
        for part in parts:
            weight = work.processes.gather(finite(part, "the slots' weights"), turn).double().cpu()
            share = weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)  # a black image has no shares: zeros
            found.append(member.T @ share)
        sums = [total + more for total, more in zip(sums, found, strict=True)] if sums else found
    counts = np.bincount(data.label, minlength=len(classes))
    present = np.flatnonzero(counts)
    *layers, pixels = ((total.numpy()[present] / counts[present, None]) for total in sums)
    return Preferences(tuple(layers), pixels, tuple(classes[k] for k in present))


def class_correlation(table: Float[np.ndarray, "classes slots"]) -> Float[np.ndarray, "classes classes"]:
    """Pearson's correlation of each two classes over the columns (Fig. 3c-d). A constant row has correlation 0 with every other.

    departs: the authors' script divides by deviations that it has overwritten in part; this is the coefficient itself.
    """
    centred = table - table.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-12)
    found = unit @ unit.T
    np.fill_diagonal(found, 1.0)
    return found.clip(-1, 1)


def strongest(correlation: Float[np.ndarray, "classes classes"], num: int = 8) -> list[tuple[int, int, float]]:
    """The ``num`` pairs of classes with the largest correlation, in descending order."""
    first, second = np.triu_indices(len(correlation), 1)
    value = correlation[first, second]
    order = np.argsort(-value, kind="stable")[:num]
    return [(int(first[k]), int(second[k]), float(value[k])) for k in order]


# --- the metric ---

RANKS = 3  # slots of a class that have a row, as in Table 4


def check(asked: Asked) -> None:
    if not isinstance(asked.subject, AddressesSlots):
        raise asked.unable("slots", "has no slots that images address")
    asked.labels("slots")
    addresses: Callable[..., object] = asked.subject.addresses
    addresses(images_at(asked.data, slice(0, 1)), seed=0, start=0, **labels_for(asked.subject, asked.data, slice(0, 1)))


def results(asked: Asked) -> Iterator[Result]:
    """For ranks 1 to 3: the mean over classes of the share of their slot of that rank, in the memory next to the data (Table 4)."""
    found = slot_preferences(asked.subject, asked.data, seed=asked.seed, work=asked.work)
    top = found.top(0, RANKS)
    for rank in range(min(RANKS, found.by_layer[0].shape[1])):
        by_class = {name: {"slot": row[rank][0], "share": row[rank][1]} for name, row in zip(found.classes, top, strict=True)}
        protocol = {"rank": rank + 1, "layer": 0, "by_class": by_class, "num_samples": len(asked.data)}
        yield Result("slot_preference", float(np.mean([row[rank][1] for row in top])), None, protocol)


SLOTS = Metric(
    "slots",
    "which classes ask for which",
    (Number("slot_preference", "preference", "higher", lambda protocol: str(protocol.get("rank", ""))),),
    needs("model", "labels"),
    results,
    check,
)

RECALLED = (Number("slot_recall", "slots recalled", "higher"), Number("slot_recognition", "slots recognised", "higher"))
"""Numbers of a sequence of tasks without labels."""
