"""Which slots a query looks at: the k best of all, or the best of each class."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from .functional import EMPTY, Statistics

SPARSE = 16  # a sum over rows one by one costs some 16 times as much for each number as a matrix product


def is_sparse(places: int, num_slots: int) -> bool:
    """Whether sums over ``places`` slots for each query cost less than matrix products with all slots."""
    return SPARSE * places <= num_slots


def top_k(score: Float[Tensor, "b k"], k: int) -> Int[Tensor, "b t"]:
    """The k best slots; all of them, in slot order, when k covers the memory."""
    if k >= score.shape[1]:
        return torch.arange(score.shape[1], device=score.device).expand(score.shape)
    return score.topk(k, dim=-1, sorted=False).indices


def top_k_per_class(score: Float[Tensor, "b k"], values: Float[Tensor, " k"], k: int) -> Int[Tensor, "b t"]:
    """ceil(k/2) best real and floor(k/2) best fake slots; a class with fewer slots than its half gives its unused places to the other."""
    if k >= score.shape[1]:
        return top_k(score, k)
    real = values > 0.5
    return _per_class_columns(score, real, k) if score.device.type == "cpu" else _per_class_masks(score, real, k)


def class_shares(real: Bool[Tensor, " k"], k: int) -> list[tuple[Int[Tensor, " slots"], int]]:
    """(slots, places) of the real and of the fake class; k covers at most all slots."""
    slots = [side.nonzero()[:, 0] for side in (real, ~real)]
    k, num_real, num_fake = min(k, len(real)), len(slots[0]), len(slots[1])
    real_share = min(num_real, max((k + 1) // 2, k - num_fake))
    return [(slots[0], real_share), (slots[1], k - real_share)]


def _per_class_columns(score: Tensor, real: Tensor, k: int) -> Tensor:
    """Each class's own columns: the least work, but the number of slots of a class must be known here and now."""
    return torch.cat([at[pick(score, at).topk(share, dim=1, sorted=False).indices] for at, share in class_shares(real, k)], 1)


def pick(score: Tensor, at: Tensor) -> Tensor:
    """Columns of a matrix: a view where they lie side by side, as the classes do until a slot changes its value."""
    adjacent = len(at) > 0 and int(at[-1] - at[0]) + 1 == len(at)
    return score[:, int(at[0]) : int(at[-1]) + 1] if adjacent else score[:, at]


def _per_class_masks(score: Tensor, real: Tensor, k: int) -> Tensor:
    """The same without reading a number from the device: k of each class, then the shares by place."""
    num_real = real.sum()
    real_share = torch.minimum(num_real, (k - (score.shape[1] - num_real)).clamp_min((k + 1) // 2))
    by_class = [score.masked_fill(other, EMPTY).topk(k, dim=-1).indices for other in (~real, real)]
    place = torch.arange(k, device=score.device)
    pick = torch.where(place < real_share, place, k + place - real_share)
    return torch.cat(by_class, 1)[:, pick]


class _Found(torch.autograd.Function):
    """The scores kappa K.q + log p(c) of the slots looked up. Their gradient in q is kappa times the weighted sum of their keys alone."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, score: Tensor, slots: Tensor, concentration: float) -> Tensor:
        ctx.save_for_backward(keys, slots)
        ctx.concentration = concentration
        return score.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        keys, slots = ctx.saved_tensors
        return ctx.concentration * F.embedding_bag(slots, keys, mode="sum", per_sample_weights=grad), None, None, None, None


def found(
    query: Float[Tensor, "b d"], keys: Float[Tensor, "k d"], score: Float[Tensor, "b t"], slots: Int[Tensor, "b t"], *, concentration: float
) -> Float[Tensor, "b t"]:
    """The scores of the slots looked up, which are known; differentiable in ``query``, twice as well, by the keys of these slots alone."""
    return _Found.apply(query, keys, score, slots, concentration)  # type: ignore[no-untyped-call]


def unwritten(keys: Float[Tensor, "k d"]) -> Bool[Tensor, " k"]:
    """Which slots have no key yet."""
    if not keys.is_cpu:
        return keys.norm(dim=1) == 0
    empty = keys[:, 0] == 0  # so few that the rest of them is soon read
    rows = empty.nonzero()[:, 0]
    empty[rows] = keys[rows].norm(dim=1) == 0
    return empty


def oldest(age: Float[Tensor, " k"], free: Bool[Tensor, " k"], num: int) -> Int[Tensor, " n"]:
    """At least ``num`` slots, or all: first the free ones from the oldest on, ties by lowest index, then others."""
    age = age.masked_fill(~free, -1)
    if age.is_cpu and num < len(age):  # the few that may be asked for, without sorting all
        able = (age >= age.topk(num, sorted=False).values.amin()).nonzero()[:, 0]
        return able[torch.argsort(age[able], descending=True, stable=True)]
    return torch.argsort(age, descending=True, stable=True)


def assigned(
    asks: Bool[Tensor, " b"], value: Float[Tensor, " b"], age: Float[Tensor, " k"], unused: Bool[Tensor, " k"], values: Float[Tensor, " k"] | None
) -> tuple[Int[Tensor, " k"], Bool[Tensor, " b"]]:
    """(for every slot the query that overwrites it, or -1; the queries that ask and find no slot).

    The oldest ``unused`` slots go first, ties by index; with the ``values`` of the slots, a query gets one of its own ``value``.
    """
    source = torch.full((len(age) + 1,), -1, device=asks.device)
    dropped = torch.zeros_like(asks)
    for cls in (None,) if values is None else (0, 1):
        wants = asks if cls is None else asks & (value == cls)
        if wants.is_cpu and not bool(wants.any()):
            continue
        free = unused if values is None else unused & (values == cls)
        slots = oldest(age, free, len(asks))
        place = wants.cumsum(0) - 1
        served = wants & (place < free.sum())
        target = torch.where(served, slots[place.clamp(0, len(slots) - 1)], len(age))
        source.scatter_(0, target, torch.arange(len(asks), device=asks.device))
        dropped |= wants & ~served
    return source[:-1], dropped


class Scores(NamedTuple):
    """Log joint densities of all slots up to a constant (None where not needed), the slots looked up, and the densities of these."""

    dense: Float[Tensor, "b k"] | None
    slots: Int[Tensor, "b t"]
    found: Float[Tensor, "b t"]


class Responsibilities(NamedTuple):
    """The slots that each query updates, its responsibility for each, and which of the places count."""

    slots: Int[Tensor, "b t"]
    weights: Float[Tensor, "b t"]
    member: Bool[Tensor, "b t"]

    def statistics(self, query: Float[Tensor, "b d"]) -> tuple[Int[Tensor, " r"], Statistics]:
        """The slots that any query updates, and what the batch adds to each: a sum over its own queries, in their order."""
        place = self.member.flatten().nonzero()[:, 0]
        slots, order = self.slots.flatten()[place].sort(stable=True)
        rows, counts = torch.unique_consecutive(slots, return_counts=True)
        place, first = place[order], counts.cumsum(0) - counts
        weights, source = self.weights.flatten()[place], place.div(self.slots.shape[1], rounding_mode="floor")
        if not len(rows):
            return rows, Statistics(query[:0].clone(), weights)
        total = weights.new_zeros(len(rows)).index_add_(0, torch.repeat_interleave(counts), weights)
        return rows, Statistics(F.embedding_bag(source, query, first, mode="sum", per_sample_weights=weights), total)

    def dense(self, num_slots: int) -> Tensor:
        """Responsibilities (b, k)."""
        return self.weights.new_zeros(len(self.slots), num_slots).scatter_(1, self.slots, self.weights)

    def without(self, frozen: Bool[Tensor, " k"] | None) -> Responsibilities:
        """The same with responsibility 0 for ``frozen`` slots. The other responsibilities do not change."""
        if frozen is None:
            return self
        member = self.member & ~frozen[self.slots]
        return Responsibilities(self.slots, self.weights * member, member)

    def support(self, num_slots: int) -> Tensor:
        """Which slots each query updates (b, k)."""
        return torch.zeros(len(self.slots), num_slots, dtype=torch.bool, device=self.slots.device).scatter_(1, self.slots, self.member)

    def best(self) -> Responsibilities:
        """Each query's first slot only."""
        first = self.weights.argmax(1, keepdim=True)
        return Responsibilities(*(part.gather(1, first) for part in self))

    def touched(self, num_slots: int) -> Tensor:
        """Which slots any query updates (k,)."""
        touched = torch.zeros(num_slots + 1, dtype=torch.bool, device=self.slots.device)
        return touched.index_fill_(0, torch.where(self.member, self.slots, num_slots).flatten(), True)[:-1]
