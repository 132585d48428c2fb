"""The same queries for a whole memory and for one whose keys several processes divide; what each process does with its share of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memogen.memory import ShardedMemory, VMFMemory, shard
from memogen.memory.functional import unit
from memogen.memory.shard import whole_state
from memogen.processes import Processes

SLOTS, DIM, QUERIES, ROUNDS = 101, 7, 22, 8
OPTIONS = {"top_k": 10, "concentration": 5.0}


def begun(*, filled: bool) -> dict[str, Tensor]:
    """The state of a memory in the middle of its life, or of a new one."""
    memory, generator = VMFMemory(SLOTS, DIM).double(), torch.Generator().manual_seed(0)
    if filled:
        memory.keys.copy_(unit(torch.randn(SLOTS, DIM, generator=generator)))
        memory.values.copy_(torch.rand(SLOTS, generator=generator) < 0.4)
        memory.mass.copy_(torch.rand(SLOTS, generator=generator) + 0.05)
        memory.age.copy_(torch.randint(0, 50, (SLOTS,), generator=generator))
    return memory.state_dict()


def course(memory: VMFMemory, rank: int, world_size: int) -> dict[str, np.ndarray]:
    """Reads, gradients, draws and writes of one process's share of the queries, by name and round."""
    found: dict[str, Tensor] = {}
    for number in range(ROUNDS):
        generator = torch.Generator().manual_seed(1 + number)
        queries = torch.randn(QUERIES, DIM, generator=generator, dtype=torch.float64) + 0.5
        labels, uniform = torch.arange(QUERIES) % 2, torch.rand(QUERIES, generator=generator, dtype=torch.float64)
        query, label, part = (rows.tensor_split(world_size)[rank] for rows in (queries, labels, uniform))
        query = query.clone().requires_grad_()
        read = memory(query)
        (gradient,) = torch.autograd.grad(read.logit.square().sum(), query)
        keys, drawn = memory.sample(len(part), uniform=part)
        order = read.slots.argsort(1)
        read_slots, weights = read.slots.gather(1, order), read.weights.gather(1, order)
        done = memory.write(query, label, read if number % 2 else None)
        everywhere = {"touched": done.touched, "replaced": done.replaced, "movement": done.movement, "dropped": done.dropped}
        found |= {f"joint {name} {number}": part for name, part in everywhere.items()}
        of_share = {"value": read.value, "logit": read.logit, "gradient": gradient, "slots": read_slots, "weights": weights}
        found |= {f"{name} {number}": part for name, part in {**of_share, "drawn": drawn, "keys": keys}.items()}
    return {name: part.detach().numpy() for name, part in found.items()}


def divided(folder: Path, filled: bool) -> None:
    """The course of one of several processes; the first also leaves the whole state."""
    processes, shard._SCORES, shard._BLOCK = Processes.launched(), 300, 7  # several blocks
    memory = ShardedMemory(SLOTS, DIM, rank=processes.rank, world_size=processes.world_size, **OPTIONS).double()
    assert memory.keys.numel() == DIM * len(range(processes.rank, SLOTS, processes.world_size))
    memory.load_state_dict(begun(filled=filled))
    np.savez(folder / f"course-{processes.rank}.npz", **course(memory, processes.rank, processes.world_size))
    state = whole_state(memory)
    assert ("keys" in state) == (processes.rank == 0) == (memory.whole() is not None)
    assert torch.equal(memory.unwritten, torch.isin(torch.arange(SLOTS), unwritten_of(memory)))
    if processes.leads:
        np.savez(folder / "state.npz", **{name: part.numpy() for name, part in state.items()})


def unwritten_of(memory: ShardedMemory) -> Tensor:
    """The slots without a key, found by looking at all keys."""
    keys = memory.keys_of(torch.arange(memory.num_slots))
    return (keys == 0).all(1).nonzero()[:, 0]


def asks_for_all(folder: Path) -> None:
    """Leaves the message of a call that needs all keys."""
    processes = Processes.launched()
    memory = ShardedMemory(SLOTS, DIM, rank=processes.rank, world_size=processes.world_size)
    try:
        memory.posterior(torch.ones(1, DIM))
    except ValueError as error:
        (folder / f"told-{os.environ['RANK']}").write_text(str(error))
