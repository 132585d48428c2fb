"""Unlearning: a generator that can no longer draw what some slots held, even from their old keys. It needs no images.

Emptying a slot (:func:`memogen.memory.edit.without`) only stops it from being drawn. Here the generator is trained for a few steps against a frozen
copy of itself: a query of the forgotten slots' region is to draw what the nearest slot that stays draws, every other query what it drew before.
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
    """A copy of a model, ``model``, that is to forget ``slots`` in ``steps``; the one that was given never changes, and no memory does.

    The learning rate falls linearly to zero, so that the other slots do not pay for the noise of the last steps. Raises InputError for a model whose
    generator reads no slots, and where no real slot is named or none would stay.
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
        """The loss of step ``number``, by whose gradient the generator moves: half of the batch from forgotten slots, half from the others.

        E || G(z, q) - G_before(z, q') ||^2, summed over pixels; q' = q but in the region of the forgotten slots (:meth:`instead`). Batch norm stays
        as it was.
        """
        asked = self.latents(number)
        with torch.no_grad(), evaluating(self.before.generator):
            wanted = self.before.generate(self.instead(asked, number))
        with evaluating(self.model.generator):
            loss: Tensor = (self.model.generate(asked) - wanted).square().flatten(1).sum(1).mean()
        self.descend(loss, number)
        return loss.detach()

    def descend(self, loss: Float[Tensor, ""], number: int) -> None:
        """Step ``number`` down the gradient of the generator."""
        self.optimiser.param_groups[0]["lr"] = self.rate * (1 - number / self.steps)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def latents(self, number: int) -> Latents:
        """What step ``number`` draws: the forgotten slots by their mass, then as many of the others by theirs."""
        index, half = self._index(number), self.batch_size // 2
        parts = ((index[:half], self.gone), (index[half:], self.stays))
        drawn = [self.before.latents_at(part, seed=self.seed, weight=self.memory.mass * chosen) for part, chosen in parts]
        return Latents(*(torch.cat([getattr(each, name) for each in drawn]) for name in ("noise", "key", "slot")))

    def instead(self, latents: Latents, number: int) -> Latents:
        """The latents, but a query whose most probable real slot is forgotten is drawn anew, by the same numbers, around the best slot that stays."""
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
    """A copy of the model whose generator no longer draws what ``slots`` held, after ``steps`` of :class:`Unlearning`; ``told`` is called after each.

    Its memory still has the slots: :func:`memogen.memory.edit.without` takes them out. Raises InputError.
    """
    task = Unlearning(model, slots, steps=steps, seed=seed)
    for number in range(steps):
        task.step(number)
        if told is not None:
            told()
    return task.model
