"""The losses of a conditional model: the critic's game on the new task, and the terms that keep the past (Wu et al. 2018, Eqs. 1 to 13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ... import noise
from ...losses import slope_penalty, widen
from ...types import Batch, Latents, Loss
from .drawing import generate
from .model import ReplayGAN
from .options import AlignmentConfig, CriticConfig, JointConfig, ReplayConfig
from .teacher import ConsolidationConfig, Teacher

FEWEST = 4  # images of a class that batch norm is to see
STORED = 64  # images of a class that are drawn together for the bank


@dataclass(frozen=True)
class ReplayTerms:
    """How the past is kept (any of three ways), and how replays are drawn."""

    joint: JointConfig | None = None
    alignment: AlignmentConfig | None = None
    consolidation: ConsolidationConfig | None = None
    replay: ReplayConfig = field(default_factory=ReplayConfig)


class Asked(NamedTuple):
    """Latents to draw images from. Their classes ``classes`` (k,) come in turn; ``turns``: see :mod:`memogen.nets.class_norm`."""

    latents: Latents
    classes: Tensor
    turns: int

    @property
    def label(self) -> Int[Tensor, " n"]:
        """The class of each latent."""
        assert self.latents.label is not None, "a conditional model has classes"
        return self.latents.label


@dataclass(frozen=True)
class Losses:
    """The critic's and the generator's loss in one task. ``teacher`` None: there is no past, or nothing keeps it.

    Of the classes in a batch of fakes, as many images are drawn of each, in turn, so that batch norm sees single classes as the authors' does.
    ``banks`` holds stored replays once they are made, by seed.
    """

    terms: ReplayTerms
    game: CriticConfig
    model: ReplayGAN
    teacher: Teacher | None = None
    banks: dict[int, Tensor] = field(default_factory=dict)

    @cached_property
    def current(self) -> Int[Tensor, " m"]:
        """The classes of the task."""
        return self.model.current

    @cached_property
    def past(self) -> Int[Tensor, " k"]:
        """The classes that the teacher can replay."""
        known = self.teacher.known if self.teacher is not None else ()
        return torch.tensor(known, dtype=torch.long, device=self.model.device)

    @property
    def joint(self) -> JointConfig | None:
        return self.terms.joint if len(self.past) else None

    @property
    def alignment(self) -> AlignmentConfig | None:
        return self.terms.alignment if len(self.past) else None

    @property
    def classifies(self) -> bool:
        """Whether there is a class term."""
        return self.game.class_term == "always" or len(self.current) > 1 or self.joint is not None

    @property
    def replay_weight(self) -> float:
        """The weight of the mean over all replays, relative to that of the mean over the new task."""
        return 1.0 if self.joint is not None and self.joint.weights == "mean" else len(self.past) / len(self.current)

    @property
    def base_weight(self) -> float:
        """The weight of the new task: 1, or with "uniform" weights such that all weights sum to 1."""
        uniform = self.joint is not None and self.joint.weights == "uniform"
        return 1 / (1 + self.replay_weight) if uniform else 1.0

    # --- the critic ---

    def critic(self, batch: Batch) -> Loss:
        """D(fake) - D(real) + lambda_GP GP + lambda_CLS CE(real) on the new task, and the same without GP where replays are the real images."""
        assert batch.image is not None and batch.label is not None, "the critic phase reads labelled data"
        real, wanted = self.model.pixels(batch.image), self._past(batch) if self.joint is not None else None
        with torch.no_grad():
            fake = self.draw(self.fakes(batch))
            old, new = self._replays(batch, wanted) if wanted is not None else (fake[:0], fake[:0])
        score, logits = self._judged(real, fake, old, new)
        gap, class_term = score[1].mean() - score[0].mean(), self._class_term(logits[0], batch.label)
        also = len(old) if self.joint is not None and self.joint.penalty else 0
        penalty = gradient_penalty(self.model, batch, torch.cat([real[: len(fake)], old[:also]]), torch.cat([fake, new[:also]]))
        total = self.base_weight * (gap + class_term) + self.game.penalty * penalty
        terms = {"wasserstein": -gap, "class": class_term, "penalty": penalty}
        if wanted is not None:
            past_gap, past_told = score[3].mean() - score[2].mean(), self._class_term(logits[2], wanted.label)
            total = total + self.base_weight * self.replay_weight * (past_gap + past_told)
            terms |= {"past_wasserstein": -past_gap, "past_class": past_told}
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    # --- the generator ---

    def generator(self, batch: Batch) -> Loss:
        """-D(fake) + lambda_CLS CE(fake) on the new task and on past classes, and the terms that tie the generator to the teacher."""
        asked = self.fakes(batch)
        fake, past = self.draw(asked), self._past(batch) if self.joint is not None or self.alignment is not None else None
        new = self.draw(past) if past is not None else fake[:0]
        score, logits = self._judged(fake, new[: len(new) if self.joint is not None else 0])
        adversarial, class_term = -score[0].mean(), self._class_term(logits[0], asked.label)
        total = self.base_weight * (adversarial + class_term)
        terms = {"loss": adversarial, "class": class_term}
        if self.joint is not None and past is not None:
            kept, past_told = -score[1].mean(), self._class_term(logits[1], past.label)
            total = total + self.base_weight * self.replay_weight * (kept + past_told)
            terms |= {"past_loss": kept, "past_class": past_told}
        for name, value, weight in self._regularisers(past, new):
            total = total + weight * value
            terms |= {name: value, f"{name}_weight": value.new_full((), weight)}
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def _regularisers(self, past: Asked | None, new: Tensor) -> list[tuple[str, Tensor, float]]:
        """(name, value, weight) of each term that ties the generator to its teacher; alignment is the mean squared norm of an image's difference."""
        found: list[tuple[str, Tensor, float]] = []
        if self.alignment is not None and past is not None:
            norm = (new - self._replayed(past)).square().sum() / len(new)
            found.append(("alignment", norm, len(new) * self.alignment.coefficient(len(past.classes), len(new))))
        if self.terms.consolidation is not None and self.teacher is not None:
            found.append(("consolidation", self.consolidation(self.teacher), self.terms.consolidation.weight / 2))
        return found

    def consolidation(self, teacher: Teacher) -> Float[Tensor, ""]:
        """sum_i F_i (theta_i - theta*_i)^2 (Eq. 9)."""
        assert teacher.importance is not None, "the objective made it"
        triples = zip(self.model.generator.parameters(), teacher.generator.parameters(), teacher.importance.parameters(), strict=True)
        return torch.stack([(matter * (now - then).square()).sum() for now, then, matter in triples]).sum()

    # --- images ---

    def fakes(self, batch: Batch) -> Asked:
        """The task's classes to draw: in turn, or uniformly at random where batch norm is by the whole batch."""
        if self.model.config.statistics == "batch":
            return Asked(self.model.of_any(batch.index, self.current, seed=batch.seed, stream=batch.stream), self.current, 0)
        return self._in_turns(batch, self.current, 0)

    def draw(self, asked: Asked) -> Float[Tensor, "n c h w"]:
        """The model's images."""
        return self.model.generate(asked.latents, asked.turns)

    def _past(self, batch: Batch) -> Asked:
        """The past classes to draw: about a batch of all together ("split"), or a batch of each ("full")."""
        if self.terms.replay.images == "split":
            return self._in_turns(batch, self.past, noise.Stream.REPLAY)
        latents = self.model.in_turns(batch.index, self.past, seed=batch.seed, stream=batch.stream + noise.Stream.REPLAY)
        return Asked(latents, self.past, self._turns(self.past))

    def _in_turns(self, batch: Batch, classes: Tensor, stream: int) -> Asked:
        """About a batch of the classes in turn. If they are too many for a batch, some are chosen at random."""
        most = max(1, len(batch.index) // FEWEST)
        if len(classes) > most:
            address = batch.index[0] * len(classes) + torch.arange(len(classes), device=classes.device)
            rank = noise.uniform(address, 1, seed=batch.seed, stream=batch.stream + stream + noise.Stream.PAST_CLASS, dtype=torch.float64)[:, 0]
            classes = classes[rank.argsort()[:most]]
        index = batch.index[: len(batch.index) // len(classes)]
        return Asked(self.model.in_turns(index, classes, seed=batch.seed, stream=batch.stream + stream), classes, self._turns(classes))

    def _turns(self, classes: Tensor) -> int:
        return 0 if self.model.config.statistics == "batch" else len(classes)

    def _replays(self, batch: Batch, wanted: Asked) -> tuple[Tensor, Tensor]:
        """(the teacher's images, the model's images) of past classes; the same noise makes both unless the teacher's are stored."""
        assert self.joint is not None
        old = self._banked(batch, wanted) if self.joint.bank else self._replayed(wanted)
        return old, self.draw(wanted)

    @torch.no_grad()
    def _replayed(self, asked: Asked) -> Tensor:
        """The teacher's images."""
        assert self.teacher is not None
        return generate(self.teacher.generator, asked.latents, None if self.terms.replay.statistics == "stored" else asked.turns)

    def _banked(self, batch: Batch, wanted: Asked) -> Tensor:
        """Random stored replays of the wanted classes."""
        assert self.joint is not None
        if batch.seed not in self.banks:  # a function of the teacher and the seed, so a resumed task makes the same
            whole = torch.arange(-(-self.joint.bank // STORED) * STORED, device=self.model.device)
            asked = (
                Asked(self.model.in_turns(i, self.past, seed=batch.seed, stream=noise.Stream.BANK), self.past, self._turns(self.past))
                for i in whole.split(STORED)
            )
            stored = torch.cat([self._replayed(part) for part in asked])
            self.banks[batch.seed] = stored.unflatten(0, (len(whole), len(self.past)))[: self.joint.bank]
        row = noise.uniform(lines(batch, len(wanted.label)), 1, seed=batch.seed, stream=batch.stream + noise.Stream.BANK, dtype=torch.float64)[:, 0]
        return self.banks[batch.seed][(row * self.joint.bank).long(), torch.searchsorted(self.past, wanted.label)]

    # --- judging ---

    def _judged(self, *images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The critic's scores and class logits of each group of images, from one pass over all of them."""
        score, logits = self.model.critic(torch.cat(images))
        sizes = [len(group) for group in images]
        return widen(score).split(sizes), widen(logits).split(sizes)

    def _class_term(self, logits: Tensor, label: Tensor) -> Tensor:
        """lambda_CLS times the mean cross-entropy, or 0."""
        return self.game.class_weight * F.cross_entropy(logits, label) if self.classifies else logits.new_zeros(())


def gradient_penalty(model: ReplayGAN, batch: Batch, real: Float[Tensor, "n c h w"], fake: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """E (||grad D|| - 1)^2 at one addressed point between each real image and its fake, in full precision (Gulrajani et al. 2017, Eq. 3)."""
    share = noise.uniform(lines(batch, len(real)), 1, seed=batch.seed, stream=batch.stream + noise.Stream.PENALTY).view(-1, 1, 1, 1).to(real.dtype)
    with torch.autocast(real.device.type, enabled=False):
        return slope_penalty(model.critic.input_gradient(torch.lerp(real, fake, share)))


def lines(batch: Batch, num: int) -> Int[Tensor, " num"]:
    """``num`` addresses, the first ones being those of the batch itself."""
    place = torch.arange(num, device=batch.index.device)
    return batch.index[place % len(batch.index)] + (place // len(batch.index) << 40)
