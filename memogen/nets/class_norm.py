"""Conditional batch norm for replay: statistics by class inside a mixed batch (Wu et al. 2018 keep one class in every batch of a generator).

``turns`` says whose statistics normalise a batch, whatever mode the module is in:

- None: stored statistics of the sample's class, so that an image depends on nothing beside it;
- k >= 1: those of the batch, class by class. The classes come in turns, sample i being of the class of sample i mod k, so that one reshape
  makes k batches of one. It equals k separate passes, and k = 1 is a batch of one class;
- 0: those of the whole batch over all its classes, as the authors' joint training has it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

Turns = int | None


class ClassBatchNorm(nn.Module):
    """Batch norm of (b, channels, h, w) with a gain and a shift for each of ``num_classes``; or one for all where ``shared``.

    ``momentum`` is the weight of a batch in the stored statistics: 0, as in the authors' training, stores nothing. They begin as mean 0, variance 1.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, num_classes: int, channels: int, *, shared: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        rows = 1 if shared else num_classes
        self.shared, self.eps, self.momentum = shared, eps, 0.0
        self.weight, self.bias = nn.Parameter(torch.ones(rows, channels)), nn.Parameter(torch.zeros(rows, channels))
        self.register_buffer("mean", torch.zeros(num_classes, channels))
        self.register_buffer("variance", torch.ones(num_classes, channels))

    def forward(self, x: Float[Tensor, "b e h w"], label: Int[Tensor, " b"], turns: Turns) -> Float[Tensor, "b e h w"]:
        if turns is None:
            return self._stored(x, label)
        return self._in_turns(x, label[:turns]) if turns else self._mixed(x, label)

    def _in_turns(self, x: Tensor, label: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        wide = x.reshape(batch // len(label), len(label) * channels, height, width)
        row = self._row(label)
        mean, variance = (self.mean[label].flatten(), self.variance[label].flatten()) if self.momentum else (None, None)
        out = F.batch_norm(wide, mean, variance, self.weight[row].flatten(), self.bias[row].flatten(), True, self.momentum, self.eps)
        if mean is not None and variance is not None:
            self.mean[label], self.variance[label] = mean.view(-1, channels), variance.view(-1, channels)
        return out.reshape(x.shape)

    def _mixed(self, x: Tensor, label: Tensor) -> Tensor:
        mean, variance = (self.mean[0], self.variance[0]) if self.momentum else (None, None)
        out = F.batch_norm(x, mean, variance, None, None, True, self.momentum, self.eps)
        if self.momentum:
            self.mean[:], self.variance[:] = self.mean[0].clone(), self.variance[0].clone()  # no class has statistics of its own
        row = self._row(label)
        return torch.addcmul(_broad(self.bias[row]), out, _broad(self.weight[row]))

    def _stored(self, x: Tensor, label: Tensor) -> Tensor:
        row = self._row(label)
        scale = self.weight[row] * torch.rsqrt(self.variance[label] + self.eps)
        shift = self.bias[row] - self.mean[label] * scale
        return torch.addcmul(_broad(shift), x, _broad(scale))

    def _row(self, label: Tensor) -> Tensor:
        return torch.zeros_like(label) if self.shared else label


def class_code(label: Int[Tensor, " b"], num_classes: int, like: Tensor) -> Float[Tensor, "b classes"]:
    """One-hot rows in the type of ``like``."""
    return torch.eye(num_classes, dtype=like.dtype, device=like.device)[label]  # one_hot looks at its values, which torch.func cannot


def _broad(row: Tensor) -> Tensor:
    return row[:, :, None, None]
