"""Replay for a memoryGAN on a sequence of tasks without labels: a frozen copy of generator and memory draws its slots again.

After joint training with replay (Wu et al. 2018, section 3.2), with slots of the memory in place of classes: neither the number of classes nor the
class of an image is known. An experiment of ours; neither paper has it.
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
    """A frozen copy of the generator and the memory."""

    model: MemoryGAN

    def __init__(self, model: MemoryGAN) -> None:
        super().__init__(model, silent="critic")

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Copy ``model`` after one more task, and set the batch statistics to those of its own samples."""
        super().follow(model)
        self.model.calibrate()


@dataclass(frozen=True)
class Past:
    """A teacher that has learned ``tasks`` tasks; a part ``share`` of its replays is drawn."""

    teacher: SlotTeacher
    tasks: int
    share: float = 1.0

    @torch.no_grad()
    def mixed(self, real: Float[Tensor, "b c h w"], batch: Batch) -> Float[Tensor, "b c h w"]:
        """The images of the task, of which some are replaced by the teacher's, drawn from its slots in proportion to their mass."""
        drawing = self.teacher.model
        old = drawing.decode(drawing.latents_at(batch.index, seed=batch.seed, stream=batch.stream + Stream.REPLAY))
        return mixed(real, old, batch.index, self.tasks, self.share)

    def again(self, index: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Which images are replays; see :func:`memogen.models.replayed.again`."""
        return again(index, self.tasks, self.share)


def past_of(teacher: nn.Module | None, share: float = 1.0) -> Past | None:
    """The teacher with its number of tasks; None if it has learned none. Reads device memory."""
    tasks = tasks_of(teacher)
    return Past(teacher, tasks, share) if isinstance(teacher, SlotTeacher) and tasks else None
