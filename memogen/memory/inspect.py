"""Looking inside a mixture memory: how much of it is in use, which slots carry the mass, how the prior is spread.

Every function reads the four buffers and changes none of them. Sums are taken in float64 on the device the memory is on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .functional import unit
from .protocol import MixtureMemory, Slots

LEVELS = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)  # of the quantiles in Usage


@dataclass(frozen=True)
class SavedSlots:
    """The buffers of a memory from a file: a :class:`Slots` without its module."""

    keys: Tensor
    values: Tensor
    mass: Tensor
    age: Tensor


@dataclass(frozen=True)
class Usage:
    """A memory in a dozen numbers. ``mass_quantiles`` and ``age_quantiles`` stand at :data:`LEVELS` and cover the written slots only.

    ``effective_real`` and ``effective_fake`` are exp(entropy) of p(c | v): n when n slots of the class share its mass evenly, 1 when one slot holds
    all of it, 0 when the class has no slot. ``mean_cosine_real`` is the mean over all pairs of different written real keys; nan below two keys.
    """

    num_slots: int
    real_share: float
    unwritten: int
    frozen: int
    effective_real: float
    effective_fake: float
    mean_cosine_real: float
    mass_quantiles: tuple[float, ...]
    age_quantiles: tuple[float, ...]


@dataclass(frozen=True)
class SlotRow:
    """One slot of a table; ``prior`` is its probability among the slots of its own value."""

    slot: int
    value: int
    mass: float
    age: int
    prior: float


def written(memory: Slots) -> Bool[Tensor, " k"]:
    """Slots that hold a key: an unwritten key is all zeros."""
    return memory.keys.ne(0).any(dim=-1)


def frozen(memory: Slots) -> Bool[Tensor, " k"]:
    """Which slots are frozen (k,); none for a memory that cannot freeze slots."""
    found: Tensor | None = getattr(memory, "frozen", None)
    return torch.zeros_like(memory.values, dtype=torch.bool) if found is None else found


def near(memory: Slots, centre: Float[Tensor, "n d"], cosine: float, *, value: int = 1) -> Int[Tensor, " m"]:
    """The written slots of the value whose key has at least this cosine with one of the rows ``centre``, by number."""
    reached = (unit(centre.to(memory.keys)) @ memory.keys.T >= cosine).any(0)
    return (reached & written(memory) & ((memory.values > 0.5) == bool(value))).nonzero()[:, 0]


def prior(memory: Slots, *, value: int = 1) -> Float[Tensor, " k"]:
    """p(c | v = value) = h_c [v_c = value] / sum_j h_j [v_j = value], float64; flat where the class has slots but no mass, zero without slots."""
    member = (memory.values > 0.5) == bool(value)
    weight = memory.mass.double() * member
    if not bool(weight.sum() > 0):
        weight = member.double()
    return weight / weight.sum().clamp_min(1e-300)


def tempered(memory: Slots, temper: float) -> Float[Tensor, " k"]:
    """mass ** ``temper`` as a weight to draw by, the largest of a class 1 unless it is the prior itself (``temper`` 1). 0 makes all written slots of
    a class alike, more than 1 favours heavy ones.

    Raises ValueError for a negative number and one that is not finite.
    """
    _check_temper(temper)
    if temper == 1:
        return memory.mass
    real, power = memory.values > 0.5, memory.mass.double().clamp_min(torch.finfo(torch.double).tiny).log()
    top = torch.where(real, power.masked_fill(~real, -math.inf).amax(), power.masked_fill(real, -math.inf).amax())
    return torch.exp(temper * (power - top))


@torch.no_grad()
def density_tempered(memory: MixtureMemory, temper: float) -> Float[Tensor, " k"]:
    """A weight that draws real queries with about p(q | real) ** ``temper``: mass times p(K | real) ** (temper - 1) at each key K, the largest 1.

    A memory that replaces old slots gives what is frequent more slots, not heavier ones; then :func:`tempered` changes little, and crowded slots
    must be drawn less. 1 is the prior itself. Raises ValueError for a negative number and one that is not finite.
    """
    _check_temper(temper)
    if temper == 1:
        return memory.mass
    power = (temper - 1) * memory.log_likelihood(memory.keys).double() + memory.mass.double().log()
    real = (memory.values > 0.5) & written(memory)
    return torch.exp(power - power.masked_fill(~real, -math.inf).amax()) * real


def _check_temper(temper: float) -> None:
    if not 0 <= temper < math.inf:
        raise ValueError(f"temper is {temper}; it must be 0 or more, and finite")


@torch.no_grad()
def rare(
    memory: MixtureMemory, best: Int[Tensor, " b"], *, share: float = 0.3, least: int = 2, by: Literal["density", "mass"] = "density"
) -> Float[Tensor, " k"]:
    """1 for the rarest real slots that held-out images confirm, 0 for all others: a weight to draw by.

    ``best`` is the best real slot of every held-out image, by :func:`best_slots`; a slot is confirmed by ``least`` of them. Of the confirmed ones so
    many are taken as hold ``share`` of their mass together, at least one: those with the lowest p(K | real) at their key, or the lightest ("mass").
    All are 0 where none is confirmed. Raises ValueError for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must lie above 0, and be 1 at most")
    images = torch.bincount(best[best >= 0].to(memory.mass.device), minlength=len(memory.mass))
    slots = ((images >= least) & (memory.values > 0.5) & written(memory)).nonzero()[:, 0]
    common = memory.mass if by == "mass" else memory.log_likelihood(memory.keys)
    slots = slots[common[slots].sort(stable=True).indices]
    held = memory.mass[slots].double().cumsum(0)
    taken = slots[: max(1, int((held <= share * held[-1] * (1 + 1e-9)).sum()))] if len(slots) else slots
    return torch.zeros_like(memory.mass).index_fill(0, taken, 1.0)


def effective_number(probability: Float[Tensor, " k"]) -> float:
    """exp(entropy): the number of equally likely outcomes with the same entropy; 0 for an all-zero vector."""
    if not bool(probability.sum() > 0):
        return 0.0
    return math.exp(-float(torch.special.xlogy(probability, probability).sum()))


def sorted_prior(memory: Slots, *, value: int = 1) -> Float[Tensor, " n"]:
    """p(c | v = value) over the slots of that value, largest first (the paper's Fig. 3c)."""
    member = (memory.values > 0.5) == bool(value)
    return prior(memory, value=value)[member].sort(descending=True).values


def mean_cosine(keys: Float[Tensor, "n d"]) -> float:
    """Mean cosine over all pairs of different unit rows, exact in O(n d): (|sum_i K_i|^2 - sum_i |K_i|^2) / (n (n - 1))."""
    if len(keys) < 2:
        return math.nan
    keys = keys.double()
    total = keys.sum(0).square().sum() - keys.square().sum()
    return float(total / (len(keys) * (len(keys) - 1)))


def _quantiles(x: Tensor) -> tuple[float, ...]:
    """The quantiles at LEVELS (the nearest member below); all NaN for no members. It sorts, as torch.quantile stops at 16 million entries."""
    if not len(x):
        return (math.nan,) * len(LEVELS)
    ordered = x.double().sort().values
    return tuple(float(ordered[int(level * (len(x) - 1))]) for level in LEVELS)


def usage(memory: Slots) -> Usage:
    """Summarise a memory; see :class:`Usage`."""
    real, used = memory.values > 0.5, written(memory)
    return Usage(
        num_slots=len(memory.values),
        real_share=float(real.double().mean()),
        unwritten=int((~used).sum()),
        frozen=int(frozen(memory).sum()),
        effective_real=effective_number(prior(memory, value=1)),
        effective_fake=effective_number(prior(memory, value=0)),
        mean_cosine_real=mean_cosine(memory.keys[real & used]),
        mass_quantiles=_quantiles(memory.mass[used]),
        age_quantiles=_quantiles(memory.age[used]),
    )


def top_slots(memory: Slots, num: int = 10, *, value: int | None = None) -> tuple[SlotRow, ...]:
    """The ``num`` slots with the most mass, heaviest first, ties by lowest index; ``value`` 1 keeps the real ones, 0 the fake ones."""
    real = memory.values > 0.5
    by_value = prior(memory, value=1) + prior(memory, value=0)
    mass = memory.mass.double() if value is None else memory.mass.double().masked_fill(real != bool(value), -1.0)
    order = mass.sort(descending=True, stable=True).indices[:num].tolist()
    return tuple(
        SlotRow(slot, int(real[slot]), float(memory.mass[slot]), int(memory.age[slot]), float(by_value[slot])) for slot in order if mass[slot] >= 0
    )


def spread_slots(memory: Slots, num: int, *, value: int = 1) -> tuple[SlotRow, ...]:
    """``num`` slots evenly spaced down the sorted prior, from the heaviest to the lightest: a fair picture of what the memory holds."""
    members = int(((memory.values > 0.5) == bool(value)).sum())
    rows = top_slots(memory, members, value=value)
    return tuple(rows[place] for place in sorted({round(i * (members - 1) / max(1, num - 1)) for i in range(num)}) if rows)


@torch.no_grad()
def best_slots(memory: MixtureMemory, query: Float[Tensor, "b d"], *, value: int = 1) -> Int[Tensor, " b"]:
    """The most probable slot of each query among those of the value, by p(c) exp(kappa K_c.q), ties by lowest index; -1 where no slot has it.

    How many different ones there are tells how much of a memory the queries reach.
    """
    member = (memory.values > 0.5) == bool(value)
    if not bool(member.any()):
        return torch.full((len(query),), -1, device=memory.keys.device)
    with torch.autocast(query.device.type, enabled=False):
        scaled = memory.concentration * unit(query.to(memory.keys))
        score = torch.addmm(memory.log_prior().to(scaled), scaled, memory.keys.T)  # logarithms: a far slot's probability would round to 0
    return score.masked_fill(~member, -math.inf).argmax(1)


@dataclass(frozen=True)
class SlotPosterior:
    """p(c | query) of the best real slots, the sum over the ``other_real`` slots, and the sum over the ``fake`` slots; together they are one."""

    slots: tuple[int, ...]
    probability: tuple[float, ...]
    other_real: float
    fake: float


@torch.no_grad()
def slot_posterior(memory: MixtureMemory, query: Float[Tensor, "1 d"], num: int = 9) -> SlotPosterior:
    """The ``num`` real slots with the highest posterior at one query, highest first (the paper's Fig. 3b)."""
    posterior = memory.posterior(query)[0].double()
    real = memory.values > 0.5
    best = posterior.masked_fill(~real, -1.0).sort(descending=True, stable=True).indices[: min(num, int(real.sum()))]
    shown = float(posterior[best].sum())
    return SlotPosterior(
        slots=tuple(int(slot) for slot in best),
        probability=tuple(float(share) for share in posterior[best]),
        other_real=float(posterior[real].sum()) - shown,
        fake=float(posterior[~real].sum()),
    )
