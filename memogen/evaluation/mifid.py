"""The Fréchet distance penalised for memorisation (Bai et al. 2021, "On training sample memorization", section 3; Kaggle's generative-dog contest).

torchmetrics averages over training images the distance to the nearest sample; the paper and the contest average over samples the distance
to the nearest training image, and so does this file. With the roles of the two sets exchanged the numbers agree.

The threshold was set for Inception's features. Those of a small classifier bunch by class, so even held-out images lie within it: compare with their
score, not with the plain distance.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from memogen.types import InputError

THRESHOLD = 0.1
_SMALLEST = 1e-8  # a Fréchet distance below this is zero, whatever it is divided by
_FLOOR = 1e-14


class MemorisationDistance:
    """The mean over samples of 1 - max |cos| with the training images' features, streamed. Rows of zeros have no direction and are left out."""

    def __init__(self, training: Float[Tensor, "n f"], *, chunk: int = 4096) -> None:
        self._training = training.detach().cpu()
        self._length = _lengths(self._training)
        self._chunk = chunk
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = 0
        if not (self._length < torch.inf).any():
            raise InputError("memorisation: no training image has features other than zeros: use another extractor")

    def update(self, features: Float[Tensor, "b f"]) -> None:
        """Add a batch of samples."""
        distance = self.distances(features)
        self.total += distance.sum()
        self.count += len(distance)

    def distances(self, features: Float[Tensor, "b f"]) -> Float[Tensor, " d"]:
        """Each sample's own distance in [0, 1], in float64; ``d`` is less than ``b`` where features are all zero."""
        rows, length = features.detach().to("cpu", torch.float64), _lengths(features.detach().cpu())
        rows = (rows / length[:, None])[length < torch.inf]
        nearest = torch.zeros(len(rows), dtype=torch.float64)
        for part, lengths in zip(self._training.split(self._chunk), self._length.split(self._chunk), strict=True):
            nearest = torch.maximum(nearest, ((rows @ part.double().T) / lengths).abs().amax(1))
        return (1 - nearest).clamp(min=0)

    def compute(self) -> float:
        """The mean so far."""
        if self.count == 0:
            raise InputError("memorisation: no sample has features other than zeros: use another extractor")
        return float(self.total / self.count)


def penalised(fid: float, distance: float, *, threshold: float = THRESHOLD) -> float:
    """``fid`` divided by the memorisation distance where that is below ``threshold``, and ``fid`` itself where it is not."""
    if fid <= _SMALLEST:
        return 0.0
    return fid / (distance + _FLOOR) if distance < threshold else fid


def _lengths(features: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
    """The euclidean lengths in float64; infinite for a row of zeros, so that its cosine with anything is zero."""
    length = features.double().norm(dim=1)
    return torch.where(length > 0, length, torch.inf)
