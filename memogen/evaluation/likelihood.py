"""The log-likelihood of images by importance sampling (Burda et al. 2016, Eq. 8; Li et al. 2016, section 5.1), with what it is worth.

log p(x) is estimated by log 1/k sum_j w_j with w_j = p(x, z_j) / q(z_j | x). The estimate is below log p(x) on average, and rises with k.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.evaluation.processes import Processes
from memogen.evaluation.progress import Bar
from memogen.evaluation.stream import device_of
from memogen.noise import bits
from memogen.types import ImageData, InputError, LikelihoodModel

CHUNK = 1000  # importance samples at a time, for one image: memory is bounded by this
_STREAM = 7003  # a stream of counted noise that no training uses


class WeightSums:
    """The sums of one image's weights and of their squares, streamed in logarithms; float64."""

    def __init__(self) -> None:
        self.count = 0
        self._first, self._second = -math.inf, -math.inf  # log sum w, log sum w^2
        self._logs = 0.0

    def update(self, log_weights: Float[Tensor, " s"]) -> None:
        """Add more weights."""
        log_w = log_weights.detach().to("cpu", torch.float64)
        if torch.isnan(log_w).any() or (log_w == torch.inf).any():
            raise InputError("log-likelihood: a log weight is nan or infinite: the model is broken, or has diverged in training")
        self.count += len(log_w)
        self._logs += float(log_w.sum())
        self._first = _logaddexp(self._first, float(log_w.logsumexp(0)))
        self._second = _logaddexp(self._second, float((2 * log_w).logsumexp(0)))

    @property
    def log_mean(self) -> float:
        """The estimate of log p(x)."""
        return self._first - math.log(self.count)

    @property
    def mean_log(self) -> float:
        """The estimate of the evidence lower bound: the mean of the log weights."""
        return self._logs / self.count

    @property
    def effective(self) -> float:
        """The effective sample size (sum w)^2 / sum w^2, between 1 and the count (Kong 1992); 0 where all weights are zero."""
        return math.exp(2 * self._first - self._second) if self._first > -math.inf else 0.0

    @property
    def error(self) -> float:
        """The standard error of ``log_mean`` by the delta method: that of the mean weight over the mean weight. nan for one sample."""
        if self.count < 2 or not self.effective:
            return math.nan
        return math.sqrt(max(0.0, self.count / self.effective - 1) / (self.count - 1))


@dataclass(frozen=True)
class Likelihood:
    """Per image, and per number of samples in ``at``: the log-likelihood in nats, its standard error, the effective sample size, the ELBO."""

    at: tuple[int, ...]
    log_likelihood: Float[np.ndarray, "n at"]
    error: Float[np.ndarray, "n at"]
    effective: Float[np.ndarray, "n at"]
    bound: Float[np.ndarray, "n at"]
    seed: int = 0
    chunk: int = CHUNK

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
        shared = {"importance_samples": self.at[-1], "num_samples": len(self.log_likelihood), "seed": self.seed, "chunk": self.chunk}
        return {**shared, "sampling_error": _plain(self.sampling_error), "elbo": self.elbo, "by_importance_samples": curve, "unit": "nats"}


@torch.no_grad()
def log_likelihood(
    model: LikelihoodModel,
    data: ImageData,
    *,
    num_samples: int = 5000,
    at: Sequence[int] = (),
    seed: int = 0,
    chunk: int = CHUNK,
    progress: bool = False,
    processes: Processes | None = None,
) -> Likelihood:
    """Estimate log p(x) of every image of ``data`` from ``num_samples`` importance samples, in bounded memory.

    Image i's samples are a function of (``seed``, i) alone: torch's generator is set for each ``chunk`` of them, and put back at the end. ``at``
    are the numbers of samples, besides the last, at which all is told; by default the powers of ten. The images are taken as they are: binarise
    them first where the model wants it.
    """
    stops = _stops(num_samples, at)
    processes, found = processes or Processes(), list[Tensor]()
    with Bar(shown=progress and processes.rank == 0) as bar, torch.random.fork_rng(devices=_cuda(model)):
        bar.stage("log-likelihood", len(data))
        for turn in processes.turns(len(data), 1):
            found.append(processes.gather(_image(model, data, turn.start, stops, seed, chunk), turn))
            bar.advance(turn.total)
    table = torch.cat(found).numpy()
    return Likelihood(tuple(stops), table[:, 0], table[:, 1], table[:, 2], table[:, 3], seed, chunk)


def _image(model: LikelihoodModel, data: ImageData, number: int, stops: list[int], seed: int, chunk: int) -> Float[Tensor, "1 4 at"]:
    """One image's estimates at each stop."""
    image = torch.from_numpy(np.array(data.image[number : number + 1])).to(device_of(model))
    sums, rows = WeightSums(), []
    for part, size in enumerate(_sizes(stops, chunk)):
        torch.manual_seed(int(bits(torch.tensor([number]), 1, seed=seed, stream=_STREAM + part)) % 2**63)
        sums.update(model.log_weights(image, num_samples=size)[:, 0])
        if sums.count in stops:
            rows.append([sums.log_mean, sums.error, sums.effective, sums.mean_log])
    return torch.tensor(rows, dtype=torch.float64).T[None]


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


def _logaddexp(a: float, b: float) -> float:
    return float(np.logaddexp(a, b))


def _spread_of(effective: np.ndarray) -> dict[str, float]:
    return {"effective_mean": float(effective.mean()), "effective_least": float(effective.min())}


def _plain(value: float) -> float | None:
    """A number as JSON can hold it."""
    return value if math.isfinite(value) else None


def _cuda(model: LikelihoodModel) -> list[torch.device]:
    device = device_of(model)
    return [device] if device.type == "cuda" else []
