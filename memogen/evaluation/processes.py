"""Several processes that score together: each takes its part of the images, and all of them see all rows in the order of the images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


@dataclass(frozen=True)
class Turn:
    """One process's part of one round: images ``start`` to ``start + num - 1``. ``counts`` says how many images of the round each process has."""

    start: int
    num: int
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is; one alone by default. Calls must be made on every process, in the same order.

    All of them get the same scores; ``leads`` says which one is to print and write them.
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def joined(cls) -> Processes:
        """Those of ``torch.distributed`` where it has been started, else one alone."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else cls()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def turns(self, num: int, size: int) -> Iterator[Turn]:
        """Rounds over images 0 to num - 1, up to ``size`` images for each process in a round.

        A process that has none left in the last round takes the last image again; :meth:`gather` leaves it out.
        """
        for first in range(0, num, size * self.world_size):
            counts = tuple(min(size, max(0, num - first - rank * size)) for rank in range(self.world_size))
            own = counts[self.rank]
            yield Turn(first + self.rank * size if own else num - 1, own or 1, counts)

    def gather(self, rows: Shaped[Tensor, "b ..."], turn: Turn) -> Shaped[Tensor, "n ..."]:
        """The rows of all processes in this round, in the order of the images; among several processes they come back on the CPU."""
        if self.world_size == 1:
            return rows
        size = max(turn.counts)
        own = rows.detach().to(_meeting_place())[: turn.counts[self.rank]]
        padded = torch.cat([own, own.new_zeros(size - len(own), *own.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, turn.counts, strict=True)]).cpu()

    def any(self, flag: bool) -> bool:
        """True on every process as soon as it is true on one."""
        if self.world_size == 1:
            return flag
        told = torch.tensor(float(flag), device=_meeting_place())
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told)


@contextmanager
def launched() -> Iterator[Processes]:
    """The processes that torchrun or accelerate launched, joined within; one alone where none were, or those that are joined already."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield Processes.joined()
        return
    dist.init_process_group("gloo")
    try:
        yield Processes.joined()
        dist.barrier()  # nobody leaves while another still writes
    finally:
        dist.destroy_process_group()


def _meeting_place() -> torch.device:
    """Where rows are exchanged: the CPU, unless the processes were joined by NCCL alone, which knows only CUDA."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
