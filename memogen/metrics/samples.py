"""The images that feed every score: drawn by number from a model or read from data, and seen through an extractor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from memogen.data.arrays import digest
from memogen.data.cache import cache_root
from memogen.metrics.extractors import Extractor, ReadsLogits
from memogen.metrics.work import Work
from memogen.nets.norm import evaluating
from memogen.processes import Share
from memogen.types import GenerativeModel, ImageData, InputError, to_uint8

Source = Callable[[int, int], Tensor]
"""(start, num) to the uint8 images start to start + num - 1."""


@dataclass(frozen=True)
class Seen:
    """The next images, with their features and, where some score reads them, class probabilities (float64)."""

    image: UInt8[Tensor, "b c h w"]
    features: Float[Tensor, "b f"]
    probabilities: Float[Tensor, "b classes"] | None = None

    def __len__(self) -> int:
        return len(self.features)


def device_of(module: object) -> torch.device:
    """Where an extractor or a model lives; the CPU for what is no ``nn.Module``."""
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


def model_source(model: GenerativeModel, *, seed: int = 0, label: int | None = None) -> Source:
    """The samples of ``seed`` as uint8, drawn in evaluation mode; every part's mode is put back after each batch."""

    @torch.no_grad()
    def draw(start: int, num: int) -> Tensor:
        with evaluating(model) if isinstance(model, nn.Module) else nullcontext():
            image = model.sample(num, seed=seed, start=start) if label is None else model.sample(num, label=label, seed=seed, start=start)
        return to_uint8(finite(image, "samples"), model.image_range)

    return draw


def image_source(data: ImageData, order: Int[np.ndarray, " n"]) -> Source:
    """The images of ``data`` in that order."""

    def read(start: int, num: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(data.image[order[start : start + num]]))

    return read


def drawn_batches(
    model: GenerativeModel, num: int, *, seed: int = 0, label: int | None = None, batch_size: int = 250
) -> Iterator[UInt8[Tensor, "b c h w"]]:
    """Samples 0 to num - 1 of ``seed``, or those of a class, as uint8, in batches."""
    draw = model_source(model, seed=seed, label=label)
    for start in range(0, num, batch_size):
        yield draw(start, min(batch_size, num - start))


@dataclass(frozen=True)
class Watch:
    """How images are looked at: through ``extractor``, ``batch_size`` images at a time, as ``work`` goes on."""

    extractor: Extractor
    batch_size: int
    work: Work = field(default_factory=Work)
    probabilities: bool = True

    def __call__(self, source: Source, num: int) -> Iterator[Seen]:
        """Images 0 to num - 1 as the scores see them, in order; every process sees all of them."""
        device = device_of(self.extractor)
        for share in self.work.rounds("samples", num, self.batch_size):
            yield self._gathered(self.look(source(share.start, share.num).to(device)), share)

    @torch.no_grad()
    def look(self, image: UInt8[Tensor, "b c h w"]) -> Seen:
        """The images, on the extractor's device, as the scores see them."""
        features = finite(self.extractor.features(image), "features")
        if not self.probabilities:
            return Seen(image, features)
        logits = self.extractor.logits(features) if isinstance(self.extractor, ReadsLogits) else self.extractor(image)
        return Seen(image, features, finite(logits, "logits").double().softmax(dim=1))

    def _gathered(self, seen: Seen, share: Share) -> Seen:
        rows = (seen.image, seen.features, seen.probabilities)
        return Seen(*(None if each is None else self.work.processes.gather(each, share) for each in rows))  # type: ignore[arg-type]


class NotFiniteError(InputError):
    """A score of nothing was asked for: samples, features or the like that are nan or infinite."""


def finite(values: Tensor, what: str) -> Tensor:
    """``values`` themselves; raises :class:`NotFiniteError`, which names ``what`` they are, where one is nan or infinite."""
    if values.is_floating_point() and not bool(values.isfinite().all()):
        raise NotFiniteError(
            f"{what} are nan or infinite: the model or the extractor is broken, has diverged in training, or overflows in its precision"
        )
    return values


def part_of(data: ImageData, num: int) -> ImageData:
    """``num`` images of the data in their order, the same ones always; all of them where there are no more."""
    if num >= len(data):
        return data
    rows = np.sort(shuffled(len(data), 0)[:num])
    label = None if data.label is None else np.array(data.label[rows])
    image = np.array(data.image[rows])
    return replace(data, image=image, label=label, digest=digest(image, label))


# --- what samples are compared with ---
# What samples are compared with: the features of real data, their statistics kept in a small cache (safetensors, never pickle).


KEPT = 1 << 26  # numbers: features that are kept once they are read, a quarter of a gigabyte
BLOCK = 250  # images at a time wherever real data are read: fixed, so that a cached number is the number computed afresh


@dataclass(frozen=True)
class Reference:
    """Real data as one extractor sees them. ``cache`` None keeps statistics in memory only, and so does data without a digest.

    ``device`` is where the extractor lives; ``work`` says who reads and who watches.
    """

    data: ImageData
    extractor: Extractor
    cache: Path | None = None
    device: torch.device | str = "cpu"
    work: Work = field(default_factory=Work)
    _known: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)  # features read so far, by seed

    @property
    def protocol(self) -> dict[str, object]:
        """What a score needs to say about its reference."""
        return {"data": self.data.name, "split": self.data.split, "digest": self.data.digest, "num": len(self.data)}

    @property
    def called(self) -> str:
        """The images in words."""
        return f"images of {self.data.name} {self.data.split}"

    def look(self) -> None:
        """Raises InputError where there are no images, or such as the extractor does not read."""
        if not len(self.data):
            raise InputError(f"data {self.data.name}: no images in split {self.data.split}: give another")
        self.extractor.features(image_source(self.data, np.arange(1))(0, 1).to(self.device))

    def features(self, num: int | None = None, *, seed: int = 0) -> Float[Tensor, "n f"]:
        """The features of all or at most ``num`` images, in an order drawn by ``seed``: data sorted by class are not cut after the first classes.

        No image is read twice, however often and however many are asked for.
        """
        order = shuffled(len(self.data), seed)
        wanted = len(order) if num is None else min(num, len(order))
        known = self._known.setdefault(seed, torch.empty(0))
        if len(known) < wanted:
            new = self._extract(order[len(known) : -(-wanted // BLOCK) * BLOCK])  # whole blocks, so that a feature does not depend on ``num``
            self._known[seed] = torch.cat([*([known] if len(known) else []), *new])
        return self._known[seed][:wanted]

    def batches(self) -> Iterator[Float[Tensor, "b f"]]:
        """The features of all images, block by block, in the order of :meth:`features`; no image is read twice, unless they are too many to keep."""
        known = self._known.get(0, torch.empty(0))
        kept = [known] if len(known) else []
        yield from known.split(BLOCK) if len(known) else ()
        for block in self._extract(shuffled(len(self.data), 0)[len(known) :]):
            yield block
            if block[0].numel() * len(self.data) <= KEPT:
                kept.append(block)
        if sum(map(len, kept)) == len(self.data):
            self._known[0] = torch.cat(kept)

    def _extract(self, order: Int[np.ndarray, " n"]) -> Iterator[Float[Tensor, "b f"]]:
        read = image_source(self.data, order)
        for share in self.work.rounds(f"real data ({self.data.name} {self.data.split})", len(order), BLOCK):
            with torch.no_grad():
                features = finite(self.extractor.features(read(share.start, share.num).to(self.device)), "features").cpu()
            yield self.work.processes.gather(features, share)


def default_cache() -> Path:
    """``statistics`` in the folder where data sets are cached."""
    return cache_root() / "statistics"


def shuffled(num: int, seed: int) -> Int[np.ndarray, " n"]:
    """The numbers 0 to num - 1 in an order that depends on the seed alone."""
    return np.random.default_rng(seed).permutation(num)


# --- labels ---
# The labels of images, for a model that is told them.


@runtime_checkable
class Conditional(Protocol):
    """A model that may be conditional on labels: ``num_labels`` says on how many, 0 for none."""

    @property
    def num_labels(self) -> int: ...


def num_labels(model: object) -> int:
    """How many labels a model is conditional on; 0 for none."""
    return model.num_labels if isinstance(model, Conditional) else 0


def labels_for(model: object, data: ImageData, rows: slice) -> dict[str, Tensor]:
    """The labels of those images under the name by which a model asks for them; nothing for a model that is told none.

    Raises InputError where the data have none, or others than the model knows.
    """
    if not (known := num_labels(model)):
        return {}
    if data.label is None:
        raise InputError(f"label: {data.name} has none, and this model is conditional on {known} classes: give labelled images, or a label with them")
    label = torch.from_numpy(np.array(data.label[rows]))
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) < known:
        raise InputError(f"label: {data.name} has labels {int(label.min())} to {int(label.max())}: this model knows labels 0 to {known - 1}")
    return {"label": label}
