"""Replay on tasks without labels: samples of a frozen copy of the model take the place of the earlier tasks' images.

After deep generative replay (Shin et al. 2017) and joint training with replay (Wu et al. 2018, section 3.2). Neither the number of classes nor the
class of an image is known.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class FrozenCopy(nn.Module):
    """A copy of ``model`` as it was after ``tasks`` tasks (0 at first), without the part ``silent``, if any, which sampling does not need."""

    tasks: Tensor

    def __init__(self, model: nn.Module, silent: str | None) -> None:
        super().__init__()
        self.model = deepcopy(model)
        if silent is not None:
            setattr(self.model, silent, nn.Identity())
        self.silent = silent
        self.register_buffer("tasks", torch.zeros((), dtype=torch.long))
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Copy ``model`` after one more task."""
        drawing = {name: value for name, value in model.state_dict().items() if name.split(".")[0] != self.silent}
        self.model.load_state_dict(drawing)
        self.tasks += 1


def again(index: Int[Tensor, " b"], tasks: int, share: float = 1.0) -> Bool[Tensor, " b"]:
    """Which images are replays after t ``tasks``: those with n mod (t + 1) < t, t in every t + 1, so that all tasks have the same weight.

    Only a part ``share`` of them is kept, evenly spaced: the m-th where m ``share`` passes a whole number.
    """
    cycle = index % (tasks + 1)
    number = (index // (tasks + 1) * tasks + cycle).double()
    kept = ((number + 1) * share).floor() > (number * share).floor()
    return (cycle < tasks) & kept


def mixed(
    real: Float[Tensor, "b c h w"], old: Float[Tensor, "b c h w"], index: Int[Tensor, " b"], tasks: int, share: float = 1.0
) -> Float[Tensor, "b c h w"]:
    """The images of the task, with ``old`` ones in the places that :func:`again` gives."""
    return torch.where(again(index, tasks, share)[:, None, None, None], old.to(real.dtype), real)


def tasks_of(teacher: nn.Module | None) -> int:
    """How many tasks a teacher has learned; 0 without one. Reads device memory."""
    return int(teacher.tasks) if isinstance(teacher, FrozenCopy) else 0


def state_bytes(module: nn.Module) -> int:
    """The bytes of its weights and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
