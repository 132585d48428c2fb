"""The one stream of images that feeds every score: drawn by number from a model or read from data, and seen through an extractor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from memogen.evaluation.features import Extractor, ReadsLogits
from memogen.evaluation.processes import Turn
from memogen.evaluation.work import Work
from memogen.types import GenerativeModel, ImageData, to_uint8

Source = Callable[[int, int], Tensor]
"""(start, num) to the uint8 images start to start + num - 1."""


@dataclass(frozen=True)
class Seen:
    """The next images of the stream, with their features and, where some score reads them, class probabilities (float64)."""

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
        with _evaluation_mode(model):
            image = model.sample(num, seed=seed, start=start) if label is None else model.sample(num, label=label, seed=seed, start=start)
        return to_uint8(image, model.image_range)

    return draw


def image_source(data: ImageData, order: Int[np.ndarray, " n"]) -> Source:
    """The images of ``data`` in that order."""

    def read(start: int, num: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(data.image[order[start : start + num]]))

    return read


def sample_stream(
    model: GenerativeModel, num: int, *, seed: int = 0, label: int | None = None, batch_size: int = 250
) -> Iterator[UInt8[Tensor, "b c h w"]]:
    """Samples 0 to num - 1 of ``seed``, or those of a class, as uint8, in batches."""
    draw = model_source(model, seed=seed, label=label)
    for start in range(0, num, batch_size):
        yield draw(start, min(batch_size, num - start))


@dataclass(frozen=True)
class Watch:
    """How a stream is looked at: through ``extractor``, ``batch_size`` images at a time, as ``work`` goes on."""

    extractor: Extractor
    batch_size: int
    work: Work = field(default_factory=Work)
    probabilities: bool = True

    def __call__(self, source: Source, num: int) -> Iterator[Seen]:
        """Images 0 to num - 1 as the scores see them, in order; every process sees all of them."""
        device = device_of(self.extractor)
        for turn in self.work.rounds("samples", num, self.batch_size):
            yield self._gathered(self.look(source(turn.start, turn.num).to(device)), turn)

    @torch.no_grad()
    def look(self, image: UInt8[Tensor, "b c h w"]) -> Seen:
        """The images, on the extractor's device, as the scores see them."""
        features = self.extractor.features(image)
        if not self.probabilities:
            return Seen(image, features)
        logits = self.extractor.logits(features) if isinstance(self.extractor, ReadsLogits) else self.extractor(image)
        return Seen(image, features, logits.double().softmax(dim=1))

    def _gathered(self, seen: Seen, turn: Turn) -> Seen:
        rows = (seen.image, seen.features, seen.probabilities)
        return Seen(*(None if each is None else self.work.processes.gather(each, turn) for each in rows))  # type: ignore[arg-type]


@contextmanager
def _evaluation_mode(model: GenerativeModel) -> Iterator[None]:
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, nn.Module) else []
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode
