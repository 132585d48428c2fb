"""ShardedMemory: a VMFMemory whose keys are divided over the processes of ``torch.distributed``, so that it may be larger than one device.

Of W processes, process r holds the keys of the slots r, r + W, r + 2W, .. as rows 0, 1, 2, .. of ``keys``: slot s is row s // W of process s % W.
What a slot has beside its key (value, mass, age) is a few numbers, which all processes hold and change alike; so totals, priors and the oldest slots
are those of the whole memory without asking.

Reading: the queries of all processes are gathered, every process scores its own keys, and the best of each part go back to the owner of the query,
who keeps the best of all. The gradient takes the same way back: each process sums over its own keys, and the owner of the query adds up the sums.
Writing: every process knows the lookups of all queries, and changes its own keys.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from . import functional, lookup
from .functional import EMState, gather_processes, process_counts
from .lookup import Responsibilities
from .policies import Policy
from .protocol import MemoryRead, MemoryWrite
from .vmf import VMFMemory

_SCORES = 1 << 26  # that a process computes at once
_BLOCK = 4096  # rows that each process sends at once when all keys are gathered


class ShardedMemory(VMFMemory):
    """Part ``rank`` of a memory that ``world_size`` processes hold together. All of them call each method that reads or writes, in the same order.

    It does with the joint queries what a :class:`VMFMemory` does, up to the order of sums. Among equal scores any slots may be looked up.
    The keys are not in its state, which is the same on all processes. :func:`whole_state` gathers them; loading a whole state takes the own rows.

    Args:
        num_slots: N of the whole memory, at least ``world_size``. options: as of a :class:`VMFMemory`, but see :func:`check_sharded`.
    """

    unwritten: Tensor

    def __init__(self, num_slots: int, key_dim: int, *, rank: int, world_size: int, **options: Any) -> None:
        if num_slots < world_size:
            raise ValueError(f"num_slots is {num_slots}; it must be at least {world_size} to be divided over {world_size} processes")
        self.rank, self.world_size = rank, world_size
        super().__init__(num_slots, key_dim, **options)
        check_sharded(self.policy, em_steps=self.em_steps, candidates=options.get("candidates", 0))
        self.register_buffer("keys", self.keys, persistent=False)
        self.register_buffer("unwritten", torch.ones(num_slots, dtype=torch.bool), persistent=False)  # which slots of all have no key yet

    def _num_keys(self) -> int:
        return len(range(self.rank, self.num_slots, self.world_size))

    def _owns(self, slots: Int[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
        """Which of the slots have their key in this process."""
        return slots % self.world_size == self.rank

    # --- reading ---

    @torch.no_grad()
    def keys_of(self, slots: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """The keys of these slots, which may be others on each process."""
        counts = process_counts(slots)
        joint = gather_processes(slots, counts)
        own = self._owns(joint)
        keys = self.keys.new_zeros(len(joint), self.key_dim)
        keys[own] = self.keys[joint[own] // self.world_size]
        return _to_owners(keys, counts).sum(0)

    def _look_up(self, query: Tensor) -> tuple[None, Tensor, Tensor]:
        """(None; the slots looked up by the queries of this process; their scores)."""
        unit, found = self._unit(query), list[tuple[Tensor, Tensor]]()
        with torch.no_grad():
            counts = process_counts(unit)
            joint, prior = gather_processes(unit, counts), self.log_prior().to(unit.dtype)
            for members, share in lookup.class_shares(self.values > 0.5, self.top_k):
                offers = self._own_best(joint, prior, members[self._owns(members)], share)
                slots, scores = (_to_owners(offer, counts).transpose(0, 1).flatten(1) for offer in offers)
                best = scores.topk(share, dim=1, sorted=False)
                found.append((slots.gather(1, best.indices), best.values))
        slots, scores = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return None, slots, _Found.apply(unit, self.keys, scores, slots, self)  # type: ignore[no-untyped-call]

    def _own_best(self, joint: Tensor, prior: Tensor, own: Tensor, share: int) -> tuple[Tensor, Tensor]:
        """The best ``share`` of the slots ``own`` for every query, and their scores: minus infinity in places for which there is no slot."""
        keys, num, found = lookup.pick(self.keys.T.to(joint.dtype), own // self.world_size), min(share, len(own)), list[tuple[Tensor, Tensor]]()
        for query in joint.split(-(-_SCORES // max(1, len(own)))):
            best = torch.addmm(prior[own], self.concentration * query, keys).topk(num, dim=1, sorted=False)
            found.append((own[best.indices], best.values))
        slots, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        return F.pad(slots, (0, share - num)), F.pad(scores, (0, share - num), value=-math.inf)

    def _score(self, query: Tensor, log_prior: Tensor) -> Tensor:
        raise ValueError("the keys are divided over processes, and this asks for the scores of all slots: load the saved model, which is whole")

    def _unwritten(self) -> Tensor:
        return self.unwritten

    # --- writing ---

    @torch.no_grad()
    def write(self, query: Float[Tensor, "b d"], value: Shaped[Tensor, " b"] | int, read: MemoryRead | None = None) -> MemoryWrite:
        return super().write(query, value, self(query) if read is None else read)

    def _cosine(self, query: Tensor, slots: Tensor) -> Tensor:
        own, cosine = self._owns(slots), query.new_zeros(len(query))
        cosine[own] = (query[own] * self.keys[slots[own] // self.world_size]).sum(1)
        dist.all_reduce(cosine)
        return cosine

    def _learn(self, query: Tensor, responsibilities: Responsibilities) -> Tensor:
        """One step of Eq. 5: each process turns its own keys, and all learn the new masses from the owners."""
        learning = responsibilities.without(self.frozen)
        mine, touched = learning.member & self._owns(learning.slots), learning.touched(self.num_slots)
        slots, batch = learning._replace(member=mine).statistics(query)
        rows = slots // self.world_size
        keys, mass = self.keys[rows], self.mass[slots]
        state = functional.m_step(EMState(keys, mass, keys, self._base_mass(mass)), batch, histogram=self.policy.histogram)
        self.keys[rows] = state.keys
        masses = torch.zeros_like(self.mass).index_copy_(0, slots, state.mass)[touched]
        turned = (1 - torch.linalg.vecdot(keys, state.keys)).sum()
        told = torch.cat([masses, turned[None]])
        dist.all_reduce(told)
        self.mass[touched] = told[:-1]
        return told[-1] / max(len(masses), 1)

    def _overwrite(self, query: Tensor, value: Tensor, source: Tensor) -> Tensor:
        replaced, mean = source >= 0, self.mass.mean()
        slots = replaced.nonzero()[:, 0]
        source, own = source[slots], self._owns(slots)
        keys = query[source].to(self.keys)
        self.keys[slots[own] // self.world_size] = keys[own]
        self.unwritten[slots], self.values[slots] = keys.norm(dim=1) == 0, value[source].to(self.values)
        self.mass[slots], self.age[slots] = mean, 0.0
        return replaced

    # --- whole again ---

    @torch.no_grad()
    def gather_keys(self) -> Float[Tensor, "k d"] | None:
        """All keys, in host memory of process 0; None on the others. They are sent in blocks, so that no device has to hold them all."""
        whole = torch.empty(self.num_slots, self.key_dim, dtype=self.keys.dtype) if self.rank == 0 else None
        for first in range(0, -(-self.num_slots // self.world_size), _BLOCK):
            rows = self.keys[first : first + _BLOCK]
            num = min(_BLOCK, -(-self.num_slots // self.world_size) - first)  # of process 0, which has the most
            rows = F.pad(rows, (0, 0, 0, num - len(rows))).contiguous()
            parts = [torch.empty_like(rows) for _ in range(self.world_size)] if whole is not None else None
            dist.gather(rows, parts)
            if whole is not None and parts is not None:
                place = whole[first * self.world_size : (first + num) * self.world_size]
                place.copy_(torch.stack(parts, 1).flatten(0, 1)[: len(place)])
        return whole

    def whole(self) -> VMFMemory | None:
        """The undivided memory, in host memory of process 0; None on the others."""
        keys = self.gather_keys()
        if keys is None:
            return None
        options: dict[str, Any] = {name: getattr(self, name) for name in ("concentration", "top_k", "decay", "em_steps", "policy")}
        with torch.device("meta"):
            memory = VMFMemory(self.num_slots, self.key_dim, **options)
        memory.load_state_dict({**{name: part.cpu() for name, part in self.state_dict().items()}, "keys": keys}, assign=True)
        return memory.train(self.training)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """torch's hook. A state without keys leaves them as they are."""
        keys = state_dict.pop(f"{prefix}keys", None)
        super()._load_from_state_dict(state_dict, prefix, *args)
        if keys is not None and keys.shape != (self.num_slots, self.key_dim):
            args[-1].append(f"size mismatch for {prefix}keys: {tuple(keys.shape)}, and the memory has ({self.num_slots}, {self.key_dim})")
        elif keys is not None:
            self.keys.copy_(keys[self.rank :: self.world_size])
            self.unwritten.copy_(lookup.unwritten(keys))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, part {self.rank} of {self.world_size}"


class _Found(torch.autograd.Function):
    """The scores of the slots looked up, which are known. Their gradient in the queries is summed where the keys are, and sent to the owners."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, score: Tensor, slots: Tensor, memory: ShardedMemory) -> Tensor:
        ctx.save_for_backward(keys, slots)
        ctx.memory = memory
        return score.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (keys, slots), memory = ctx.saved_tensors, ctx.memory
        counts = process_counts(slots)
        slots, grad = gather_processes(slots, counts), gather_processes(grad, counts)
        own = memory._owns(slots)
        sizes = own.sum(1)
        rows, weights = slots[own] // memory.world_size, grad[own]
        sums = F.embedding_bag(rows, keys, sizes.cumsum(0) - sizes, mode="sum", per_sample_weights=weights)
        return memory.concentration * _to_owners(sums, counts).sum(0), None, None, None, None


def _to_owners(joint: Shaped[Tensor, "joint ..."], counts: list[int]) -> Shaped[Tensor, "world b ..."]:
    """What every process has for the rows of this one, in rank order. ``counts``: how many of the joint rows are each process's."""
    own = counts[dist.get_rank()]
    received = joint.new_empty(len(counts) * own, *joint.shape[1:])
    dist.all_to_all_single(received, joint.contiguous(), [own] * len(counts), counts)
    return received.view(len(counts), own, *joint.shape[1:])


def check_sharded(policy: Policy, *, em_steps: int, candidates: int) -> None:
    """Raises ValueError for options with which a write needs more of another process's keys than a lookup tells, and for an index."""
    if candidates:
        raise ValueError(f"candidates is {candidates}; it must be 0 with sharded keys, of which no index is kept")
    if em_steps != 1:
        raise ValueError(f"em_steps is {em_steps}; it must be 1 with sharded keys")
    if not (policy.answers_from_lookup and policy.fill_empty):
        raise ValueError("sharded: this policy needs the scores of all slots, or learns in empty ones; use the policy 'robust', or leave sharded off")


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, on process 0 with all keys of its sharded memories, in host memory. All processes call it."""
    state = dict(module.state_dict())
    for name, part in module.named_modules():
        if isinstance(part, ShardedMemory) and (keys := part.gather_keys()) is not None:
            state[f"{name}.keys" if name else "keys"] = keys
    return state
