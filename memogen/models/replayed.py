"""What a learner of tasks without labels keeps of the earlier ones: a frozen copy of what draws its images, whose samples take their place.

After deep generative replay (Shin et al. 2017) and joint training with replay (Wu et al. 2018, section 3.2). Which image is of which class, and how
many classes there are, is never told.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class FrozenCopy(nn.Module):
    """``model`` as it was after ``tasks`` tasks, without the part ``silent``, which draws nothing. It has learned nothing when it is made."""

    tasks: Tensor

    def __init__(self, model: nn.Module, silent: str) -> None:
        super().__init__()
        self.model = deepcopy(model)
        setattr(self.model, silent, nn.Identity())
        self.silent = silent
        self.register_buffer("tasks", torch.zeros((), dtype=torch.long))
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Become the model as it is after one task more."""
        drawing = {name: value for name, value in model.state_dict().items() if not name.startswith(f"{self.silent}.")}
        self.model.load_state_dict(drawing)
        self.tasks += 1


def again(index: Int[Tensor, " b"], tasks: int, share: float = 1.0) -> Bool[Tensor, " b"]:
    """Which images are replays after t ``tasks``: t in every t + 1, those with n mod (t + 1) < t, so that all tasks weigh alike on any process.

    Of these candidates m = 0, 1, 2, ... those are kept at which m ``share`` passes a whole number, which is all of them at 1.
    """
    cycle = index % (tasks + 1)
    number = (index // (tasks + 1) * tasks + cycle).double()
    kept = ((number + 1) * share).floor() > (number * share).floor()
    return (cycle < tasks) & kept


def mixed(
    real: Float[Tensor, "b c h w"], old: Float[Tensor, "b c h w"], index: Int[Tensor, " b"], tasks: int, share: float = 1.0
) -> Float[Tensor, "b c h w"]:
    """The images of the task, some of which give way to ``old`` ones."""
    return torch.where(again(index, tasks, share)[:, None, None, None], old.to(real.dtype), real)


def tasks_of(teacher: nn.Module | None) -> int:
    """How many tasks a teacher can replay; 0 without one. Reads device memory."""
    return int(teacher.tasks) if isinstance(teacher, FrozenCopy) else 0


def state_bytes(module: nn.Module) -> int:
    """What its weights and buffers take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
