"""What a memoryGAN keeps of a sequence of tasks without labels: a frozen copy of its generator and memory, whose slots are drawn again.

After joint training with replay (Wu et al. 2018, section 3.2), with a slot of the memory in the place of a class: how many classes there are, and
which image is of which, is never told. An experiment of ours; neither paper has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...noise import Stream
from ...types import Batch
from ..replayed import FrozenCopy, again, mixed, tasks_of
from .model import MemoryGAN


class SlotTeacher(FrozenCopy):
    """What draws the images of a model: generator and memory."""

    model: MemoryGAN

    def __init__(self, model: MemoryGAN) -> None:
        super().__init__(model, silent="critic")

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Become the model as it is after one task more, with batch statistics of its own samples."""
        super().follow(model)
        self.model.calibrate()


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
        return mixed(real, old, batch.index, self.tasks, self.share)

    def again(self, index: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Which images are replays; see :func:`memogen.models.replayed.again`."""
        return again(index, self.tasks, self.share)


def past_of(teacher: nn.Module | None, share: float = 1.0) -> Past | None:
    """What is to be replayed; None where nothing was learned. Reads device memory."""
    tasks = tasks_of(teacher)
    return Past(teacher, tasks, share) if isinstance(teacher, SlotTeacher) and tasks else None
