"""The interface of a mixture memory: what it must offer, what reads and writes return, and which sizes and queries are refused.

:class:`memogen.memory.VMFMemory` is one. Another one that has the members of :class:`MixtureMemory` gets the pages, metrics and commands as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeGuard, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from .functional import DrawNumbers, gather_processes
from .policies import Policy


class MemoryRead(NamedTuple):
    """The answer to queries. ``weights`` is the posterior over the ``slots`` that were looked up.

    ``score`` and ``dense`` are kept for a write, without gradient: the log joint density up to a constant, of ``slots`` and of all slots; ``dense``
    is None where an index found the slots.
    """

    logit: Float[Tensor, " b"]
    value: Float[Tensor, " b"]
    slots: Int[Tensor, "b t"]
    weights: Float[Tensor, "b t"]
    score: Float[Tensor, "b t"]
    dense: Float[Tensor, "b k"] | None

    def joint(self) -> Self:
        """With the lookups of all processes in place of this one's, for a write that answers from the lookup."""
        return self._replace(slots=gather_processes(self.slots), score=gather_processes(self.score), dense=None)


class MemoryWrite(NamedTuple):
    """What a write did. ``touched`` and ``replaced`` mark slots; ``overwrites`` and ``dropped`` mark queries (of all processes, in rank order).

    A slot is touched when a query used it, as ``Policy.age_reset`` defines it; its age is then 0. ``dropped`` queries asked for a slot when every
    slot was in use. ``movement`` is the mean of 1 - cos between the old and the new key of a slot that EM updated. ``ignored`` queries changed
    nothing: they were not finite, or their label was neither 0 nor 1. On the CPU, where looking costs nothing, such queries raise ValueError.
    """

    touched: Bool[Tensor, " k"]
    replaced: Bool[Tensor, " k"]
    overwrites: Bool[Tensor, " b"]
    dropped: Bool[Tensor, " b"]
    movement: Float[Tensor, ""]
    ignored: Bool[Tensor, " b"]


class Slots(Protocol):
    """The slots of a memory: ``keys`` (k, d), ``values`` (k,) 1 real / 0 fake, ``mass`` (k,) the histogram h, ``age`` (k,) in writes."""

    if TYPE_CHECKING:  # buffers: Python 3.12 and newer do not find them where isinstance asks

        @property
        def keys(self) -> Tensor: ...
        @property
        def values(self) -> Tensor: ...
        @property
        def mass(self) -> Tensor: ...
        @property
        def age(self) -> Tensor: ...


@runtime_checkable
class Mixes(Protocol):
    """The methods of a mixture over slots. Only ``write`` changes it; random draws use ``generator`` or given numbers."""

    def __call__(self, query: Float[Tensor, "b d"]) -> MemoryRead: ...
    def write(self, query: Float[Tensor, "b d"], value: Shaped[Tensor, " b"] | int, read: MemoryRead | None = None) -> MemoryWrite: ...
    def log_prior(self) -> Float[Tensor, " k"]: ...
    def log_likelihood(self, query: Float[Tensor, "b d"], *, value: int = 1) -> Float[Tensor, " b"]: ...
    def posterior(self, query: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]: ...
    def sample(
        self,
        num: int,
        *,
        value: int = 1,
        weight: Float[Tensor, " k"] | None = None,
        generator: torch.Generator | None = None,
        uniform: Float[Tensor, " num"] | None = None,
    ) -> tuple[Float[Tensor, "num d"], Int[Tensor, " num"]]: ...
    def draw(
        self,
        num: int,
        *,
        slot: int | Int[Tensor, " num"] | None = None,
        value: int = 1,
        weight: Float[Tensor, " k"] | None = None,
        generator: torch.Generator | None = None,
        numbers: DrawNumbers | None = None,
    ) -> tuple[Float[Tensor, "num d"], Int[Tensor, " num"]]: ...
    def fitted_concentration(self, value: int = 1) -> Float[Tensor, ""]: ...


class MixtureMemory(Slots, Mixes, Protocol):
    """A memory that is a mixture over slots, as models, pages, metrics and commands need it: an ``nn.Module`` with these members.

    ``concentration`` is kappa, so that a slot's log joint density of a unit query q is kappa K.q + :meth:`log_prior`, up to a constant.
    """

    num_slots: int
    key_dim: int
    concentration: float


def is_mixture(memory: object) -> TypeGuard[MixtureMemory]:
    """Whether it is a mixture over slots, judged by its methods: since Python 3.12 ``isinstance`` does not see the buffers of a module."""
    return isinstance(memory, Mixes)


def check_sizes(num_slots: int, key_dim: int, *, concentration: float, top_k: int, decay: float, em_steps: int) -> None:
    """Raises ValueError for an option out of its range."""
    for name, count, least in (("num_slots", num_slots, 2), ("key_dim", key_dim, 2), ("top_k", top_k, 1), ("em_steps", em_steps, 1)):
        if count < least:
            raise ValueError(f"{name} is {count}; it must be at least {least}")
    if not 0 < concentration < math.inf:
        raise ValueError(f"concentration is {concentration}; it must be a positive number")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay is {decay}; it must lie in [0, 1]")


def check_candidates(candidates: int, num_slots: int, top_k: int, policy: Policy) -> None:
    """Raises ValueError for an index that could not hold what a read and a write look up."""
    if candidates and not min(top_k, num_slots) <= candidates <= num_slots:
        raise ValueError(f"candidates is {candidates}; it must lie between top_k and num_slots, {top_k} and {num_slots}, or be 0 for no index")
    if candidates and not policy.answers_from_lookup:
        raise ValueError("candidates: this policy needs the scores of all slots; use the policy 'robust', or 0 candidates")


def refuse_unknown(known: Bool[Tensor, " b"]) -> None:
    """Raises ValueError unless all queries can be learned."""
    if not bool(known.all()):
        raise ValueError(f"{int((~known).sum())} of {len(known)} queries are not finite, or have a label that is neither 0 nor 1: leave them out")
