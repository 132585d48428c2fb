"""What a memoryGAN keeps of a sequence of tasks without labels: a frozen copy of its generator and memory, whose slots are drawn again.

After joint training with replay (Wu et al. 2018, section 3.2), with a slot of the memory in the place of a class: how many classes there are, and
which image is of which, is never told. An experiment of ours; neither paper has it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...noise import Stream
from ...types import Batch
from .model import MemoryGAN


class SlotTeacher(nn.Module):
    """What draws the images of a model, as it was after ``tasks`` tasks: generator and memory. It has learned nothing when it is made."""

    tasks: Tensor

    def __init__(self, model: MemoryGAN) -> None:
        super().__init__()
        self.model = deepcopy(model)
        self.model.critic = nn.Identity()  # it draws nothing
        self.register_buffer("tasks", torch.zeros((), dtype=torch.long))
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: MemoryGAN) -> None:
        """Become the model as it is after one task more, with batch statistics of its own samples."""
        self.model.generator.load_state_dict(model.generator.state_dict())
        if self.model.memory is not None and model.memory is not None:
            self.model.memory.load_state_dict(model.memory.state_dict())
        self.model.calibrate()
        self.tasks += 1


@dataclass(frozen=True)
class Past:
    """A teacher in the task after ``tasks`` others; ``share`` of what it would draw is drawn."""

    teacher: SlotTeacher
    tasks: int
    share: float = 1.0

    @torch.no_grad()
    def mixed(self, real: Float[Tensor, "b c h w"], batch: Batch) -> Float[Tensor, "b c h w"]:
        """The images of the task, some of which give way to the teacher's; its slots are drawn by their mass."""
        drawing = self.teacher.model
        old = drawing.decode(drawing.latents_at(batch.index, seed=batch.seed, stream=batch.stream + Stream.REPLAY))
        return torch.where(self.again(batch.index)[:, None, None, None], old.to(real.dtype), real)

    def again(self, index: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Which images are replays: t in every t + 1 after t tasks, those with n mod (t + 1) < t, so that all tasks weigh alike on any process.

        Of the candidates m = 0, 1, 2, ... those are kept where m ``share`` passes a whole number, which is all of them at 1.
        """
        cycle = index % (self.tasks + 1)
        number = (index // (self.tasks + 1) * self.tasks + cycle).double()
        kept = ((number + 1) * self.share).floor() > (number * self.share).floor()
        return (cycle < self.tasks) & kept


def past_of(teacher: nn.Module | None, share: float = 1.0) -> Past | None:
    """What is to be replayed; None where nothing was learned. Reads device memory."""
    return Past(teacher, int(teacher.tasks), share) if isinstance(teacher, SlotTeacher) and int(teacher.tasks) else None
