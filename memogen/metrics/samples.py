"""The images that scores are computed from: samples drawn by number, real images, and both as an extractor sees them."""

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
from memogen.nets.norm import evaluating
from memogen.processes import Processes, Share
from memogen.progress import Bar
from memogen.stopping import Stop
from memogen.types import GenerativeModel, ImageData, InputError, to_uint8

Source = Callable[[int, int], Tensor]
"""(start, num) to the uint8 images start to start + num - 1."""

KEPT = 1 << 26  # feature values kept in memory after the first reading, a quarter of a gigabyte
BLOCK = 250  # real images read at a time: fixed, so that a cached number equals a recomputed one


@dataclass(frozen=True)
class Work:
    """The processes that share a computation, its progress bar and the request to stop it. Default: one process, no bar, never stopped."""

    processes: Processes = field(default_factory=Processes)
    bar: Bar = field(default_factory=lambda: Bar(shown=False))
    stop: Stop = field(default_factory=Stop)

    def rounds(self, name: str, num: int, size: int) -> Iterator[Share]:
        """This process's share of ``num`` images, ``size`` at a time. The bar shows them as the stage ``name``.

        A request to stop raises KeyboardInterrupt: at once in a single process, and between two rounds, in all of them together, in several.
        """
        self.bar.stage(name, num)
        with self.stop.held(self.processes.world_size > 1):
            for share in self.processes.shares(num, size):
                self._agree()
                yield share
                self.bar.advance(share.total)
            self._agree()

    def _agree(self) -> None:
        if self.processes.any(self.stop.made):
            self.stop.made = True
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Seen:
    """A batch of images with their features and, if a score reads them, class probabilities (float64)."""

    image: UInt8[Tensor, "b c h w"]
    features: Float[Tensor, "b f"]
    probabilities: Float[Tensor, "b classes"] | None = None

    def __len__(self) -> int:
        return len(self.features)


def device_of(module: object) -> torch.device:
    """The device of an extractor or a model; the CPU for anything that is no ``nn.Module``."""
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


def model_source(model: GenerativeModel, *, seed: int = 0, label: int | None = None) -> Source:
    """The samples of ``seed``, all or those of one class, drawn in evaluation mode. Each module's mode is restored after each batch."""

    @torch.no_grad()
    def draw(start: int, num: int) -> Tensor:
        with evaluating(model) if isinstance(model, nn.Module) else nullcontext():
            image = model.sample(num, seed=seed, start=start) if label is None else model.sample(num, label=label, seed=seed, start=start)
        return to_uint8(finite(image, "samples"), model.image_range)

    return draw


def images_at(data: ImageData, rows: slice | Int[np.ndarray, " n"]) -> Tensor:
    """Some images of the data, copied into a tensor (b, c, h, w)."""
    return torch.from_numpy(np.array(data.image[rows]))


def image_source(data: ImageData, order: Int[np.ndarray, " n"]) -> Source:
    """The images of ``data`` in that order."""
    return lambda start, num: images_at(data, order[start : start + num])


def drawn_batches(
    model: GenerativeModel, num: int, *, seed: int = 0, label: int | None = None, batch_size: int = 250
) -> Iterator[UInt8[Tensor, "b c h w"]]:
    """Samples 0 to num - 1 of ``seed``, all or those of one class, in batches."""
    draw = model_source(model, seed=seed, label=label)
    for start in range(0, num, batch_size):
        yield draw(start, min(batch_size, num - start))


@dataclass(frozen=True)
class Watch:
    """Passes images through ``extractor``, ``batch_size`` at a time. ``probabilities`` False skips the class probabilities."""

    extractor: Extractor
    batch_size: int
    work: Work = field(default_factory=Work)
    probabilities: bool = True

    def __call__(self, source: Source, num: int) -> Iterator[Seen]:
        """Images 0 to num - 1 of the source, in order. Processes share the computation, and each of them gets all images."""
        device, gather = device_of(self.extractor), self.work.processes.gather
        for share in self.work.rounds("samples", num, self.batch_size):
            seen = self.look(source(share.start, share.num).to(device))
            probabilities = None if seen.probabilities is None else gather(seen.probabilities, share)
            yield Seen(gather(seen.image, share), gather(seen.features, share), probabilities)

    @torch.no_grad()
    def look(self, image: UInt8[Tensor, "b c h w"]) -> Seen:
        """Features and probabilities of images that are on the extractor's device."""
        features = finite(self.extractor.features(image), "features")
        if not self.probabilities:
            return Seen(image, features)
        logits = self.extractor.logits(features) if isinstance(self.extractor, ReadsLogits) else self.extractor(image)
        return Seen(image, features, finite(logits, "logits").double().softmax(dim=1))


class NotFiniteError(InputError):
    """Samples, features or logits are nan or infinite, so that a score of them means nothing."""


def finite(values: Tensor, what: str) -> Tensor:
    """``values`` unchanged. Raises :class:`NotFiniteError` if one of them is nan or infinite; ``what`` names them in the message."""
    if values.is_floating_point() and not bool(values.isfinite().all()):
        raise NotFiniteError(
            f"{what} are nan or infinite: the model or the extractor is broken, has diverged in training, or overflows in its precision"
        )
    return values


@torch.no_grad()
def predicted(judge: Extractor, data: ImageData, *, batch_size: int = BLOCK) -> Int[np.ndarray, " n"]:
    """The class that the judge finds most probable for each image. Raises :class:`NotFiniteError` for logits that are not finite."""
    device, found = device_of(judge), np.zeros(len(data), np.int64)
    for start in range(0, len(data), batch_size):
        rows = slice(start, start + batch_size)
        found[rows] = finite(judge(images_at(data, rows).to(device)), "logits").argmax(1).cpu().numpy()
    return found


def take(data: ImageData, rows: Int[np.ndarray, " n"]) -> ImageData:
    """Those images with their labels. The result has no digest."""
    label = None if data.label is None else np.array(data.label[rows])
    return replace(data, image=np.array(data.image[rows]), label=label, digest="")


def part_of(data: ImageData, num: int) -> ImageData:
    """``num`` images of the data, always the same ones, in their order; the data themselves if they hold no more."""
    if num >= len(data):
        return data
    part = take(data, np.sort(shuffled(len(data), 0)[:num]))
    return replace(part, digest=digest(part.image, part.label))


def shuffled(num: int, seed: int) -> Int[np.ndarray, " n"]:
    """The numbers 0 to num - 1 in an order that depends on the seed alone."""
    return np.random.default_rng(seed).permutation(num)


# --- real images ---


@dataclass(frozen=True)
class Reference:
    """Real images as an extractor sees them. ``cache`` is the folder for their statistics; None, or data without a digest, keeps them in memory.

    ``device`` is that of the extractor.
    """

    data: ImageData
    extractor: Extractor
    cache: Path | None = None
    device: torch.device | str = "cpu"
    work: Work = field(default_factory=Work)
    _known: list[Tensor] = field(default_factory=list, init=False, repr=False, compare=False)  # the features read so far, in one tensor at most

    @property
    def protocol(self) -> dict[str, object]:
        """What a result row says about the reference."""
        return {"data": self.data.name, "split": self.data.split, "digest": self.data.digest, "num": len(self.data)}

    @property
    def called(self) -> str:
        """The images' name in messages."""
        return f"images of {self.data.name} {self.data.split}"

    def look(self) -> None:
        """Reads one image. Raises InputError if there is none, or if the extractor does not read it."""
        if not len(self.data):
            raise InputError(f"data {self.data.name}: no images in split {self.data.split}: give another")
        self.extractor.features(images_at(self.data, slice(0, 1)).to(self.device))

    def features(self, num: int | None = None) -> Float[Tensor, "n f"]:
        """The features of all or at most ``num`` images, in the order of :func:`shuffled` with seed 0, since data may be sorted by class.

        Later calls read only images that no earlier call has read.
        """
        order, read = shuffled(len(self.data), 0), sum(map(len, self._known))
        wanted = len(order) if num is None else min(num, len(order))
        if read < wanted:
            new = self._extract(order[read : -(-wanted // BLOCK) * BLOCK])  # whole blocks, so that a feature does not depend on ``num``
            self._known[:] = [torch.cat([*self._known, *new])]
        return self._known[0][:wanted]

    def batches(self) -> Iterator[Float[Tensor, "b f"]]:
        """The features of all images, block by block, in the order of :meth:`features`. They are kept for it if there are at most :data:`KEPT`."""
        kept = list(self._known)
        for known in self._known:
            yield from known.split(BLOCK)
        for block in self._extract(shuffled(len(self.data), 0)[sum(map(len, kept)) :]):
            yield block
            if block[0].numel() * len(self.data) <= KEPT:
                kept.append(block)
        if sum(map(len, kept)) == len(self.data):
            self._known[:] = [torch.cat(kept)]

    def _extract(self, order: Int[np.ndarray, " n"]) -> Iterator[Float[Tensor, "b f"]]:
        for share in self.work.rounds(f"real data ({self.data.name} {self.data.split})", len(order), BLOCK):
            image = images_at(self.data, order[share.start : share.start + share.num]).to(self.device)
            with torch.no_grad():
                features = finite(self.extractor.features(image), "features").cpu()
            yield self.work.processes.gather(features, share)


def default_cache() -> Path:
    """The folder ``statistics`` in the cache of data sets."""
    return cache_root() / "statistics"


# --- labels ---


@runtime_checkable
class Conditional(Protocol):
    """A model that may be conditional on labels: ``num_labels`` is their number, 0 if it is unconditional."""

    @property
    def num_labels(self) -> int: ...


def num_labels(model: object) -> int:
    """The number of labels that a model is conditional on; 0 for an unconditional one."""
    return model.num_labels if isinstance(model, Conditional) else 0


def labels_for(model: object, data: ImageData, rows: slice) -> dict[str, Tensor]:
    """The argument ``label`` for a conditional model; empty for an unconditional one.

    Raises InputError if the data have no labels, or labels that the model does not know.
    """
    if not (known := num_labels(model)):
        return {}
    if data.label is None:
        raise InputError(f"label: {data.name} has none, and this model is conditional on {known} classes: give labelled images, or a label with them")
    label = torch.from_numpy(np.array(data.label[rows]))
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) < known:
        raise InputError(f"label: {data.name} has labels {int(label.min())} to {int(label.max())}: this model knows labels 0 to {known - 1}")
    return {"label": label}
