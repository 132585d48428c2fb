"""Averaged weights: an exponential moving average over the parts of a model that draw its images.

Buffers are not averaged. An averaged copy has the live model's buffers, its memory included, and then recomputes the statistics of its batch norms
with the averaged weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from memogen.types import GenerativeModel, ImageData, InputError


@runtime_checkable
class AveragedModel(GenerativeModel, Protocol):
    """A model that names its averaged sub-modules. ``calibrate`` recomputes the statistics of its batch norms from training images or own samples."""

    averaged_parts: tuple[str, ...]

    def calibrate(self, data: ImageData, *, seed: int = 0) -> None: ...


@runtime_checkable
class DividedModel(Protocol):
    """A model of which several processes may hold parts. All call ``unite``, which makes it whole on the leading one, in host memory."""

    @property
    def divided(self) -> bool: ...
    def unite(self) -> None: ...


def check_undivided(model: nn.Module, what: str) -> None:
    """Raises InputError for a model that the processes hold in parts: one of them alone cannot draw from it, as ``what`` does."""
    if isinstance(model, DividedModel) and model.divided:
        raise InputError(f"model.memory.sharded is true: {what} draws from the model on one process alone: set it to false")


@dataclass(frozen=True)
class Averages:
    """``values`` are the averages by parameter name; ``live`` are the parameters they follow, in the same order."""

    decay: float
    values: Mapping[str, Tensor]
    live: tuple[nn.Parameter, ...]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """average <- d average + (1 - d) live, with d = min(decay, (1 + t) / (10 + t)) at update t, so that early weights fade fast."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), list(self.live), 1 - decay)


def start_averages(model: nn.Module, decay: float) -> Averages | None:
    """Averages that start at the model's present weights; None for decay 0 or a model without averaged parts."""
    names = {f"{part}.{name}": p for part in trainable(model).averaged_parts for name, p in model.get_submodule(part).named_parameters()}
    if decay == 0 or not names:
        return None
    return Averages(decay, {name: p.detach().clone() for name, p in names.items()}, tuple(names.values()))


@torch.no_grad()
def averaged_model(model: nn.Module, averages: Averages | None, data: ImageData) -> AveragedModel:
    """A copy of ``model`` in evaluation mode, with the averaged weights if there are any and batch statistics calibrated to ``data``."""
    copied = deepcopy(model).requires_grad_(False).eval()
    for name, value in (averages.values if averages else {}).items():
        copied.get_parameter(name).copy_(value)
    averaged = trainable(copied)
    averaged.calibrate(data)
    copied.eval()
    return averaged


def trainable(model: nn.Module) -> AveragedModel:
    """``model`` itself. Raises TypeError if it lacks a member that the loop calls."""
    if not isinstance(model, AveragedModel):
        raise TypeError(f"{type(model).__name__}: fit needs averaged_parts, calibrate, image_range, latents, decode and sample")
    return model
