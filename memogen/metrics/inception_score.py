"""The inception score with any classifier (Salimans et al. 2016, "Improved techniques for training GANs", section 4), batched."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.metrics.metric import Asked, Metric, Number, Result, needs, probabilities
from memogen.metrics.samples import Seen
from memogen.types import InputError


class InceptionScore:
    """exp of the mean Kullback-Leibler divergence of p(y|x) from its mean, for each of ``splits`` contiguous parts of ``num_samples`` images.

    Image i belongs to split floor(i * splits / num_samples), so nothing is stored but one row per split, in float64, and the size of the
    batches does not matter.
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
        """Take the next images' class probabilities, in the order of the images."""
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
        """(mean, standard deviation) over the splits, once all samples have been seen."""
        if self._mass is None or self.seen < self.num_samples:
            raise InputError(f"inception score: {self.seen} of {self.num_samples} samples seen: update it with the rest first")
        return self._over(self.splits)

    @property
    def finished(self) -> int:
        """The number of splits all of whose images have been seen."""
        return self.seen * self.splits // self.num_samples

    def images_in(self, splits: int) -> int:
        """The number of images in the first so many splits."""
        return -(-splits * self.num_samples // self.splits)

    def compute_finished(self) -> tuple[float, float]:
        """(mean, standard deviation) over the splits that are finished: as many images in each as after the last sample."""
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
    """Ten splits as the papers use, fewer where a split would hold under 500 images: c classes lower its score by a factor near 1 - c / (2 n)."""
    return max(1, min(10, num_samples // 500))


class Inception:
    """The inception score: no real data needed."""

    def __init__(self, asked: Asked) -> None:
        self.needed = asked.num_samples
        self.score = InceptionScore(asked.num_samples, splits=splits_for(asked.num_samples))

    def update(self, seen: Seen) -> None:
        self.score.update(probabilities(seen))

    def results(self) -> list[Result]:
        mean, spread = self.score.compute_finished()
        splits = self.score.finished
        cut = {} if splits == self.score.splits else {"num_samples": self.score.images_in(splits)}
        return [Result("inception_score", mean, spread if splits > 1 else None, {"splits": splits, **cut})]


INCEPTION_SCORE = Metric(
    "is",
    "inception score",
    (Number("inception_score", "inception score", "higher"),),
    needs("samples", "extractor", "probabilities"),
    Inception,
)
