"""How many of the known modes a generator reaches, and how evenly.

Metz et al. 2017 ("Unrolled generative adversarial networks", section 3.3.1) and Srivastava et al. 2017 ("VEEGAN", section 4.2) count the
combinations of stacked digits that a classifier finds among the samples, and measure the divergence of their shares from the true ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.metrics.extractors import Extractor
from memogen.metrics.metric import Asked, Metric, Number, Result, Streamed, needs, probabilities
from memogen.metrics.samples import Seen, Watch, Work, model_source
from memogen.types import GenerativeModel, ImageData, InputError


@dataclass(frozen=True)
class Modes:
    """``reached``: the number of modes with at least one sample. ``divergence``: KL(q || p) in nats of the samples' shares q from the true shares p.

    For n samples of p itself, the divergence is about (modes - 1) / (2 n) (Miller 1955), and a mode of share p is missed with probability (1 - p)^n.
    """

    reached: int
    divergence: float


def count_modes(found: Int[np.ndarray, " n"], true: Int[np.ndarray, " n"]) -> Modes:
    """From the numbers of samples and of real images of each mode; every mode has real images."""
    q, p = found / found.sum(), true / true.sum()
    there = found > 0
    return Modes(int(there.sum()), float((q[there] * np.log(q[there] / p[there])).sum()))


def mode_counts(data: ImageData, known: int) -> Int[np.ndarray, " n"]:
    """The number of images of each of the ``known`` classes. Raises InputError without labels, and for a class without images."""
    if data.label is None:
        raise InputError(f"metric modes: {data.name} {data.split} has no labels: compare with a labelled data set")
    counts = np.bincount(data.label, minlength=known)
    if len(counts) > known or not counts.all():
        there = int((counts > 0).sum())
        raise InputError(f"metric modes: the extractor knows {known} classes, {data.name} {data.split} has {there}: use a classifier of the data")
    return counts


# --- the classes of samples of a model without labels, by a classifier ---


@dataclass(frozen=True)
class ClassShares:
    """``counts``: the number of samples that the classifier assigns to each class; ``seen``: the classes in the data so far."""

    counts: Int[np.ndarray, " classes"]
    seen: tuple[int, ...]

    @property
    def share(self) -> Float[np.ndarray, " classes"]:
        """p(y), the share of each class among all samples."""
        return self.counts / self.counts.sum()

    @property
    def elsewhere(self) -> float:
        """The share of samples that are assigned to a class that was not in the data yet."""
        return float((self.counts.sum() - self.counts[list(self.seen)].sum()) / self.counts.sum())

    @property
    def divergence(self) -> float | None:
        """KL divergence of p(y) over the k seen classes from the uniform one, log k - H(p), in nats: 0 for equal shares, log k for a single class.

        None if no sample is of a seen class.
        """
        counts = self.counts[list(self.seen)]
        if not counts.sum():
            return None
        p = counts[counts > 0] / counts.sum()
        return float(np.log(len(self.seen)) + (p * np.log(p)).sum())


def class_shares(
    model: GenerativeModel, extractor: Extractor, seen: Sequence[int], num: int, *, seed: int = 0, work: Work | None = None
) -> ClassShares:
    """The classes of samples 0 to ``num`` - 1 of ``seed``."""
    counts: Tensor | int = 0
    for part in Watch(extractor, 250, work or Work())(model_source(model, seed=seed), num):
        found = probabilities(part)
        counts = counts + torch.bincount(found.argmax(1).cpu(), minlength=found.shape[1])
    return ClassShares(np.asarray(counts), tuple(seen))


# --- the metric ---


def check(asked: Asked) -> None:
    mode_counts(asked.data, probabilities(asked.first).shape[1])


def mode_count(asked: Asked) -> Streamed:
    """The number of classes that the samples reach, and the divergence of their shares from the reference's."""
    counts = np.zeros(probabilities(asked.first).shape[1], np.int64)

    def update(seen: Seen) -> None:
        np.add.at(counts, probabilities(seen).argmax(1).cpu().numpy(), 1)

    def results() -> list[Result]:
        found = count_modes(counts, mode_counts(asked.data, len(counts)))
        protocol = {"reference": asked.reference.protocol, "modes": len(counts)}
        return [Result("modes_reached", found.reached, None, protocol), Result("mode_divergence", found.divergence, None, protocol)]

    return Streamed(asked.num_samples, update, results)


MODES = Metric(
    "modes",
    "classes reached",
    (Number("modes_reached", "modes", "higher"), Number("mode_divergence", "divergence of modes", "lower")),
    needs("samples", "extractor", "probabilities", "labels"),
    mode_count,
    check,
)

CLASS_SHARES = (
    Number("class_share", "share of samples", tabled=False),
    Number("unseen_share", "share of unseen classes", "lower", tabled=False),
    Number("class_divergence", "divergence of classes", "lower"),
)
"""Numbers of a sequence of tasks without labels."""
