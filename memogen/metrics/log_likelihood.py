"""The log-likelihood of images by importance sampling (Burda et al. 2016, Eq. 8; Li et al. 2016, section 5.1), with what it is worth.

log p(x) is estimated by log 1/k sum_j w_j with w_j = p(x, z_j) / q(z_j | x). The estimate is below log p(x) on average, and rises with k.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memogen.data.arrays import digest
from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.paired import PerImage
from memogen.metrics.samples import device_of, part_of
from memogen.metrics.work import Work
from memogen.noise import Stream, bits, uniform
from memogen.types import ImageData, InputError, LikelihoodModel, Pixels

CHUNK = 1000  # importance samples at a time on a CPU: memory is bounded by this
GPU_CHUNK = 20_000


@runtime_checkable
class AddressedWeights(Protocol):
    """A likelihood model whose samples ``start``, ``start`` + 1, ... of an image are functions of (``seed``, the image's ``index``, their number)."""

    def log_weights(self, image: Pixels, *, num_samples: int, seed: int, start: int, index: Tensor) -> Float[Tensor, "s b"]: ...


class WeightSums:
    """The sums of weights over samples and of their squares, batched in logarithms; float64, one of each for every image."""

    def __init__(self) -> None:
        self.count = 0
        self._first = self._second = torch.tensor(-math.inf, dtype=torch.float64)  # log sum w, log sum w^2
        self._logs = torch.zeros((), dtype=torch.float64)

    def update(self, log_weights: Float[Tensor, "s ..."]) -> None:
        """Add more weights."""
        log_w = log_weights.detach().to("cpu", torch.float64)
        if torch.isnan(log_w).any() or (log_w == torch.inf).any():
            raise InputError("log-likelihood: a log weight is nan or infinite: the model is broken, or has diverged in training")
        self.count += len(log_w)
        self._logs = self._logs + log_w.sum(0)
        self._first = torch.logaddexp(self._first, log_w.logsumexp(0))
        self._second = torch.logaddexp(self._second, (2 * log_w).logsumexp(0))

    @property
    def log_mean(self) -> Float[Tensor, "*b"]:
        """The estimate of log p(x)."""
        return self._first - math.log(self.count)

    @property
    def mean_log(self) -> Float[Tensor, "*b"]:
        """The estimate of the evidence lower bound: the mean of the log weights."""
        return self._logs / self.count

    @property
    def effective(self) -> Float[Tensor, "*b"]:
        """The effective sample size (sum w)^2 / sum w^2, between 1 and the count (Kong 1992); 0 where all weights are zero."""
        return (2 * self._first - self._second).exp().nan_to_num(nan=0.0)

    @property
    def error(self) -> Float[Tensor, "*b"]:
        """The standard error of ``log_mean`` by the delta method: that of the mean weight over the mean weight. nan for one sample."""
        if self.count < 2:
            return torch.full_like(self._first, math.nan)
        spread = (self.count / self.effective - 1).clamp_min(0) / (self.count - 1)
        return spread.sqrt().where(self.effective > 0, math.nan)


@dataclass(frozen=True)
class Likelihood:
    """Per image, and per number of samples in ``at``: the log-likelihood in nats, its standard error, the effective sample size, the ELBO.

    ``chunk`` is None where the samples do not depend on how many are drawn at a time.
    """

    at: tuple[int, ...]
    log_likelihood: Float[np.ndarray, "n at"]
    error: Float[np.ndarray, "n at"]
    effective: Float[np.ndarray, "n at"]
    bound: Float[np.ndarray, "n at"]
    seed: int = 0
    chunk: int | None = None

    @property
    def value(self) -> float:
        """The mean over images with all samples, in nats."""
        return float(self.log_likelihood[:, -1].mean())

    @property
    def spread(self) -> float:
        """The standard error of that mean over the images as a draw from their distribution; nan for a single image."""
        final = self.log_likelihood[:, -1]
        return float(final.std(ddof=1) / math.sqrt(len(final))) if len(final) > 1 else math.nan

    @property
    def sampling_error(self) -> float:
        """The standard error of that mean for these very images, from the importance samples alone."""
        return float(np.sqrt(np.square(self.error[:, -1]).sum()) / len(self.error))

    @property
    def elbo(self) -> float:
        """The mean over images of the evidence lower bound, averaged over all samples, in nats."""
        return float(self.bound[:, -1].mean())

    @property
    def protocol(self) -> dict[str, object]:
        """What a result row says."""
        curve = {str(k): {"nats": float(self.log_likelihood[:, i].mean()), **_spread_of(self.effective[:, i])} for i, k in enumerate(self.at)}
        shared = {"importance_samples": self.at[-1], "num_samples": len(self.log_likelihood), "seed": self.seed}
        shared |= {} if self.chunk is None else {"chunk": self.chunk}
        return {**shared, "sampling_error": _plain(self.sampling_error), "elbo": self.elbo, "by_importance_samples": curve, "unit": "nats"}


class LikelihoodInterrupted(KeyboardInterrupt):
    """A wish to stop came before the last image; ``found`` holds the estimates of those before it, None where there are none."""

    def __init__(self, found: Likelihood | None) -> None:
        super().__init__(f"log-likelihood, {0 if found is None else len(found.log_likelihood):,} images")
        self.found = found


@torch.no_grad()
def log_likelihood(
    model: LikelihoodModel,
    data: ImageData,
    *,
    num_samples: int = 5000,
    at: Sequence[int] = (),
    seed: int = 0,
    chunk: int | None = None,
    work: Work | None = None,
) -> Likelihood:
    """Estimate log p(x) of every image of ``data`` from ``num_samples`` importance samples, in bounded memory.

    Image i's samples are a function of (``seed``, i) alone. A model of :class:`AddressedWeights` draws them so by itself; for any other torch's
    generator is set for each ``chunk`` of them, and put back at the end. ``at`` are the numbers of samples, besides the last, at which the
    estimates are given; by default the powers of ten. ``chunk`` (by default :data:`CHUNK`, on a GPU :data:`GPU_CHUNK`) bounds the samples that are
    drawn together.
    The images are taken as they are: binarise them first where the model wants it. Raises :class:`LikelihoodInterrupted` where ``work`` is stopped.
    """
    stops, device, work = _stops(num_samples, at), device_of(model), work or Work()
    addressed, found = _is_addressed(model), list[Tensor]()
    chunk = chunk or (GPU_CHUNK if device.type == "cuda" and addressed else CHUNK)
    estimate = _addressed if addressed else _seeded
    shared = (tuple(stops), seed, None if addressed else chunk)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for turn in work.rounds("log-likelihood", len(data), max(1, chunk // stops[-1]) if addressed else 1):
                rows = np.arange(turn.start, turn.start + turn.num)
                image = torch.from_numpy(np.array(data.image[rows])).to(device)
                found.append(work.processes.gather(estimate(model, image, rows, stops, seed, chunk), turn))
    except KeyboardInterrupt as stopped:
        raise LikelihoodInterrupted(_gathered(found, *shared) if found else None) from stopped
    return _gathered(found, *shared)


def _gathered(found: list[Tensor], at: tuple[int, ...], seed: int, chunk: int | None) -> Likelihood:
    table = torch.cat(found).numpy()
    return Likelihood(at, table[:, 0], table[:, 1], table[:, 2], table[:, 3], seed, chunk)


def _is_addressed(model: LikelihoodModel) -> bool:
    """By the arguments, which a protocol cannot be asked for."""
    return {"seed", "start", "index"} <= set(inspect.signature(model.log_weights).parameters)


def _addressed(model: LikelihoodModel, image: Tensor, rows: np.ndarray, stops: list[int], seed: int, chunk: int) -> Float[Tensor, "b 4 at"]:
    """The images' estimates at each stop, from samples that the model addresses."""
    assert isinstance(model, AddressedWeights)
    index = torch.from_numpy(rows).to(image.device)

    def draw(first: int, size: int) -> Tensor:
        return model.log_weights(image, num_samples=size, seed=seed, start=first, index=index)

    return _estimates_at(draw, stops, max(1, chunk // len(rows)))


def _seeded(model: LikelihoodModel, image: Tensor, rows: np.ndarray, stops: list[int], seed: int, chunk: int) -> Float[Tensor, "b 4 at"]:
    """One image's estimates at each stop, from samples of torch's generator."""
    parts = count()

    def draw(first: int, size: int) -> Tensor:
        torch.manual_seed(int(bits(torch.from_numpy(rows), 1, seed=seed, stream=Stream.IMPORTANCE + next(parts))) % 2**63)
        return model.log_weights(image, num_samples=size)

    return _estimates_at(draw, stops, chunk)


def _estimates_at(draw: Callable[[int, int], Tensor], stops: list[int], chunk: int) -> Float[Tensor, "b 4 at"]:
    """All weights through the sums, looked at on the way."""
    sums, rows = WeightSums(), []
    for size in _sizes(stops, chunk):
        sums.update(draw(sums.count, size))
        if sums.count in stops:
            rows.append(torch.stack([sums.log_mean, sums.error, sums.effective, sums.mean_log], 1))
    return torch.stack(rows, 2)


def _stops(num_samples: int, at: Sequence[int]) -> list[int]:
    if num_samples < 1 or any(not 1 <= k <= num_samples for k in at):
        raise InputError(f"log-likelihood: {num_samples} importance samples, looked at after {list(at)}: give at least 1, and looks within them")
    powers = [10**power for power in range(len(str(num_samples)))]
    return sorted({*(at or powers), num_samples})


def _sizes(stops: list[int], chunk: int) -> Iterator[int]:
    """Steps of at most ``chunk`` that touch every stop."""
    done = 0
    for stop in stops:
        while done < stop:
            step = min(chunk, stop - done)
            done += step
            yield step


def _spread_of(effective: np.ndarray) -> dict[str, float]:
    return {"effective_mean": float(effective.mean()), "effective_least": float(effective.min())}


def _plain(value: float) -> float | None:
    """A number as JSON can hold it."""
    return value if math.isfinite(value) else None


# --- black and white images ---
# Grey images to black and white ones, drawn once and the same for every model: a likelihood of them depends on the draw, so it is named.


_IMAGES_AT_ONCE = 1000


@dataclass(frozen=True)
class Binarisation:
    """A pixel v is white with probability v / ``levels``, a real number p with probability p: by noise addressed by (``seed``, image, pixel).

    ``levels`` 256 is the scale of the MNIST that most published likelihoods used; 255 makes them about a nat larger. They must not be mixed.
    """

    seed: int = 0
    levels: int = 255

    def __post_init__(self) -> None:
        if self.levels not in (255, 256):
            raise InputError(f"binarisation: {self.levels} levels: choose 255, or 256 as in the files that published likelihoods used")

    @property
    def protocol(self) -> dict[str, object]:
        """What a result row says."""
        return {"binarisation": f"one draw, p = v / {self.levels}", "binarisation_seed": self.seed}

    def apply(self, data: ImageData) -> ImageData:
        """The same data in black and white, float32 0 and 1, so that no scale of pixels can touch them any more; the digest is another."""
        parts = []
        for start in range(0, len(data), _IMAGES_AT_ONCE):
            image = torch.from_numpy(np.array(data.image[start : start + _IMAGES_AT_ONCE]))
            index = torch.arange(start, start + len(image))
            noise = uniform(index, image[0].numel(), seed=self.seed, stream=Stream.BINARISE_TEST, dtype=torch.float64).view(image.shape)
            white = image.double() / (self.levels if image.dtype == torch.uint8 else 1)
            parts.append((noise < white).to(torch.float32))
        pixels = torch.cat(parts).numpy()
        return replace(data, image=pixels, digest=hashlib.sha256(pixels.data).hexdigest())


# --- held-out images ---
# Held-out images as a model's likelihood takes them, and its bounds of them over training.


@runtime_checkable
class Binarises(Protocol):
    """Grey images must be binarised, a byte v being white with probability v / ``binary_levels``, to have a likelihood; None: they need not."""

    @property
    def binary_levels(self) -> int | None: ...


def observable(model: object, data: ImageData, *, seed: int) -> tuple[ImageData, dict[str, object]]:
    """The images in black and white where the model wants them so, drawn once by ``seed`` for all models; and what a protocol says of it."""
    levels = model.binary_levels if isinstance(model, Binarises) else None
    if not levels:
        return data, {"binarisation": "none"}
    drawn = Binarisation(seed, levels)
    return drawn.apply(data), drawn.protocol


@dataclass(frozen=True)
class HeldOutBounds:
    """An evaluator: the mean lower bound of ``images``, which are as the model observes them, in nats; and that of ``num_samples`` samples."""

    images: ImageData
    num_samples: int = 10

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        """Neither the training ``data`` nor the ``seed`` matters. Raises InputError for a model without a likelihood."""
        if not isinstance(model, LikelihoodModel):
            raise InputError(f"bound: a {type(model).__name__} has no likelihood: choose a MEM-VAE")
        found = log_likelihood(model, self.images, num_samples=self.num_samples, at=(self.num_samples,))
        return {"images": float(len(self.images)), "lower_bound": found.elbo, f"bound_of_{self.num_samples}_samples": found.value}


# --- the metric ---


def check(asked: Asked) -> None:
    """Refuse a model without a likelihood."""
    if not isinstance(asked.subject, LikelihoodModel):
        raise asked.unable("nll", "has no likelihood")


def results(asked: Asked) -> Iterator[Result]:
    """The importance-weighted bound and, from the same samples, the evidence lower bound."""
    images, binarisation = observable(asked.subject, asked.data, seed=asked.how.binarisation_seed)
    part = part_of(images, asked.num_samples)
    try:
        found = log_likelihood(asked.subject, part, num_samples=asked.how.importance_samples, seed=asked.seed, work=asked.work)
    except LikelihoodInterrupted as stopped:
        if stopped.found is not None:
            yield from _bounds(stopped.found, {**binarisation, "interrupted": True})
        raise
    settings = {"importance_samples": asked.how.importance_samples, "seed": asked.seed, "binarisation": binarisation["binarisation"]}
    name = digest(part.image, None)
    for result, values in zip(_bounds(found, binarisation), (found.log_likelihood[:, -1], found.bound[:, -1]), strict=True):
        yield replace(result, per_image=PerImage(result.metric, values, name, settings))


def _bounds(found: Likelihood, binarisation: dict[str, object]) -> tuple[Result, Result]:
    protocol = {**found.protocol, **binarisation}
    lower = found.bound[:, -1]
    spread = float(lower.std(ddof=1) / np.sqrt(len(lower))) if len(lower) > 1 else None
    whole = Result("log_likelihood", found.value, found.spread if len(lower) > 1 else None, protocol)
    return whole, Result("elbo", found.elbo, spread, protocol)


LOG_LIKELIHOOD = Metric(
    "nll",
    "log-likelihood",
    (Number("log_likelihood", "log-likelihood", "higher"), Number("elbo", "lower bound", "higher")),
    needs("model", "likelihood"),
    results,
    check,
)
