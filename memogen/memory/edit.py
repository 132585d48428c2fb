"""Editing a mixture memory: :func:`without` some slots, and with keys :func:`added`. Each gives a changed copy; the memory itself stays as it is.

A slot that is taken away is emptied: its key is zero and its mass is 0, as before the first write, so the memory keeps its size and its
configuration, and a training that goes on fills the slot again. An emptied slot is never drawn, and weighs beta = 1e-8 in the prior.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .functional import unit
from .inspect import written
from .protocol import MixtureMemory

Memory = TypeVar("Memory", bound=MixtureMemory)


@torch.no_grad()
def without(memory: Memory, slots: Sequence[int] | Int[Tensor, " n"]) -> Memory:
    """A copy in which ``slots`` are emptied: nothing is drawn from them, and no image belongs to them.

    Prior and posterior renormalise over what is left. With L the other slots of the class v:

        p'(c | v) = h_c / sum_{j in L} h_j = p(c | v) / p(L | v)
        p'(c | x, v) = p(c | x, v) / p(L | x, v)

    up to beta = 1e-8 of mass for each emptied slot. Under the prior "joint" the same holds across both classes; under "by_class" each class keeps
    one half. Raises ValueError for a slot that is not there, and where a class would lose its last written slot.
    """
    chosen = _numbers(memory, slots)
    edited, there = copy.deepcopy(memory), written(memory)
    edited.keys[chosen], edited.mass[chosen] = 0, 0
    edited.age[chosen] = memory.age.amax() + 1  # the first to be overwritten, where a policy goes by age alone
    for value, name in ((1, "real"), (0, "fake")):
        member = (memory.values > 0.5) == bool(value)
        if bool((there & member).any()) and not bool((written(edited) & member).any()):
            raise ValueError(f"slots: all {name} slots would be gone; leave one at least")
    return edited


@torch.no_grad()
def added(memory: Memory, keys: Float[Tensor, "n d"], *, value: int = 1, share: float | None = None) -> tuple[Memory, Int[Tensor, " n"]]:
    """A copy with ``keys``, brought to norm one, as slots of the class ``value``, and their numbers in the order of the keys.

    They take the place of the class's empty slots, then of its lightest ones, ties by lowest index. All have age 0 and the same mass m: the mean
    over the written slots L of the class that stay; or, with ``share`` in (0, 1), so much that the new slots together hold that part of the prior,

        n m / (n m + sum_{j in L} h_j) = share.

    The slots that stay keep their keys and masses, so p'(c | v) / p'(c' | v) = p(c | v) / p(c' | v) among them. Raises ValueError for keys of another
    length, that are not finite or zero, for more keys than the class has slots, and where a share of nothing is asked for.
    """
    keys = keys.detach().to(memory.keys)
    if keys.ndim != 2 or keys.shape[1] != memory.key_dim or not len(keys):
        raise ValueError(f"keys have shape {tuple(keys.shape)}; expected (one or more, {memory.key_dim})")
    if not bool(torch.isfinite(keys).all()) or not bool((keys.norm(dim=1) > 0).all()):
        raise ValueError("keys: some are zero or not finite; leave them out")
    member = (memory.values > 0.5) == bool(value)
    if len(keys) > int(member.sum()):
        raise ValueError(f"keys: {len(keys)} are more than the {int(member.sum())} slots of their class; add fewer")
    weight = torch.where(written(memory), memory.mass, -1).masked_fill(~member, torch.inf)
    chosen = weight.sort(stable=True).indices[: len(keys)]
    stays = member & written(memory)
    stays[chosen] = False
    edited = copy.deepcopy(memory)
    edited.keys[chosen] = unit(keys)
    edited.mass[chosen] = _mass(memory.mass[stays], len(keys), share)
    edited.age[chosen] = 0
    return edited, chosen


def _mass(left: Float[Tensor, " n"], num: int, share: float | None) -> Tensor:
    """The mass of each of ``num`` new slots beside those that are ``left``."""
    if share is None:
        return left.mean() if len(left) else torch.ones((), dtype=left.dtype, device=left.device)
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must lie between 0 and 1")
    total = left.double().sum()
    if not bool(total > 0):
        raise ValueError("share: no other slot of the class holds any mass; leave the share out")
    return (share / (1 - share) * total / num).to(left)


def _numbers(memory: MixtureMemory, slots: Sequence[int] | Tensor) -> Int[Tensor, " n"]:
    chosen = torch.as_tensor(slots, dtype=torch.long, device=memory.keys.device).reshape(-1)
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < memory.num_slots:
        raise ValueError(f"slots: {chosen.tolist()}: the memory holds slots 0 to {memory.num_slots - 1}")
    return chosen
