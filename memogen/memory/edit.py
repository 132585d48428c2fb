"""Editing a mixture memory: :func:`without` some slots, with keys :func:`added`, slots :func:`weighted`, :func:`frozen` or :func:`thawed`.

Each gives a changed copy; the memory itself stays as it is.

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

from . import inspect
from .functional import unit
from .inspect import written
from .protocol import MixtureMemory
from .vmf import VMFMemory

Memory = TypeVar("Memory", bound=MixtureMemory)


@torch.no_grad()
def without(memory: Memory, slots: Sequence[int] | Int[Tensor, " n"]) -> Memory:
    """A copy in which ``slots`` are emptied: nothing is drawn from them, and no image belongs to them.

    Prior and posterior renormalise over what is left. With L the other slots of the class v:

        p'(c | v) = h_c / sum_{j in L} h_j = p(c | v) / p(L | v)
        p'(c | x, v) = p(c | x, v) / p(L | x, v)

    up to beta = 1e-8 of mass for each emptied slot. Under the prior "joint" the same holds across both classes; under "by_class" each class keeps
    one half. A frozen slot that is emptied is free again. Raises ValueError for a slot that is not there, and where a class would lose its last
    written slot.
    """
    chosen = _numbers(memory, slots)
    edited, there = thawed(memory, chosen), written(memory)
    edited.keys[chosen], edited.mass[chosen] = 0, 0
    edited.age[chosen] = memory.age.amax() + 1  # the first to be overwritten, where a policy goes by age alone
    for value, name in ((1, "real"), (0, "fake")):
        member = (memory.values > 0.5) == bool(value)
        if bool((there & member).any()) and not bool((written(edited) & member).any()):
            raise ValueError(f"slots: all {name} slots would be gone; leave one at least")
    _refresh(edited)
    return edited


@torch.no_grad()
def added(memory: Memory, keys: Float[Tensor, "n d"], *, value: int = 1, share: float | None = None) -> tuple[Memory, Int[Tensor, " n"]]:
    """A copy with ``keys``, brought to norm one, as slots of the class ``value``, and their numbers in the order of the keys.

    They take the place of the class's empty slots, then of its lightest ones that are not frozen, ties by lowest index. All have age 0 and the
    same mass m: the mean over the written slots L of the class that stay; or, with ``share`` in (0, 1), so much that the new slots together hold
    that part of the prior,

        n m / (n m + sum_{j in L} h_j) = share.

    The slots that stay keep their keys and masses, so p'(c | v) / p'(c' | v) = p(c | v) / p(c' | v) among them. Raises ValueError for keys of another
    length, that are not finite or zero, for more keys than the class has slots to give, and where a share of nothing is asked for.
    """
    keys = keys.detach().to(memory.keys)
    if keys.ndim != 2 or keys.shape[1] != memory.key_dim or not len(keys):
        raise ValueError(f"keys have shape {tuple(keys.shape)}; expected (one or more, {memory.key_dim})")
    if not bool(torch.isfinite(keys).all()) or not bool((keys.norm(dim=1) > 0).all()):
        raise ValueError("keys: some are zero or not finite; leave them out")
    member = (memory.values > 0.5) == bool(value)
    open_slots = member & ~inspect.frozen(memory)
    if len(keys) > int(open_slots.sum()):
        raise ValueError(f"keys: {len(keys)} are more than the {int(open_slots.sum())} slots of their class that are not frozen; add fewer")
    weight = torch.where(written(memory), memory.mass, -1).masked_fill(~open_slots, torch.inf)
    chosen = weight.sort(stable=True).indices[: len(keys)]
    stays = member & written(memory)
    stays[chosen] = False
    edited = copy.deepcopy(memory)
    edited.keys[chosen] = unit(keys)
    edited.mass[chosen] = _mass(memory.mass[stays], len(keys), share)
    if not bool((edited.mass[chosen] > 0).all()):
        raise ValueError(f"share is {share}; so little mass is no number of {memory.mass.dtype}: give more")
    edited.age[chosen] = 0
    _refresh(edited)
    return edited, chosen


@torch.no_grad()
def weighted(memory: Memory, factor: Float[Tensor, " k"]) -> Memory:
    """A copy in which the mass of every slot is multiplied by its ``factor``: p'(c | v) = f_c p(c | v) / sum_j f_j p(j | v).

    Raises ValueError for factors that are negative or not finite, for another number of them than slots, and where a class that has mass would lose
    all of it.
    """
    edited, factor = copy.deepcopy(memory), factor.to(memory.mass)
    if factor.shape != memory.mass.shape:
        raise ValueError(f"factor has shape {tuple(factor.shape)}; expected ({memory.num_slots},), one number for each slot")
    if not bool((torch.isfinite(factor) & (factor >= 0)).all()):
        raise ValueError("factor: some are negative or not finite; give numbers of 0 or more")
    edited.mass.mul_(factor)
    for value, name in ((1, "real"), (0, "fake")):
        member = (memory.values > 0.5) == bool(value)
        if bool((memory.mass[member] > 0).any()) and not bool((edited.mass[member] > 0).any()):
            raise ValueError(f"factor: all {name} slots would lose their mass; leave some to one of them")
    return edited


@torch.no_grad()
def frozen(memory: Memory, slots: Sequence[int] | Int[Tensor, " n"]) -> Memory:
    """A copy in which no write changes or replaces ``slots``, beside those that are frozen already: key, value, mass and age keep their bits.

    A frozen slot is read, drawn and takes its part of a query as before. Raises ValueError for a slot that is not there or holds no key, and for a
    memory of another kind than :class:`VMFMemory`.
    """
    chosen = _numbers(memory, slots)
    if not isinstance(memory, VMFMemory):
        raise ValueError(f"memory: a {type(memory).__name__} does not know frozen slots")
    if empty := chosen[~written(memory)[chosen]].tolist():
        raise ValueError(f"slots: {empty[0]} is empty; freeze slots that hold a key")
    edited = copy.deepcopy(memory)
    edited.frozen = inspect.frozen(memory).index_fill(0, chosen, True)
    return edited


@torch.no_grad()
def thawed(memory: Memory, slots: Sequence[int] | Int[Tensor, " n"]) -> Memory:
    """A copy in which writes change and replace ``slots`` again. Raises ValueError for a slot that is not there."""
    chosen, edited = _numbers(memory, slots), copy.deepcopy(memory)
    if isinstance(edited, VMFMemory) and edited.frozen is not None:
        left = edited.frozen.index_fill(0, chosen, False)
        edited.frozen = left if bool(left.any()) else None
    return edited


def _refresh(memory: MixtureMemory) -> None:
    """Let the index know of keys that came or went."""
    if isinstance(memory, VMFMemory):
        memory.refresh()


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
    found = torch.as_tensor(slots, device=memory.keys.device).reshape(-1)
    if len(found) and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise ValueError(f"slots: {found.tolist()}: some are not whole numbers; give the numbers of slots")
    chosen = found.long()
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < memory.num_slots:
        raise ValueError(f"slots: {chosen.tolist()}: the memory holds slots 0 to {memory.num_slots - 1}")
    return chosen
