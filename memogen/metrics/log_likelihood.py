"""The log-likelihood of images by importance sampling (Burda et al. 2016, Eq. 8; Li et al. 2016, section 5.1), with its errors.

log p(x) is estimated by log 1/k sum_j w_j with w_j = p(x, z_j) / q(z_j | x): below log p(x) on average, and rising with k.
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
from memogen.metrics.samples import Work, device_of, images_at, part_of
from memogen.noise import Stream, bits, uniform
from memogen.types import ImageData, InputError, LikelihoodModel, Pixels

CHUNK = 1000  # importance samples at a time on a CPU, which bounds memory
GPU_CHUNK = 20_000


@runtime_checkable
class AddressedWeights(Protocol):
    """A likelihood model whose samples ``start``, ``start`` + 1, ... are functions of ``seed``, the image's ``index`` and the sample's number."""

    def log_weights(self, image: Pixels, *, num_samples: int, seed: int, start: int, index: Tensor) -> Float[Tensor, "s b"]: ...


class WeightSums:
    """For each image, the sums of the weights and of their squares over samples, in batches; logarithms in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._first = self._second = torch.tensor(-math.inf, dtype=torch.float64)  # log sum w, log sum w^2
        self._logs = torch.zeros((), dtype=torch.float64)

    def update(self, log_weights: Float[Tensor, "s ..."]) -> None:
        """Add weights. Raises InputError for nan and infinity."""
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
        """The effective sample size (sum w)^2 / sum w^2 (Kong 1992), between 1 and the count; 0 if all weights are zero."""
        return (2 * self._first - self._second).exp().nan_to_num(nan=0.0)

    @property
    def error(self) -> Float[Tensor, "*b"]:
        """The standard error of ``log_mean`` by the delta method: that of the mean weight, divided by the mean weight. nan for one sample."""
        if self.count < 2:
            return torch.full_like(self._first, math.nan)
        spread = (self.count / self.effective - 1).clamp_min(0) / (self.count - 1)
        return spread.sqrt().where(self.effective > 0, math.nan)


@dataclass(frozen=True)
class Likelihood:
    """Per image, and per number of samples in ``at``: the log-likelihood in nats, its standard error, the effective sample size, the ELBO.

    ``chunk`` is None if the samples do not depend on how many are drawn at a time.
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
        """The standard error of that mean if the images are a random draw; nan for a single image."""
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
        curve = {
            str(k): {
                "nats": float(self.log_likelihood[:, i].mean()),
                "effective_mean": float(self.effective[:, i].mean()),
                "effective_least": float(self.effective[:, i].min()),
            }
            for i, k in enumerate(self.at)
        }
        shared = {"importance_samples": self.at[-1], "num_samples": len(self.log_likelihood), "seed": self.seed}
        shared |= {} if self.chunk is None else {"chunk": self.chunk}
        error = self.sampling_error if math.isfinite(self.sampling_error) else None  # JSON has no nan
        return {**shared, "sampling_error": error, "elbo": self.elbo, "by_importance_samples": curve, "unit": "nats"}


class LikelihoodInterrupted(KeyboardInterrupt):
    """A request to stop came before the last image. ``found`` holds the estimates of the images before it; None if there are none."""

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

    Image i's samples are a function of (``seed``, i) alone. A model of :class:`AddressedWeights` draws them so by itself; for any other, torch's
    generator is seeded for each ``chunk`` of them, and restored at the end. ``at``: smaller numbers of samples with estimates of their own, by
    default the powers of ten. ``chunk`` (default :data:`CHUNK`, on a GPU :data:`GPU_CHUNK`) is how many samples are drawn together.
    The images are used as they are: binarise them first if the model needs it. Raises :class:`LikelihoodInterrupted` if ``work`` is stopped.
    """
    stops, device, work, found = _stops(num_samples, at), device_of(model), work or Work(), list[Tensor]()
    addressed = {"seed", "start", "index"} <= set(inspect.signature(model.log_weights).parameters)  # a protocol does not see arguments
    chunk = chunk or (GPU_CHUNK if device.type == "cuda" and addressed else CHUNK)

    def gathered() -> Likelihood:
        table = torch.cat(found).numpy()
        return Likelihood(tuple(stops), table[:, 0], table[:, 1], table[:, 2], table[:, 3], seed, None if addressed else chunk)

    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for turn in work.rounds("log-likelihood", len(data), max(1, chunk // stops[-1]) if addressed else 1):
                rows = torch.arange(turn.start, turn.start + turn.num)
                image = images_at(data, slice(turn.start, turn.start + turn.num)).to(device)
                draw = _addressed(model, image, rows, seed) if addressed else _seeded(model, image, rows, seed)
                found.append(work.processes.gather(_estimates(draw, stops, max(1, chunk // len(rows))), turn))
    except KeyboardInterrupt as stopped:
        raise LikelihoodInterrupted(gathered() if found else None) from stopped
    return gathered()


Draw = Callable[[int, int], Tensor]
"""(start, num) to the log weights of samples start to start + num - 1 of some images."""


def _addressed(model: LikelihoodModel, image: Tensor, rows: Tensor, seed: int) -> Draw:
    assert isinstance(model, AddressedWeights)
    index = rows.to(image.device)
    return lambda start, num: model.log_weights(image, num_samples=num, seed=seed, start=start, index=index)


def _seeded(model: LikelihoodModel, image: Tensor, rows: Tensor, seed: int) -> Draw:
    """Of one image, by torch's generator."""
    parts = count()

    def draw(start: int, num: int) -> Tensor:
        torch.manual_seed(int(bits(rows, 1, seed=seed, stream=Stream.IMPORTANCE + next(parts))) % 2**63)
        return model.log_weights(image, num_samples=num)

    return draw


def _estimates(draw: Draw, stops: list[int], chunk: int) -> Float[Tensor, "b 4 at"]:
    """The estimates of some images after each number of samples in ``stops``."""
    sums, found, drawn = WeightSums(), [], torch.empty(0)
    for stop in stops:
        while sums.count < stop:
            if not len(drawn):
                drawn = draw(sums.count, min(chunk, stops[-1] - sums.count))
            part, drawn = drawn.split([taken := min(len(drawn), stop - sums.count), len(drawn) - taken])
            sums.update(part)
        found.append(torch.stack([sums.log_mean, sums.error, sums.effective, sums.mean_log], 1))
    return torch.stack(found, 2)


def _stops(num_samples: int, at: Sequence[int]) -> list[int]:
    if num_samples < 1 or any(not 1 <= k <= num_samples for k in at):
        raise InputError(f"log-likelihood: {num_samples} importance samples, looked at after {list(at)}: give at least 1, and looks within them")
    return sorted({*(at or [10**power for power in range(len(str(num_samples)))]), num_samples})


# --- black and white images ---

_IMAGES_AT_ONCE = 1000


@dataclass(frozen=True)
class Binarisation:
    """A pixel v is white with probability v / ``levels``, a real number p with probability p: by noise addressed by (``seed``, image, pixel).

    The likelihood of the result depends on the draw, so it is the same for all models. ``levels`` 256 is the scale of the MNIST that most published
    likelihoods used; 255 makes them about a nat larger. They must not be mixed.
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
        """The data in black and white, with a digest of their own; float32 0 and 1, which no model rescales."""
        parts = []
        for start in range(0, len(data), _IMAGES_AT_ONCE):
            image = images_at(data, slice(start, start + _IMAGES_AT_ONCE))
            index = torch.arange(start, start + len(image))
            noise = uniform(index, image[0].numel(), seed=self.seed, stream=Stream.BINARISE_TEST, dtype=torch.float64).view(image.shape)
            white = image.double() / (self.levels if image.dtype == torch.uint8 else 1)
            parts.append((noise < white).to(torch.float32))
        pixels = torch.cat(parts).numpy()
        return replace(data, image=pixels, digest=hashlib.sha256(pixels.data).hexdigest())


@runtime_checkable
class Binarises(Protocol):
    """A model whose likelihood needs binarised images, a byte v being white with probability v / ``binary_levels``; None: it takes grey ones."""

    @property
    def binary_levels(self) -> int | None: ...


def observable(model: object, data: ImageData, *, seed: int) -> tuple[ImageData, dict[str, object]]:
    """The images, binarised by ``seed`` if the model needs it, and what a protocol says of it."""
    levels = model.binary_levels if isinstance(model, Binarises) else None
    if not levels:
        return data, {"binarisation": "none"}
    drawn = Binarisation(seed, levels)
    return drawn.apply(data), drawn.protocol


@dataclass(frozen=True)
class HeldOutBounds:
    """An evaluator during training: the mean lower bounds of ``images``, already binarised if needed, with one and with ``num_samples`` samples."""

    images: ImageData
    num_samples: int = 10

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        """In nats. The training ``data`` and the ``seed`` have no effect. Raises InputError for a model without a likelihood."""
        if not isinstance(model, LikelihoodModel):
            raise InputError(f"bound: a {type(model).__name__} has no likelihood: choose a MEM-VAE")
        found = log_likelihood(model, self.images, num_samples=self.num_samples, at=(self.num_samples,))
        return {"images": float(len(self.images)), "lower_bound": found.elbo, f"bound_of_{self.num_samples}_samples": found.value}


# --- the metric ---


def check(asked: Asked) -> None:
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
