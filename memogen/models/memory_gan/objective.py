"""What a memoryGAN is trained by: Eqs. 7 and 8 of Kim, Kim and Kim (ICLR 2018), and the write of Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ...augment import AugmentConfig, augment, views
from ...configs import LATER
from ...losses import AdversarialKind, critic_loss, generator_loss, info_nce, widen
from ...memory import MemoryRead, MixtureMemory, VMFMemory
from ...memory.functional import gather_processes, unit
from ...nets.slot_rows import SlotGenerator
from ...noise import Stream
from ...types import Batch, InputError, Latents, Loss, OptimiserConfig, Phase
from ..replayed import state_bytes
from .model import MemoryGAN
from .replay import Past, SlotTeacher, past_of
from .sparse import present_mass, settle


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Within, batch norm normalises by the batch and leaves its running statistics alone."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class _Judged(NamedTuple):
    """What a loss passes on to the write: the queries, which of them are real, and the memory's read."""

    query: Tensor
    value: Tensor
    read: MemoryRead


@dataclass(frozen=True)
class ContrastConfig:
    """Contrastive loss on queries (SimCLR, Chen et al. 2020): two views of one real image get similar queries, two images different ones.

    ``weight``: the factor of the loss; 0 turns it off. ``temperature``: of its softmax. ``augment``: how the two views of each real image are made.
    Both views are augmented. With the image itself as one of the two, digits lost a point of inception score.
    """

    weight: float = 1.0
    temperature: float = 0.2
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight is {self.weight}; it must be finite and not negative")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}; it must be positive and finite")


@dataclass(frozen=True)
class MemoryGANObjective:
    """Eqs. 7 and 8, with the memory written after each critic step (Algorithm 1).

    ``information``: lambda on the mutual-information term, the cosine of the condition and mu(G(z, condition)), or with ``information_form``
    "squared" the authors' mean squared error between the condition and the unnormalised query. ``contrast`` trains the queries of real images.
    ``write_in_generator_step``: fake queries of the generator step are written too, as the authors' code does. ``replay``: on a sequence of tasks,
    images of a frozen copy take the place of the earlier tasks' (:mod:`.replay`); ``replay_share`` of them do, and images of the task of the others.
    ``kept_slots``: in place of replay, after each task so many slots are frozen, and the next one trains rows of its own slots alone
    (:mod:`.sparse`); it needs ``model.slot_rows``. ``augmentation``: the critic judges one random view of every image,
    real or generated, in both phases, so that it cannot know few training images by heart (Zhao et al. 2020, "Differentiable augmentation for
    data-efficient GAN training", Eqs. 3 and 4); None for the images themselves. ``augment_fake`` False leaves the generated images as they are.
    """

    # departs: Eq. 8 prints the saturating loss of the generator, whose gradient vanishes while D is sure that its images are fake.
    adversarial: AdversarialKind = "non_saturating"
    information: float = 0.01
    information_form: Literal["cosine", "squared"] = "cosine"
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    write_in_generator_step: bool = False
    replay: bool = False
    replay_share: float = field(default=1.0, metadata=LATER)
    kept_slots: int = field(default=0, metadata=LATER)
    augmentation: AugmentConfig | None = field(default=None, metadata=LATER)
    augment_fake: bool = field(default=True, metadata=LATER)
    critic: OptimiserConfig = field(default_factory=OptimiserConfig)
    generator: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        if self.adversarial not in get_args(AdversarialKind):
            raise ValueError(f"adversarial is {self.adversarial!r}; it must be one of {', '.join(get_args(AdversarialKind))}")
        if not 0 <= self.replay_share <= 1:
            raise ValueError(f"replay_share is {self.replay_share}; it must lie between 0 and 1")
        if self.kept_slots < 0 or (self.kept_slots and self.replay):
            raise ValueError(f"kept_slots is {self.kept_slots}; it must not be negative, and 0 with replay, which keeps the past another way")
        if self.information < 0:
            raise ValueError(f"information is {self.information}; it must not be negative")

    def teacher(self, model: MemoryGAN) -> SlotTeacher | None:
        """An empty copy of the model that will replay earlier tasks; None without replay."""
        return SlotTeacher(model) if self.replay else None

    def teach(self, teacher: SlotTeacher, model: MemoryGAN) -> None:
        """Copy the model to the teacher, after a task."""
        teacher.follow(model)

    def settle(self, model: MemoryGAN, best: MemoryGAN) -> None:
        """With ``kept_slots``: freeze the heaviest slots of the last task. ``best`` has the generator to continue from."""
        if self.kept_slots:
            settle(model, best, self.kept_slots)

    def cost(self, model: MemoryGAN, tasks: Sequence[int], *, steps: int, batch_size: int) -> dict[str, float]:
        """The number of images drawn in training by the generator and its frozen copy, and the megabytes stored beside the model."""
        teacher = self.teacher(model)
        drawn = steps * batch_size * (2 * len(tasks) + (len(tasks) - 1 if teacher is not None else 0))
        return {"generated_images": float(drawn), "kept_megabytes": 0.0 if teacher is None else state_bytes(teacher) / 1e6}

    def phases(self, model: MemoryGAN, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        """The critic's phase, then the generator's. A ``teacher`` that has learned a task replays it to the critic. Raises InputError."""
        if bool(self.kept_slots) != model.config.slot_rows:
            raise InputError(f"objective.kept_slots is {self.kept_slots} and model.slot_rows {model.config.slot_rows}: give both, or neither")
        if self.replay and model.config.memory is not None and model.config.memory.sharded:
            raise InputError("objective.replay: its frozen copy holds all keys, and model.memory.sharded is true: set one of both to false")
        if self.contrast.weight and not model.config.query_length:
            raise InputError("objective.contrast.weight: a critic without queries has nothing to contrast: set it to 0, or model.query_dim")
        sparse = isinstance(model.generator, SlotGenerator) and model.generator.begun
        steps = _Steps(self, model, past_of(teacher, self.replay_share), sparse)
        critic = Phase("critic", (model.critic,), steps.critic, steps.write, optimiser=self.critic)
        late = steps.write if self.write_in_generator_step else None
        return critic, Phase("generator", (model.generator,), steps.generator, late, optimiser=self.generator, reads_data=False)


@dataclass(frozen=True)
class _Steps:
    """The two losses of a step, and the write."""

    objective: MemoryGANObjective
    model: MemoryGAN
    past: Past | None = None
    sparse: bool = False

    def critic(self, batch: Batch) -> Loss:
        """L_D of Eq. 7, to which the contrast of real queries is added by default (:class:`ContrastConfig`).

        Real images, fake ones and the contrasted views pass the critic one after another, so that batch norm never mixes them.
        """
        model = self.model
        assert batch.image is not None, "the critic phase reads data"
        latents = self._latents(batch)
        with torch.no_grad():
            fake = self._drawn(latents)
        real = model.pixels(batch.image)
        real = real if self.past is None else self.past.mixed(real, batch)
        real_feature = widen(model.critic(self._viewed(real, batch, Stream.REAL_VIEW)))
        with _frozen_statistics(model.critic):
            # departs: running statistics describe real images only, so that queries of held-out images fall where the real keys are.
            fake_feature = widen(model.critic(self._viewed(fake, batch, Stream.FAKE_VIEW)))
        logit, carry, terms = self._judge(torch.cat([real_feature, fake_feature]), latents, num_real=len(real_feature))
        real_logit, fake_logit = logit.split([len(real_feature), len(fake_feature)])
        loss = critic_loss(real_logit, fake_logit, self.objective.adversarial)
        information = self._information(latents, fake_feature)
        terms |= {"loss": loss, "real": torch.sigmoid(real_logit).mean(), "fake": torch.sigmoid(fake_logit).mean(), "information": information}
        total = loss + self.objective.information * information
        if self.objective.contrast.weight:
            terms["contrast"] = self._contrast(real, batch)
            total = total + self.objective.contrast.weight * terms["contrast"]
        return Loss(_watched(total), {name: term.detach() for name, term in terms.items()}, carry)

    def generator(self, batch: Batch) -> Loss:
        """L_G (Eq. 8) on fresh latents."""
        model = self.model
        latents = self._latents(batch)
        fake = self._drawn(latents)
        with _frozen_statistics(model.critic):
            feature = widen(model.critic(self._viewed(fake, batch, Stream.FAKE_VIEW)))
        logit, carry, _ = self._judge(feature, latents, num_real=0)
        loss, information = generator_loss(logit, self.objective.adversarial), self._information(latents, feature)
        terms = {"loss": loss.detach(), "information": information.detach()}
        return Loss(_watched(loss + self.objective.information * information), terms, carry)

    def write(self, loss: Loss) -> dict[str, Tensor]:
        """Write the queries of the step to the memory, if there is one."""
        judged = loss.carry
        memory = self.model.memory
        if memory is None or not isinstance(judged, _Judged):
            return {}
        done = memory.write(judged.query, judged.value, judged.read if len(judged.value) else None)
        gradient, scale = judged.query.grad, loss.total.grad
        share = {} if gradient is None or scale is None else {"query_gradient": gradient.norm(dim=1).mean() / scale}
        return share | write_terms(memory, judged.read, done.overwrites, done.dropped, done.movement, judged.value)

    def _latents(self, batch: Batch) -> Latents:
        """The latents of the batch; with sparse writing from the slots of the present task alone."""
        weight = present_mass(self.model.memory) if self.sparse and isinstance(self.model.memory, VMFMemory) else None
        return self.model.latents_at(batch.index, seed=batch.seed, stream=batch.stream, weight=weight)

    def _drawn(self, latents: Latents) -> Tensor:
        """The generated images, with gradients."""
        generator = self.model.generator
        if not isinstance(generator, SlotGenerator) or latents.slot is None:
            return self.model.generate(latents)
        return generator.drawn(self.model.code(latents), latents.slot, rows=self.sparse)

    def _judge(self, feature: Tensor, latents: Latents, *, num_real: int) -> tuple[Tensor, _Judged | None, dict[str, Tensor]]:
        """(logits, what a write needs, terms to log). The first ``num_real`` rows are real images, the others fakes made from ``latents``."""
        model, memory = self.model, self.model.memory
        if memory is None:
            return model.logit(feature, None), None, {}
        query = model.query(feature)
        if query.requires_grad:
            query.retain_grad()
        read = memory(query)
        value = (torch.arange(len(query), device=query.device) < num_real).to(query.dtype)
        real = memory.values[read.slots] > 0.5
        terms = {"one_class": (real.all(1) | ~real.any(1)).float().mean()}
        judged = _Judged(query, value, read)
        if not model.config.projects or latents.key is None:
            return model.logit(feature, read), judged, terms
        # departs: the paper's D never asks whether an image and its cluster belong together; asked, it teaches the generator what each slot holds.
        condition = torch.cat([model.own_condition(feature, read)[:num_real], latents.key.to(feature.dtype)])
        return model.logit(feature, read, condition), judged, terms

    def _viewed(self, image: Tensor, batch: Batch, stream: int) -> Tensor:
        """The images as the critic sees them: with ``augmentation`` a random view of each, or of each real one."""
        config = self.objective.augmentation
        if config is None or (stream == Stream.FAKE_VIEW and not self.objective.augment_fake):
            return image
        # departs: the paper's D sees the images themselves; of a few hundred pictures it soon knows each one, and G learns to copy them.
        return augment(image, batch.index, seed=batch.seed, stream=batch.stream + stream, config=config, image_range=self.model.image_range)

    def _contrast(self, real: Tensor, batch: Batch) -> Tensor:
        """InfoNCE between the queries of two views of each real image."""
        # departs: nothing in the paper's losses keeps what tells images apart in the queries; real against fake removes it.
        contrast, model = self.objective.contrast, self.model
        streams = [batch.stream + stream for stream in Stream.VIEWS]
        pair = views(real, batch.index, seed=batch.seed, streams=streams, config=contrast.augment, image_range=model.image_range)
        with _frozen_statistics(model.critic):
            first, second = unit(model.query(widen(model.critic(pair)))).chunk(2)
        joint = _of_all_processes(first)
        loss = info_nce(joint, _of_all_processes(second), contrast.temperature)
        # Each process differentiates its own rows of the joint loss; merging takes the mean of gradients, where this one needs their sum.
        return loss + (len(joint) // len(first) - 1) * (loss - loss.detach())

    def _information(self, latents: Latents, feature: Tensor) -> Tensor:
        """The information term of Eq. 6, without the factor kappa, which lambda absorbs."""
        if latents.key is None:
            return feature.new_zeros(())
        key = latents.key.to(feature.dtype)
        if self.objective.information_form == "squared":
            return F.mse_loss(self.model.query(feature), key)
        return -(unit(self.model.query(feature)) * key).sum(1).mean()


def _of_all_processes(rows: Float[Tensor, "b d"]) -> Float[Tensor, "joint d"]:
    """The rows of all processes in rank order. Gradients reach the rows of this process."""
    joint = gather_processes(rows.detach())
    if len(joint) == len(rows):
        return rows
    start = torch.distributed.get_rank() * len(rows)
    return torch.cat([joint[:start], rows, joint[start + len(rows) :]])


def _watched(total: Tensor) -> Tensor:
    """A loss that keeps its own gradient, which is the factor of the scaler in half precision."""
    if total.requires_grad:
        total.retain_grad()
    return total


def write_terms(memory: MixtureMemory, read: MemoryRead, overwrites: Tensor, dropped: Tensor, movement: Tensor, value: Tensor) -> dict[str, Tensor]:
    """The numbers by which the life signs judge a memory, as scalars on the device."""
    real, mass = memory.values > 0.5, memory.mass
    asked = (overwrites | dropped).float()
    terms = {"replaced": overwrites.float().mean(), "asked": asked.mean(), "movement": movement, "real_slots": real.float().mean()}
    terms |= {"effective_real": _effective(mass * real), "effective_fake": _effective(mass * ~real)}
    terms["nearest"] = ((read.score - memory.log_prior()[read.slots]) / memory.concentration).amax(1).mean()
    if len(asked) == len(value):
        terms["replaced_real"] = (overwrites * value).sum() / value.sum().clamp_min(1)
    return terms


def _effective(mass: Tensor) -> Tensor:
    """exp of the entropy of the normalised mass: the effective number of slots."""
    share = mass / mass.sum().clamp_min(torch.finfo(mass.dtype).tiny)
    return torch.exp(-torch.xlogy(share, share).sum())
