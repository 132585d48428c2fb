"""Of which classes are the samples of a model that was told none, as a classifier sees them, and how evenly do they spread over those it has seen?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.evaluation.features import Extractor
from memogen.evaluation.stream import Watch, model_source
from memogen.evaluation.work import Work
from memogen.types import GenerativeModel


@dataclass(frozen=True)
class ClassShares:
    """``counts``: how many samples are taken for each class, of which those in ``seen`` were in the data so far."""

    counts: Int[np.ndarray, " classes"]
    seen: tuple[int, ...]

    @property
    def share(self) -> Float[np.ndarray, " classes"]:
        """p(y), the share of each class among all samples."""
        return self.counts / self.counts.sum()

    @property
    def elsewhere(self) -> float:
        """The share of samples that are taken for a class that was not in the data yet."""
        return float((self.counts.sum() - self.counts[list(self.seen)].sum()) / self.counts.sum())

    @property
    def divergence(self) -> float | None:
        """Of p(y) over the k seen classes from the uniform distribution, log k - H(p), in nats: 0 where all come alike, log k where one alone does.

        None where no sample is of a seen class.
        """
        counts = self.counts[list(self.seen)]
        if not counts.sum():
            return None
        p = counts[counts > 0] / counts.sum()
        return float(np.log(len(self.seen)) + (p * np.log(p)).sum())


def class_shares(
    model: GenerativeModel, extractor: Extractor, seen: Sequence[int], num: int, *, seed: int = 0, work: Work | None = None
) -> ClassShares:
    """Of samples 0 to ``num`` - 1 of ``seed``."""
    counts: Tensor | int = 0
    for part in Watch(extractor, 250, work or Work())(model_source(model, seed=seed), num):
        assert part.probabilities is not None, "the watch was not told to leave them out"
        counts = counts + torch.bincount(part.probabilities.argmax(1).cpu(), minlength=part.probabilities.shape[1])
    return ClassShares(np.asarray(counts), tuple(seen))
