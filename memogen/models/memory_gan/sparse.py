"""Sparse writing: tasks one after another without a replayed image. Each task's slots get rows of their own in a frozen generator.

The first task trains the whole generator. After each task the heaviest of its slots are frozen, the others emptied, and the next task draws from new
slots alone, so that only their rows learn (:class:`memogen.nets.slot_rows.SlotGenerator`). What old slots draw keeps its bits. An experiment of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...memory import VMFMemory
from ...memory.edit import frozen, weighted, without
from ...memory.inspect import frozen as frozen_slots
from ...memory.inspect import written
from ...nets.slot_rows import SlotGenerator
from ...types import InputError

if TYPE_CHECKING:
    from .model import MemoryGAN


def open_slots(memory: VMFMemory) -> Tensor:
    """The real slots that the present task has written (k,)."""
    return (memory.values > 0.5) & written(memory) & ~frozen_slots(memory)


def present_mass(memory: VMFMemory) -> Tensor:
    """The weights by which the present task draws slots: the mass of its own slots, or of all real slots until it has written one (k,)."""
    own = open_slots(memory)
    real = (memory.values > 0.5) & written(memory)
    return memory.mass * torch.where(own.any(), own, real)


@torch.no_grad()
def settle(model: MemoryGAN, best: MemoryGAN, kept: int) -> None:
    """End a task: ``model`` takes the generator of ``best``; the ``kept`` heaviest new slots are frozen with a mean mass of 1, the other new slots
    are emptied. Raises InputError if too few slots are left for the next task.
    """
    memory, own = model.memory, None if model.memory is None else open_slots(model.memory)
    assert memory is not None and own is not None and isinstance(model.generator, SlotGenerator), "phases has looked"
    if not int(model.generator.tasks):
        best.calibrate()
    model.generator.load_state_dict(best.generator.state_dict())
    model.generator.tasks += 1
    order = memory.mass.masked_fill(~own, -1).argsort(descending=True, stable=True)
    chosen, others = order[: min(kept, int(own.sum()))], order[kept : int(own.sum())]
    memory = without(memory, others)
    memory = weighted(memory, torch.ones_like(memory.mass).index_fill(0, chosen, float(len(chosen) / memory.mass[chosen].sum())))
    model.memory = frozen(memory, chosen)
    left = int(((memory.values > 0.5) & ~frozen_slots(model.memory)).sum())
    if left < kept:
        mend = "give more num_slots, or keep fewer"
        raise InputError(f"objective.kept_slots: {left} real slots are left for the next task, which is to keep {kept}: {mend}")


@torch.no_grad()
def level(model: MemoryGAN) -> None:
    """Give the heaviest slots of the present task, as many as a frozen task has, the mass of a frozen task; the others, hardly trained, get none."""
    memory = model.memory
    assert memory is not None and isinstance(model.generator, SlotGenerator), "the caller has looked"
    own, old, tasks = open_slots(memory), frozen_slots(memory), int(model.generator.tasks)
    order = memory.mass.masked_fill(~own, -1).argsort(descending=True, stable=True)
    chosen = order[: min(int(old.sum()) // tasks, int(own.sum()))]
    total = memory.mass[chosen].sum()
    if bool(total > 0):
        factor = torch.where(own, 0.0, 1.0).index_fill(0, chosen, float(memory.mass[old].sum() / tasks / total))
        model.memory = weighted(memory, factor)
