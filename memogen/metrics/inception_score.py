"""The inception score with any classifier (Salimans et al. 2016, "Improved techniques for training GANs", section 4), batched."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.metrics.metric import Asked, Metric, Number, Result, Streamed, needs, probabilities
from memogen.types import InputError


class InceptionScore:
    """exp of the mean Kullback-Leibler divergence of p(y|x) from its mean, for each of ``splits`` contiguous parts of ``num_samples`` images.

    Image i belongs to split floor(i * splits / num_samples). Only one row per split is stored, in float64; the batch size has no effect.
    """

    def __init__(self, num_samples: int, *, splits: int = 10) -> None:
        if not 1 <= splits <= num_samples:
            raise InputError(f"inception score: {num_samples} samples cannot make {splits} splits: use at least {splits} samples")
        self.num_samples = num_samples
        self.splits = splits
        self.seen = 0
        self._count = torch.zeros(splits, dtype=torch.float64)
        self._negative_entropy = torch.zeros(splits, dtype=torch.float64)  # sum over images of sum_y p log p
        self._mass: Tensor | None = None  # sum over images of p(y|x): (splits, classes)

    def update(self, probabilities: Float[Tensor, "b classes"]) -> None:
        """Add the class probabilities of the next images, in their order."""
        p = probabilities.detach().to("cpu", torch.float64)
        if self.seen + len(p) > self.num_samples:
            raise InputError(f"inception score: more than the {self.num_samples} samples announced: make num_samples larger")
        if self._mass is None:
            self._mass = torch.zeros(self.splits, p.shape[1], dtype=torch.float64)
        split = torch.arange(self.seen, self.seen + len(p)) * self.splits // self.num_samples
        self._count += torch.bincount(split, minlength=self.splits)
        self._negative_entropy.index_add_(0, split, torch.special.xlogy(p, p).sum(1))
        self._mass.index_add_(0, split, p)
        self.seen += len(p)

    def compute(self) -> tuple[float, float]:
        """(mean, standard deviation) over the splits. Raises InputError before the last sample."""
        if self._mass is None or self.seen < self.num_samples:
            raise InputError(f"inception score: {self.seen} of {self.num_samples} samples seen: update it with the rest first")
        return self._over(self.splits)

    @property
    def finished(self) -> int:
        """The number of complete splits."""
        return self.seen * self.splits // self.num_samples

    def compute_finished(self) -> tuple[float, float]:
        """(mean, standard deviation) over the complete splits."""
        if not self.finished:
            raise InputError(f"inception score: {self.seen} of {self.num_samples} samples seen: not one of {self.splits} splits is finished")
        return self._over(self.finished)

    def _over(self, splits: int) -> tuple[float, float]:
        assert self._mass is not None, "some samples have been seen"
        marginal = self._mass[:splits] / self._count[:splits, None]
        divergence = self._negative_entropy[:splits] / self._count[:splits] - torch.special.xlogy(marginal, marginal).sum(1)
        score = divergence.exp()
        return float(score.mean()), float(score.std(correction=0))


# --- the metric ---


def splits_for(num_samples: int) -> int:
    """Ten as in the papers, fewer if a split would have under 500 images: n images lower the score of c classes by a factor near 1 - c / 2n."""
    return max(1, min(10, num_samples // 500))


def inception_score(asked: Asked) -> Streamed:
    """The inception score of the samples; it needs no real data."""
    score = InceptionScore(asked.num_samples, splits=splits_for(asked.num_samples))

    def results() -> list[Result]:
        mean, spread = score.compute_finished()
        splits = score.finished
        cut = {} if splits == score.splits else {"num_samples": -(-splits * score.num_samples // score.splits)}
        return [Result("inception_score", mean, spread if splits > 1 else None, {"splits": splits, **cut})]

    return Streamed(asked.num_samples, lambda seen: score.update(probabilities(seen)), results)


INCEPTION_SCORE = Metric(
    "is",
    "inception score",
    (Number("inception_score", "inception score", "higher"),),
    needs("samples", "extractor", "probabilities"),
    inception_score,
)
