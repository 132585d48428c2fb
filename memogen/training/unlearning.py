"""Unlearning: after it the generator cannot draw what some slots held, not even from their old keys. It needs no images.

Emptying a slot (:func:`memogen.memory.edit.without`) only stops it from being drawn. Here the generator is trained for a few steps against a frozen
copy of itself: queries near the forgotten slots learn to draw what the nearest other slot draws, all other queries to draw what they drew before.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from memogen.memory.functional import EMPTY
from memogen.memory.inspect import written
from memogen.nets.norm import evaluating
from memogen.types import InputError, Latents, SlotModel

STEPS = 300


@runtime_checkable
class UnlearningModel(SlotModel, Protocol):
    """A model of slots whose ``generator`` can be trained: ``generate`` is :meth:`decode` with gradients, in whatever mode the generator is."""

    if TYPE_CHECKING:  # as in SlotModel

        @property
        def generator(self) -> nn.Module: ...

    def generate(self, latents: Latents) -> Float[Tensor, "b c h w"]: ...


class Unlearning:
    """Trains ``self.model``, a copy of the given model, to forget ``slots`` in ``steps`` steps. The given model and the memory do not change.

    The learning rate falls linearly to zero, which keeps the noise of the last steps out of the other slots. Raises InputError for a model whose
    generator reads no slots, for slots of which none is real, and where no real slot would be left.
    """

    def __init__(
        self, model: Any, slots: Int[Tensor, " n"], *, steps: int = STEPS, learning_rate: float = 1e-3, batch_size: int = 64, seed: int = 0
    ) -> None:
        if not isinstance(model, UnlearningModel) or model.memory is None or model.latents(1).slot is None:
            raise InputError(f"unlearn: a {type(model).__name__} draws from no slots of a memory: choose a memoryGAN")
        memory = model.memory
        real = (memory.values > 0.5) & written(memory)
        self.gone = torch.zeros_like(real).index_fill(0, slots.to(real.device), True) & real
        self.stays = real & ~self.gone
        if not bool(self.gone.any()) or not bool(self.stays.any()):
            raise InputError("unlearn: name real slots, and leave some of them")
        self.before: Any = model
        self.model: Any = deepcopy(self.before)
        self.memory, self.batch_size, self.seed = memory, batch_size, seed
        self.steps, self.rate = steps, learning_rate
        self.optimiser = torch.optim.Adam(self.model.generator.parameters(), lr=learning_rate, fused=True)

    def step(self, number: int) -> Float[Tensor, ""]:
        """Take step ``number`` and return its loss. Half of the batch is drawn from forgotten slots, half from the others.

        The loss is E || G(z, q) - G_before(z, q') ||^2, summed over pixels, where q' = q outside the region of the forgotten slots
        (:meth:`instead`). Batch norm uses its running statistics, which do not change.
        """
        asked = self.latents(number)
        with torch.no_grad(), evaluating(self.before.generator):
            wanted = self.before.generate(self.instead(asked, number))
        with evaluating(self.model.generator):
            loss: Tensor = (self.model.generate(asked) - wanted).square().flatten(1).sum(1).mean()
        self.descend(loss, number)
        return loss.detach()

    def descend(self, loss: Float[Tensor, ""], number: int) -> None:
        """Move the generator down the gradient of ``loss``, at the learning rate of step ``number``."""
        self.optimiser.param_groups[0]["lr"] = self.rate * (1 - number / self.steps)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def latents(self, number: int) -> Latents:
        """The latents of step ``number``: half from the forgotten slots in proportion to their mass, half from the others."""
        index, half = self._index(number), self.batch_size // 2
        parts = ((index[:half], self.gone), (index[half:], self.stays))
        drawn = [self.before.latents_at(part, seed=self.seed, weight=self.memory.mass * chosen) for part, chosen in parts]
        return Latents(*(torch.cat([getattr(each, name) for each in drawn]) for name in ("noise", "key", "slot")))

    def instead(self, latents: Latents, number: int) -> Latents:
        """The latents with new queries where the most probable real slot is forgotten: drawn by the same numbers around the best slot that stays."""
        assert latents.key is not None and latents.slot is not None, "the generator reads slots"
        scaled = self.memory.concentration * latents.key.to(self.memory.keys)
        score = torch.addmm(self.memory.log_prior(), scaled, self.memory.keys.T)
        nearest = _best(score, self.stays)
        moved = self.before.latents_at(self._index(number), seed=self.seed, slot=nearest)
        forgotten = self.gone[_best(score, self.gone | self.stays)]
        return Latents(latents.noise, torch.where(forgotten[:, None], moved.key, latents.key), torch.where(forgotten, nearest, latents.slot))

    def _index(self, number: int) -> Int[Tensor, " b"]:
        return torch.arange(number * self.batch_size, (number + 1) * self.batch_size, device=self.memory.keys.device)


def _best(score: Float[Tensor, "b k"], among: Bool[Tensor, " k"]) -> Int[Tensor, " b"]:
    return score.masked_fill(~among, EMPTY).argmax(1)


def unlearned(model: Any, slots: Int[Tensor, " n"], *, steps: int = STEPS, seed: int = 0, told: Callable[[], object] | None = None) -> Any:
    """A copy of the model after ``steps`` steps of :class:`Unlearning`. ``told`` is called after each step.

    Its memory still has the slots; :func:`memogen.memory.edit.without` empties them. Raises InputError.
    """
    task = Unlearning(model, slots, steps=steps, seed=seed)
    for number in range(steps):
        task.step(number)
        if told is not None:
            told()
    return task.model
