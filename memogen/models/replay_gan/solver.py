"""The losses of deep generative replay (Shin et al. 2017; Wu et al. 2018 compare with it): an unconditional GAN, and a solver that labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ...losses import widen
from ...noise import Stream
from ...types import Batch, Latents, Loss
from .drawing import generate
from .losses import gradient_penalty
from .model import ReplayGAN
from .options import CriticConfig
from .teacher import Teacher


@dataclass(frozen=True)
class SolverLosses:
    """The critic's, the generator's and the solver's loss in one task. A share r of every loss is on the task's images, the rest on replays.

    # departs: the paper does not say how they mix; as in Shin et al. 2017 new images and replays are two parts of one loss, each with its penalty.
    """

    game: CriticConfig
    model: ReplayGAN
    teacher: Teacher | None = None

    @cached_property
    def share(self) -> float:
        """r = m / (m + k) of m new and k past classes. Reads device memory once."""
        if self.teacher is None:
            return 1.0
        new, past = len(self.model.current), len(self.teacher.known)
        return new / (new + past)

    def critic(self, batch: Batch) -> Loss:
        """D(fake) - r D(real) - (1 - r) D(replay), and the penalty in the same parts."""
        real, old, share = self._real(batch), self._replay(batch), self.share
        with torch.no_grad():
            fake = self._fake(batch)
        score = widen(self.model.critic(torch.cat([real, fake, old]))[0]).split([len(real), len(fake), len(old)])
        penalty = share * gradient_penalty(self.model, batch, real, fake)
        gap = score[1].mean() - share * score[0].mean()
        if len(old):
            penalty = penalty + (1 - share) * gradient_penalty(self.model, batch, old, fake)
            gap = gap - (1 - share) * score[2].mean()
        return Loss(gap + self.game.penalty * penalty, {"wasserstein": -gap.detach(), "penalty": penalty.detach()})

    def generator(self, batch: Batch) -> Loss:
        """-D(fake)."""
        loss = -widen(self.model.critic(self._fake(batch))[0]).mean()
        return Loss(loss, {"loss": loss.detach()})

    def solver(self, batch: Batch) -> Loss:
        """r CE on the task's labels, (1 - r) CE on those that the former solver gives to replays."""
        assert self.model.solver is not None and batch.label is not None, "an unconditional model has a solver, and the phase reads labels"
        real, old, share = self._real(batch), self._replay(batch), self.share
        logits = widen(self.model.solver(torch.cat([real, old]))[1]).split([len(real), len(old)])
        loss = share * F.cross_entropy(logits[0], batch.label)
        if self.teacher is not None and self.teacher.solver is not None:
            with torch.no_grad():
                label = self.teacher.solver(old)[1].argmax(1)
            loss = loss + (1 - share) * F.cross_entropy(logits[1], label)
        return Loss(loss, {"loss": loss.detach()})

    def _real(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        assert batch.image is not None, "the phase reads data"
        return self.model.pixels(batch.image)

    def _fake(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        return self.model.generate(Latents(self.model.noise(batch.index, batch.seed, batch.stream)), 1)

    @torch.no_grad()
    def _replay(self, batch: Batch) -> Float[Tensor, "n c h w"]:
        """A batch of the teacher's images; no images without a teacher."""
        if self.teacher is None:
            return torch.zeros(0, *self.model.config.frame, device=self.model.device, dtype=self.model.dtype)
        return generate(self.teacher.generator, Latents(self.model.noise(batch.index, batch.seed, batch.stream + Stream.REPLAY)), 1)
