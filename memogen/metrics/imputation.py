"""Imputation: masks of missing pixels, their refinement by a model that reconstructs, and its error (Li et al. 2016, section 5.4, Table 2)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.samples import Work, device_of, images_at, labels_for, num_labels, part_of
from memogen.noise import Stream, uniform
from memogen.types import ImageData, InputError, Pixels, to_range

STEPS = 100
BATCH = 1000  # images refined together, as in the paper's code; matters for normalisation by the batch
_FORMS = "rect-12 (a square of so many pixels in the middle), rand-0.6 (each pixel with that probability), half (the left one), or an image file"


@runtime_checkable
class Reconstructs(Protocol):
    """A model that encodes images, draws one latent for each and gives the mean of its decoder, all in its ``image_range``.

    The latent of row i is a function of (``seed``, ``step``, ``start`` + i). With ``batch_statistics=True`` the model normalises by these images
    instead of its stored statistics; it is given only if True. ``label`` is given to a conditional model only.
    """

    image_range: tuple[float, float]

    def reconstruct(self, image: Float[Tensor, "b c h w"], *, seed: int, step: int, start: int) -> Float[Tensor, "b c h w"]: ...


@dataclass(frozen=True)
class Refinement:
    """``steps`` reconstructions, with noise and latents of ``seed``; ``by_batch`` normalises by the batch, as the code of Li et al. 2016 does."""

    steps: int = STEPS
    seed: int = 0
    by_batch: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps: {self.steps}: give 1 or more")


@dataclass(frozen=True)
class ImputationError:
    """``errors[t]``: the mean squared error over the missing pixels of all images after t steps, in the model's range; ``errors[0]``: noise."""

    mask: str
    errors: tuple[float, ...]
    missing: int
    num_images: int
    refinement: Refinement
    image_range: tuple[float, float] = (0.0, 1.0)
    labelled: bool = False

    @property
    def value(self) -> float:
        """The error after the last step."""
        return self.errors[-1]

    @property
    def protocol(self) -> dict[str, object]:
        """What a result row says."""
        last = len(self.errors) - 1
        curve = {str(step): self.errors[step] for step in (0, 1, 10, last) if step <= last}
        asked = {"mask": self.mask, "steps": last, "num_samples": self.num_images, "missing_pixels": self.missing, "seed": self.refinement.seed}
        batch = block(self.num_images, by_batch=self.refinement.by_batch)
        asked |= {"statistics": "batch" if self.refinement.by_batch else "training data", "batch": batch, "fill": "decoder mean", "start": "uniform"}
        return {**asked, **({"labels": "given"} if self.labelled else {}), "image_range": self.image_range, "errors": curve}


def missing_pixels(mask: str, size: tuple[int, int], num: int, *, seed: int = 0, start: int = 0) -> Bool[Tensor, "b 1 h w"]:
    """Which pixels are missing, the same in all channels. ``mask`` is "rect-12", "rand-0.6", "half", or an image file whose white pixels are missing.

    A random mask is a function of (``seed``, image number); numbers begin at ``start``. Raises InputError for another mask.
    """
    height, width = size
    if found := re.fullmatch(r"rect-(\d+)", mask):
        side = int(found[1])
        if not 0 < side <= min(size):
            raise InputError(f"mask rect-{side}: images are {height} x {width}: choose a side from 1 to {min(size)}")
        rows, columns = ((torch.arange(length) >= (length - side) // 2) & (torch.arange(length) < (length - side) // 2 + side) for length in size)
        one = rows[:, None] & columns
    elif found := re.fullmatch(r"rand-(0?\.\d+|1(?:\.0*)?)", mask):
        drawn = uniform(torch.arange(start, start + num), height * width, seed=seed, stream=Stream.MASK, dtype=torch.float64)
        return (drawn < float(found[1])).view(num, 1, height, width)
    elif mask == "half":
        one = (torch.arange(width) < width // 2).expand(height, width)
    else:
        one = _from_file(Path(mask), size)
    return one.expand(num, 1, height, width)


def refine(
    model: Reconstructs,
    image: Float[Tensor, "b c h w"],
    missing: Bool[Tensor, "b 1 h w"],
    how: Refinement = Refinement(),
    *,
    start: int = 0,
    label: Int[Tensor, " b"] | None = None,
) -> Iterator[Float[Tensor, "b c h w"]]:
    """The images with uniform noise on [0, 1) in their missing pixels, then with each reconstruction there; the other pixels stay.

    Image i's noise is a function of (``how.seed``, ``start`` + i).
    """
    noise = uniform(torch.arange(start, start + len(image)), image[0].numel(), seed=how.seed, stream=Stream.START, dtype=image.dtype)
    filled = torch.where(missing, noise.view(image.shape).to(image.device), image)
    reconstruct: Callable[..., Tensor] = model.reconstruct
    if how.by_batch:
        reconstruct = partial(reconstruct, batch_statistics=True)
    if label is not None:
        reconstruct = partial(reconstruct, label=label)
    yield filled
    for step in range(how.steps):
        filled = torch.where(missing, reconstruct(filled, seed=how.seed, step=step, start=start), image)
        yield filled


@dataclass(frozen=True)
class Completed:
    """Images in the model's range, their missing pixels, and the images after steps 0 (noise), 1, 10 and the last."""

    image: Float[Tensor, "b c h w"]
    missing: Bool[Tensor, "b 1 h w"]
    stages: tuple[tuple[int, Float[Tensor, "b c h w"]], ...]

    @property
    def images(self) -> Float[Tensor, "b c h w"]:
        """The images after the last step."""
        return self.stages[-1][1]

    @property
    def errors(self) -> tuple[tuple[int, float], ...]:
        """(step, mean squared error over the missing pixels), if ``image`` holds their true values."""
        where = self.missing.expand(self.image.shape)
        return tuple((step, float((filled - self.image)[where].double().square().mean())) for step, filled in self.stages)


def complete(model: Reconstructs, data: ImageData, mask: str, how: Refinement = Refinement(), *, work: Work | None = None) -> Completed:
    """The images of ``data`` with the pixels of ``mask`` filled in, on the CPU. Raises InputError if no pixel is missing."""
    kept, parts = sorted({step for step in (0, 1, 10) if step < how.steps} | {how.steps}), list[tuple[Tensor, ...]]()
    for turn in (work or Work()).rounds(f"imputation, {mask}", len(data), block(len(data), by_batch=how.by_batch)):
        image, missing, way = _asked(model, data, slice(turn.start, turn.start + turn.num), mask, how)
        parts.append((image.cpu(), missing.cpu(), *(filled.cpu() for step, filled in enumerate(way) if step in kept)))
    image, missing, *stages = (torch.cat(each) for each in zip(*parts, strict=True))
    _check_filled(mask, bool(missing.any()), bool(stages[-1].isfinite().all()))
    return Completed(image, missing, tuple(zip(kept, stages, strict=True)))


@torch.no_grad()
def imputation_error(model: Reconstructs, data: ImageData, mask: str, how: Refinement = Refinement(), *, work: Work | None = None) -> ImputationError:
    """The error over the missing pixels of ``data``, all images pooled, not binarised; :data:`BATCH` images are refined at a time."""
    work, found = work or Work(), list[Tensor]()
    for turn in work.rounds(f"imputation, {mask}", len(data), block(len(data), by_batch=how.by_batch)):
        image, missing, way = _asked(model, data, slice(turn.start, turn.start + turn.num), mask, how)
        where = missing.expand(image.shape)
        errors = [((filled - image) * where).double().square().flatten(1).sum(1) for filled in way]
        found.append(work.processes.gather(torch.stack([*errors, where.flatten(1).sum(1).double()], 1), turn).cpu())
    *squares, count = torch.cat(found).sum(0).tolist()
    _check_filled(mask, bool(count), all(map(math.isfinite, squares)))
    told = bool(num_labels(model))
    return ImputationError(mask, tuple(square / count for square in squares), int(count), len(data), how, model.image_range, told)


def block(num: int, *, by_batch: bool) -> int:
    """How many of ``num`` images are refined together: :data:`BATCH`; with ``by_batch`` slightly fewer if the last batch would hold a single image.

    Raises InputError for a single image ``by_batch``.
    """
    if not by_batch:
        return BATCH
    if num < 2:
        raise InputError("imputation: a single image has no batch statistics: give two or more, or leave by_batch out")
    return next(size for size in range(BATCH, 1, -1) if num % size != 1)


def _asked(
    model: Reconstructs, data: ImageData, rows: slice, mask: str, how: Refinement
) -> tuple[Float[Tensor, "b c h w"], Bool[Tensor, "b 1 h w"], Iterator[Float[Tensor, "b c h w"]]]:
    """Those images on the model's device, their missing pixels, and the stages of their refinement."""
    device = device_of(model)
    if how.by_batch:  # a process without images left takes the last one; here it takes the last two, as one image is no batch
        rows = slice(min(rows.start, len(data) - 2), rows.stop)
    image = shown(model, images_at(data, rows)).to(device)
    missing = missing_pixels(mask, data.image_shape[1:], len(image), seed=how.seed, start=rows.start).to(device)
    return image, missing, refine(model, image, missing, how, start=rows.start, **labels_for(model, data, rows))


def _check_filled(mask: str, missing: bool, finite: bool) -> None:
    if not missing:
        raise InputError(f"mask {mask!r}: no pixel is missing: choose {_FORMS}")
    if not finite:
        raise InputError("imputation: a reconstruction is nan or infinite: the model is broken, or has diverged in training")


def shown(model: Reconstructs, image: Pixels) -> Float[Tensor, "b c h w"]:
    """Bytes in the model's range; real numbers unchanged."""
    return to_range(image, model.image_range) if image.dtype == torch.uint8 else image


def _from_file(path: Path, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    if not path.is_file():
        raise InputError(f"mask {str(path)!r}: unknown, and no such file: choose {_FORMS}")
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("L"))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"mask {path}: cannot be read as an image ({error}): give a black and white PNG") from error
    if pixels.shape != size:
        raise InputError(f"mask {path}: it is {pixels.shape[0]} x {pixels.shape[1]}, the images {size[0]} x {size[1]}: make it as large as they are")
    return torch.from_numpy(pixels >= 128)


# --- the metric ---


def check(asked: Asked) -> None:
    if not isinstance(asked.subject, Reconstructs):
        raise asked.unable("imputation", "reconstructs no images")
    for mask in asked.how.masks:
        missing_pixels(mask, asked.data.image_shape[1:], 1)
    labels_for(asked.subject, asked.data, slice(0, None))


def results(asked: Asked) -> Iterator[Result]:
    """Each mask twice: with the statistics of the training data and, for two or more images, with those of the batch, as in the authors' code."""
    part = part_of(asked.data, asked.num_samples)
    for mask in asked.how.masks:
        for by_batch in (False, True)[: len(part)]:
            how = Refinement(asked.how.refinements, asked.seed, by_batch)
            found = imputation_error(asked.subject, part, mask, how, work=asked.work)
            yield Result("imputation_mse", found.value, None, found.protocol)


def _told_apart(protocol: Mapping[str, Any]) -> str:
    """The mask, and whose statistics the model normalises by."""
    return f"{protocol.get('mask', '')}{' by batch' if protocol.get('statistics') == 'batch' else ''}".strip()


IMPUTATION = Metric(
    "imputation",
    "the error over missing pixels",
    (
        Number(
            "imputation_mse",
            "error",
            "lower",
            _told_apart,
            order=tuple(f"{mask}{by}" for mask in ("rect-12", "rand-0.6", "half") for by in (" by batch", "")),
        ),
    ),
    needs("model"),
    results,
    check,
)
