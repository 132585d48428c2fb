"""VMFMemory: a von Mises-Fisher mixture that reads as a discriminator, writes by incremental EM and samples as a generator's prior.

Kim, Kim and Kim, "Memorization Precedes Generation: Learning Unsupervised GANs with Memory Networks", ICLR 2018, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from . import functional, lookup
from .functional import EMPTY, INITIAL_MASS, DrawNumbers, EMState, Statistics
from .index import InvertedFile
from .lookup import Responsibilities, Scores
from .policies import Policy, PolicyName
from .protocol import MemoryRead, MemoryWrite, check_candidates, check_sizes, refuse_unknown

_COSINE_DECAY = 0.99  # of the running mean cosine, per write of its class


class VMFMemory(nn.Module):
    """A memory of ``num_slots`` slots (key, value 1 real / 0 fake, mass, age). Reading never writes; :meth:`write` is the only mutation.

    ``frozen`` marks slots that no write changes or replaces; they are read like all others, and keep their part of a query. None: no slot is frozen.

    All arithmetic is done in float32 (or the buffers' wider type) whatever the autocast. Queries need not be normalised.

    Args:
        num_slots: N, at least 2. key_dim: M, at least 2. concentration: kappa > 0. top_k: k of Eq. 3, clamped to ``num_slots``.
        decay: alpha in [0, 1], what a touched slot keeps of its mass. em_steps: T >= 1.
        policy: how it reads and writes, or the name of a preset. candidates: of each class, the slots that an index picks for a query to score
        (:class:`memogen.memory.index.InvertedFile`); 0 scores all slots.
    """

    keys: Tensor
    values: Tensor
    mass: Tensor
    age: Tensor
    cosine: Tensor
    frozen: Tensor | None

    def __init__(
        self,
        num_slots: int,
        key_dim: int,
        *,
        concentration: float = 20.0,
        top_k: int = 128,
        decay: float = 0.5,
        em_steps: int = 1,
        policy: Policy | PolicyName = "robust",
        candidates: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(num_slots, key_dim, concentration=concentration, top_k=top_k, decay=decay, em_steps=em_steps)
        self.num_slots, self.key_dim = num_slots, key_dim
        self.concentration, self.top_k, self.decay, self.em_steps = concentration, top_k, decay, em_steps
        self.policy = Policy.preset(policy) if isinstance(policy, str) else policy
        check_candidates(candidates, num_slots, top_k, self.policy)
        self.register_buffer("keys", torch.zeros(self._num_keys(), key_dim))
        self.register_buffer("values", torch.ones(num_slots))
        self.values[(num_slots + 1) // 2 :].zero_()  # a comparison would make torch load its compiler where a model is outlined on "meta"
        self.register_buffer("mass", torch.full((num_slots,), INITIAL_MASS))
        self.register_buffer("age", torch.zeros(num_slots))
        self.register_buffer("cosine", torch.zeros(2, 2))  # by class, fake first: decayed sum over its queries, and their decayed number
        self.register_buffer("frozen", None)  # bool (k,); a state without frozen slots has no such entry
        self.index = InvertedFile(num_slots, key_dim, candidates) if candidates else None

    def _num_keys(self) -> int:
        """How many keys this process holds."""
        return self.num_slots

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """``.to()``, ``.half()`` and ``.cuda()``, except that the buffers stay float32 or wider: they are sums over many writes."""

        def wide(tensor: Tensor) -> Tensor:
            found = fn(tensor)
            return tensor.to(found.device) if found.is_floating_point() and found.itemsize < 4 else found

        return super()._apply(wide, recurse)  # type: ignore[no-untyped-call]  # torch's own hook

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """torch's hook. A state has the entry "frozen" only if some slots are frozen."""
        self.frozen = torch.zeros_like(self.values, dtype=torch.bool) if f"{prefix}frozen" in state_dict else None
        super()._load_from_state_dict(state_dict, prefix, *args)

    # --- reading ---

    def forward(self, query: Float[Tensor, "b d"]) -> MemoryRead:
        """p(y = 1 | x) over the slots looked up (Eqs. 1-4), as a logit. Pure; differentiable in ``query``; no gradient reaches a key."""
        with torch.autocast(query.device.type, enabled=False):
            dense, slots, found = self._look_up(query)
            weights = torch.softmax(found, dim=1)
            real = self.values[slots] > 0.5
            value = (weights * real).sum(1)
            return MemoryRead(self._logit(found, value, real), value, slots, weights, found.detach(), dense)

    def log_prior(self) -> Float[Tensor, " k"]:
        """log p(c) of every slot under the policy."""
        mass = self.mass * self.decay if self.policy.decayed_mass else self.mass
        return functional.log_prior(mass, self.values, prior=self.policy.prior)

    def log_likelihood(self, query: Float[Tensor, "b d"], *, value: int = 1) -> Float[Tensor, " b"]:
        """log p(query | y = value) under the whole mixture of that class, all constants kept (density on the unit sphere)."""
        with torch.autocast(query.device.type, enabled=False):
            log_prior = self.log_prior().masked_fill((self.values > 0.5) != bool(value), EMPTY)
            score = self._score(query, log_prior - torch.logsumexp(log_prior, 0))
            constant = functional.log_normaliser(torch.tensor(float(self.concentration), dtype=torch.float64), self.key_dim)
            return torch.logsumexp(score, 1) + constant.to(score)

    def posterior(self, query: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """p(c | x) over all slots (Eq. 1), for inspection."""
        with torch.autocast(query.device.type, enabled=False):
            return torch.softmax(self._score(query, self.log_prior()), dim=1)

    @torch.no_grad()
    def sample(
        self,
        num: int,
        *,
        value: int = 1,
        weight: Float[Tensor, " k"] | None = None,
        generator: torch.Generator | None = None,
        uniform: Float[Tensor, " num"] | None = None,
    ) -> tuple[Float[Tensor, "num d"], Int[Tensor, " num"]]:
        """``num`` slots from p(c = i | v = value), proportional to mass, and their keys.

        ``weight`` takes the place of the mass; ``memogen.memory.inspect`` makes some (``tempered``, ``density_tempered``, ``rare``).
        ``uniform`` in [0, 1) decides them by the inverse distribution function, for draws that must not depend on a generator's state.
        A slot without a key is drawn only where the class has no other. The class must have a slot.
        """
        mass = self.mass if weight is None else functional.checked_weight(weight.to(self.mass.device), self.values, value)
        weight = mass.double() * ((self.values > 0.5) == bool(value))
        written = weight * ~self._unwritten()
        if uniform is None:
            uniform = torch.rand(num, generator=generator, dtype=torch.float64, device=generator.device if generator else self.keys.device)
        slots = functional.categorical(torch.where(written.sum() > 0, written, weight), uniform)
        return self.keys_of(slots), slots

    @torch.no_grad()
    def draw(
        self,
        num: int,
        *,
        slot: int | Int[Tensor, " num"] | None = None,
        value: int = 1,
        weight: Float[Tensor, " k"] | None = None,
        generator: torch.Generator | None = None,
        numbers: DrawNumbers | None = None,
    ) -> tuple[Float[Tensor, "num d"], Int[Tensor, " num"]]:
        """``num`` queries of the mixture p(q | v = value), and their slots: von Mises-Fisher draws around the keys of :meth:`sample`, by ``weight``
        if given, or of ``slot``, one for all or one for each.

        Their concentration is :meth:`fitted_concentration`. ``numbers`` in place of a generator decides them, for draws addressed by a count.
        """
        if isinstance(num, bool) or not isinstance(num, int) or num < 0:
            raise ValueError(f"num is {num!r}; it must be a whole number, 0 or more")
        numbers = numbers or DrawNumbers.random(num, self.key_dim, generator=generator, device=self.keys.device)
        uniform, normal = (part.to(self.keys.device) for part in numbers)
        if slot is None:
            keys, slots = self.sample(num, value=value, weight=weight, uniform=uniform[:, 0])
        else:
            slots = torch.as_tensor(slot, device=uniform.device).expand(num)
            keys = self.keys_of(slots)
        return functional.vmf_draw(keys, self.fitted_concentration(value), uniform[:, 1:].unflatten(1, (-1, 3)), normal), slots

    def keys_of(self, slots: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """The keys of these slots."""
        return self.keys[slots]

    def fitted_concentration(self, value: int = 1) -> Float[Tensor, ""]:
        """The concentration at which the slots of a class fit their members, whatever ``concentration`` the memory reads with.

        It follows from the running mean cosine between a query and the most probable slot of its class before the write. Until the class is full
        there is no such mean, and it is the memory's own ``concentration``.
        """
        total, number = self.cosine[int(value)].unbind()
        fitted = functional.fit_concentration(total / number.clamp_min(torch.finfo(number.dtype).tiny), self.key_dim)
        return torch.where(number > 0, fitted, self.concentration)

    def _unit(self, query: Tensor) -> Tensor:
        """The query with norm one, in float32 or wider."""
        query = query.to(torch.promote_types(self.keys.dtype, torch.float32))
        if query.ndim != 2 or query.shape[1] != self.key_dim:
            raise ValueError(f"query has shape {tuple(query.shape)}; expected (batch, {self.key_dim})")
        return functional.unit(query)

    def _score(self, query: Tensor, log_prior: Tensor) -> Tensor:
        """kappa K.q + log p(c) of every slot (b, k)."""
        query = self._unit(query)
        return torch.addmm(log_prior.to(query.dtype), self.concentration * query, self.keys.T.to(query.dtype))

    def _look_up(self, query: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """(scores of all slots, without gradient, or None by the index; slots looked up; their scores)."""
        log_prior, kappa = self.log_prior(), self.concentration
        if self.index is not None:
            unit = self._unit(query)
            listed = self.index.look_up(unit, self.keys, self.values, log_prior, kappa, self.top_k)
            if listed is not None:
                return None, listed[0], lookup.found(unit, self.keys, listed[1], listed[0], concentration=kappa)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._sparse):
            score = self._score(query, log_prior)
        dense, by_class = score.detach(), self.policy.lookup == "by_class"
        slots = lookup.top_k_per_class(dense, self.values, self.top_k) if by_class else lookup.top_k(dense, self.top_k)
        found = score.gather(1, slots)
        return dense, slots, lookup.found(self._unit(query), self.keys, found, slots, concentration=kappa) if self._sparse else found

    @property
    def _sparse(self) -> bool:
        """Whether a query looks up only few of the slots."""
        return lookup.is_sparse(self.top_k, self.num_slots)

    def _logit(self, found: Tensor, value: Tensor, real: Tensor) -> Tensor:
        if self.policy.clip:
            value = value.clamp(self.policy.clip, 1 - self.policy.clip)
            return torch.log(value) - torch.log1p(-value)
        classes = [torch.logsumexp(found.masked_fill(other, EMPTY), 1) for other in (~real, real)]
        return (classes[0] - classes[1]).clamp(-1e4, 1e4)  # finite where a lookup holds one class only

    # --- writing ---

    @torch.no_grad()
    def write(self, query: Float[Tensor, "b d"], value: Shaped[Tensor, " b"] | int, read: MemoryRead | None = None) -> MemoryWrite:
        """Learn a batch of queries with labels ``value`` (1 real, 0 fake): incremental EM, then replacements (paper, section 3.1.2).

        ``read`` of the same queries under the same memory saves the lookup. With ``torch.distributed`` the queries of all processes are
        gathered first, so every process ends with the memory that one process would hold on the joint batch; all give a ``read``, or none.
        The result does not depend on the order of the queries. Differentiate through a read before the write: its backward pass needs the keys
        that it saw.

        Raises ValueError, before anything is changed, for no queries at all and for queries of another shape; on the CPU also for numbers that
        are not finite and for other labels. Elsewhere such queries are ``ignored``, since looking at them would make the device wait.
        """
        if read is not None and len(read.slots) != len(query):
            raise ValueError(f"read is of {len(read.slots)} queries and {len(query)} are written: give the read of the same queries, or none")
        query, value, joint = self._gathered(query, value)
        if joint and read is not None:
            read = read.joint() if self.policy.answers_from_lookup else None
        known = torch.isfinite(query).all(1) & ((value == 0) | (value == 1))
        if query.is_cpu:
            refuse_unknown(known)
        query, value = functional.unit(torch.where(known[:, None], query, 0)), torch.where(known, value, 0)
        order = functional.canonical_order(query, value)
        query, value, known = query[order], value[order], known[order]
        with torch.autocast(query.device.type, enabled=False):
            done = self._write_batch(query, value, known, self._scores(query, read, order))
        back = torch.argsort(order)
        return done._replace(overwrites=done.overwrites[back], dropped=done.dropped[back], ignored=~known[back])

    def refresh(self) -> None:
        """Make the index anew, if there is one: to be called after keys or values were changed by anything but :meth:`write`."""
        if self.index is not None:
            self.index.make_lists(self.keys, self.values, anew=True)

    def _gathered(self, query: Tensor, value: Tensor | int) -> tuple[Tensor, Tensor, bool]:
        """Queries and labels of all processes, and whether there are several processes. Raises ValueError for wrong shapes."""
        query = query.detach().to(torch.promote_types(self.keys.dtype, torch.float32))
        if query.ndim != 2 or query.shape[1] != self.key_dim:
            raise ValueError(f"query has shape {tuple(query.shape)}; expected (batch, {self.key_dim})")
        value = torch.as_tensor(value, dtype=query.dtype, device=query.device)
        if value.shape not in ((), (len(query),)):
            raise ValueError(f"value has shape {tuple(value.shape)}; expected one label for each of {len(query)} queries, or one for all")
        both = torch.cat([query, value.expand(len(query))[:, None]], 1)
        joint = functional.gather_processes(both)
        if not len(joint):
            raise ValueError("there are no queries to write: give one or more")
        return joint[:, :-1], joint[:, -1], joint is not both

    def _scores(self, query: Tensor, read: MemoryRead | None, order: Tensor) -> Scores:
        """The lookup of the queries, in canonical order; taken from ``read`` if that is given."""
        if read is not None:
            dense, slots, found = read.dense, read.slots[order], read.score[order]
        else:
            dense, slots, found = self._look_up(query)
            order = torch.arange(len(query), device=query.device)
        return Scores(None if dense is None or self.policy.answers_from_lookup else dense[order], slots, found)

    def _write_batch(self, query: Tensor, value: Tensor, known: Tensor, scores: Scores) -> MemoryWrite:
        filling = self._filling(value)
        wrong = (self._asks_for_slot(scores, value) | filling) & known
        self._follow_cosine(query, value, scores, known & ~filling)
        responsibilities = self._responsibilities(scores, value, known & ~wrong)
        movement = self._learn(query, responsibilities)
        used = (responsibilities.best() if self.policy.age_reset == "best" else responsibilities).without(self.frozen).touched(self.num_slots)
        self.age += 1 if self.frozen is None else ~self.frozen
        self.age.masked_fill_(used, 0)
        unused = ~used if self.frozen is None else ~(used | self.frozen)
        source, dropped = lookup.assigned(wrong, value, self.age, unused, None if self.policy.oldest == "of_all" else self.values)
        replaced = self._overwrite(query, value, source)
        if self.index is not None:
            self.index.follow(self.keys, self.values, (used | replaced).nonzero()[:, 0])
        return MemoryWrite(used, replaced, wrong & ~dropped, dropped, movement, ~known)

    def _follow_cosine(self, query: Tensor, value: Tensor, scores: Scores, full: Tensor) -> None:
        """Add a batch to the running mean cosine of each class, leaving out queries whose class is not ``full`` or that found no key of it."""
        if scores.dense is None:
            best, place = scores.found.masked_fill(self.values[scores.slots] != value[:, None], EMPTY).max(1)
            slots = scores.slots.gather(1, place[:, None])[:, 0]
        else:
            best, slots = scores.dense.masked_fill(self.values != value[:, None], EMPTY).max(1)
        cosine = self._cosine(query, slots)
        counts = full & (best > EMPTY / 2) & (cosine != 0)
        member = torch.stack([counts & (value < 0.5), counts & (value > 0.5)]).to(cosine)
        number = member.sum(1)
        self.cosine.mul_(torch.where(number > 0, _COSINE_DECAY, 1)[:, None]).add_(torch.stack([(member * cosine).sum(1), number], 1))

    def _cosine(self, query: Tensor, slots: Tensor) -> Tensor:
        """The cosine between each query and the key of its own slot (b,)."""
        return (query * self.keys[slots]).sum(1)

    def _asks_for_slot(self, scores: Scores, value: Tensor) -> Tensor:
        """Which queries ask to overwrite a slot, because the best slot has the wrong label (b,)."""
        right = self.values[scores.slots] == value[:, None]
        best = scores.found.masked_fill(~right, EMPTY).amax(1)
        return best < scores.found.masked_fill(right, EMPTY).amax(1)

    def _filling(self, value: Tensor) -> Tensor:
        """Which queries are of a class that still has unwritten slots (b,)."""
        if not self.policy.fill_empty:
            return torch.zeros_like(value, dtype=torch.bool)
        unwritten, real = self._unwritten() if self.index is None else self.index.empty(), self.values > 0.5
        return torch.where(value > 0.5, (unwritten & real).any(), (unwritten & ~real).any())

    def _unwritten(self) -> Tensor:
        """Which slots have no key yet (k,)."""
        return lookup.unwritten(self.keys)

    def _responsibilities(self, scores: Scores, value: Tensor, keep: Tensor) -> Responsibilities:
        """S_y and the posterior on it; all zero for queries outside ``keep``."""
        soft = self.policy.label_match == "soft"
        slots, score = scores.slots, scores.found
        if scores.dense is not None:
            right = self.values == value[:, None]
            choice = scores.dense - 2 * self.concentration * ~right if soft else scores.dense.masked_fill(~right, EMPTY)
            slots = choice.argmax(1, keepdim=True) if self.policy.rule == "kaiser" else lookup.top_k(choice, self.top_k)
            score = scores.dense.gather(1, slots)  # the penalty chooses slots; the posterior on them has none
        member = keep[:, None].expand_as(slots)
        if not soft:
            member = member & (self.values[slots] == value[:, None])
        weights = functional.masked_softmax(score, member)
        if self.policy.shared_slot == "last":
            support = Responsibilities(slots, weights, member).support(self.num_slots)
            place = torch.arange(1, len(slots) + 1, device=slots.device)[:, None] * support
            member = member & (place == place.amax(0)).gather(1, slots)
        return Responsibilities(slots, weights * member, member)

    def _learn(self, query: Tensor, responsibilities: Responsibilities) -> Tensor:
        """Eq. 5, or Kaiser's rule. Returns the mean movement of a touched key."""
        learning = responsibilities.without(self.frozen)
        if self.keys.is_cpu and self._sparse and self.policy.rule == "em" and self.em_steps == 1:  # a device would have to tell the number of rows
            return self._learn_rows(query, learning)
        policy, responsibility, touched = self.policy, learning.dense(self.num_slots), learning.touched(self.num_slots)
        base = torch.where(touched, self._base_mass(self.mass), self.mass)
        state = functional.m_step(EMState(self.keys, self.mass, self.keys, base), Statistics.of(query, responsibility), histogram=policy.histogram)
        if policy.rule == "kaiser":
            one = torch.ones_like(base)
            state = state._replace(keys=functional.m_step(EMState(self.keys, one, self.keys, one), Statistics.of(query, responsibility)).keys)
        for _ in range(self.em_steps - 1 if policy.rule == "em" else 0):
            support = responsibilities.support(self.num_slots)
            state = functional.em_step(state, query, support, concentration=self.concentration, histogram=policy.histogram, frozen=self.frozen)
        turned = torch.where(touched, 1 - torch.linalg.vecdot(self.keys, state.keys), 0)
        self.keys.copy_(state.keys)
        self.mass.copy_(state.mass)
        return turned.sum() / touched.sum().clamp_min(1)

    def _learn_rows(self, query: Tensor, responsibilities: Responsibilities) -> Tensor:
        """One step of Eq. 5 that reads and writes the touched slots alone."""
        rows, batch = responsibilities.statistics(query)
        keys, mass = self.keys[rows], self.mass[rows]
        state = functional.m_step(EMState(keys, mass, keys, self._base_mass(mass)), batch, histogram=self.policy.histogram)
        self.keys[rows], self.mass[rows] = state.keys, state.mass
        return (1 - torch.linalg.vecdot(keys, state.keys)).sum() / max(len(rows), 1)

    def _base_mass(self, mass: Tensor) -> Tensor:
        """The mass that touched slots keep, before the batch is counted."""
        return self.decay * mass + (1 - self.decay) * self.policy.mass_floor + (self.policy.histogram == "unit")

    def _overwrite(self, query: Tensor, value: Tensor, source: Tensor) -> Tensor:
        """Slot i becomes query source[i], unless that is -1. Returns which slots do."""
        replaced, mean = source >= 0, self.mass.mean()
        if self.keys.is_cpu:  # a few rows; elsewhere their number would have to be fetched from the device
            rows = replaced.nonzero()[:, 0]
            self.keys[rows], self.values[rows] = query[source[rows]].to(self.keys), value[source[rows]].to(self.values)
            self.mass[rows], self.age[rows] = mean, 0.0
            return replaced
        self.keys.copy_(torch.where(replaced[:, None], query[source.clamp_min(0)].to(self.keys), self.keys))
        self.values.copy_(torch.where(replaced, value[source.clamp_min(0)].to(self.values), self.values))
        self.mass.copy_(torch.where(replaced, mean, self.mass))
        self.age.masked_fill_(replaced, 0)
        return replaced

    def extra_repr(self) -> str:
        return f"num_slots={self.num_slots}, key_dim={self.key_dim}, concentration={self.concentration:g}, top_k={self.top_k}"
