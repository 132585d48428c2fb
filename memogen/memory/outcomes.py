"""What a read and a write of a mixture memory tell, and the sizes and queries that it refuses."""

from __future__ import annotations

import math
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class MemoryRead(NamedTuple):
    """What a query found. ``weights`` is the posterior over ``slots``.

    Kept for a write, without gradient: the log joint density up to a constant, of ``slots`` in ``score`` and of all slots in ``dense``.
    """

    logit: Float[Tensor, " b"]
    value: Float[Tensor, " b"]
    slots: Int[Tensor, "b t"]
    weights: Float[Tensor, "b t"]
    score: Float[Tensor, "b t"]
    dense: Float[Tensor, "b k"]


class MemoryWrite(NamedTuple):
    """What a write did. ``touched`` and ``replaced`` mark slots, ``overwrites`` and ``dropped`` mark queries (of all processes, in rank order).

    A slot is touched when a query used it, in the sense of ``Policy.age_reset``; its age is 0 then. ``dropped`` queries asked for a slot
    when every slot was in use. ``movement`` is the mean 1 - cos between a key that EM updated and itself before. ``ignored`` queries changed nothing:
    they were not finite, or had a label that is neither 0 nor 1; on the CPU, where looking costs nothing, they are refused instead.
    """

    touched: Bool[Tensor, " k"]
    replaced: Bool[Tensor, " k"]
    overwrites: Bool[Tensor, " b"]
    dropped: Bool[Tensor, " b"]
    movement: Float[Tensor, ""]
    ignored: Bool[Tensor, " b"]


def check_sizes(num_slots: int, key_dim: int, *, concentration: float, top_k: int, decay: float, em_steps: int) -> None:
    """ValueError naming the option that no memory can have."""
    for name, count, least in (("num_slots", num_slots, 2), ("key_dim", key_dim, 2), ("top_k", top_k, 1), ("em_steps", em_steps, 1)):
        if count < least:
            raise ValueError(f"{name} is {count}; it must be at least {least}")
    if not 0 < concentration < math.inf:
        raise ValueError(f"concentration is {concentration}; it must be a positive number")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay is {decay}; it must lie in [0, 1]")


def refuse_unknown(known: Bool[Tensor, " b"]) -> None:
    """ValueError where a query is not one that a memory can learn."""
    if not bool(known.all()):
        raise ValueError(f"{int((~known).sum())} of {len(known)} queries are not finite, or have a label that is neither 0 nor 1: leave them out")
