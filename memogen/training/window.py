"""The terms of the steps since the last line of metrics. They stay on the device until somebody looks, so that no step waits for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from memogen.types import Loss

_MOST = 4096  # scalars kept on the device before they are brought over anyway


class NonFiniteLoss(RuntimeError):  # noqa: N818  (reads as what it says)
    """A loss became infinite or NaN at ``step``, in ``term``; the last good checkpoint, if any, is untouched and named."""

    def __init__(self, step: int, term: str, note: str = "") -> None:
        super().__init__(f"step {step}: {term} is not finite{note}")
        self.step, self.term = step, term


@dataclass(frozen=True)
class Seen:
    """One scalar of one step; ``must`` says that it has to be finite."""

    step: int
    name: str
    value: Tensor
    must: bool


@dataclass
class Window:
    """``sums`` maps a term to [sum, count] of what has been brought to the host; ``waiting`` is what has not."""

    sums: dict[str, list[float]] = field(default_factory=dict)
    waiting: list[Seen] = field(default_factory=list)

    def add(self, step: int, phase: str, values: Mapping[str, Tensor], *, must: bool = False) -> None:
        """Notes scalars of a phase in the 1-based ``step``: terms of its loss, which ``must`` be finite, or what a commit reports."""
        self.waiting += [Seen(step, f"{phase}/{name}", value.detach(), must) for name, value in values.items()]

    @property
    def full(self) -> bool:
        return len(self.waiting) >= _MOST

    def look(self, merge: Callable[[Tensor], Tensor]) -> None:
        """Brings the waiting scalars to the host, each ``merge``d into its mean over the processes. Raises NonFiniteLoss for the first bad one."""
        if not self.waiting:
            return
        seen, self.waiting = self.waiting, []
        values = merge(torch.stack(alike([one.value for one in seen])).cpu().double()).tolist()
        for one, value in zip(seen, values, strict=True):
            if one.must and not math.isfinite(value):
                raise NonFiniteLoss(one.step, one.name)
            total = self.sums.setdefault(one.name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def close(self) -> dict[str, float]:
        """The mean of each term, in the order first seen; the window is empty afterwards."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def terms_of(loss: Loss) -> dict[str, Tensor]:
    """The total and the terms, without gradients."""
    return {"total": loss.total.detach(), **{name: value.detach() for name, value in loss.terms.items()}}


def alike(values: list[Tensor]) -> list[Tensor]:
    """Scalars of one device and type, at least float32, so that they can be stacked; no work for those that agree already."""
    device, dtype = values[0].device, torch.promote_types(values[0].dtype, torch.float32)
    return [value.to(device, dtype).reshape(()) for value in values]
