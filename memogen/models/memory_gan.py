"""memoryGAN: a GAN whose discriminator ends in a von Mises-Fisher memory, and whose generator draws its cluster from that memory.

Kim, Kim and Kim, "Memorization Precedes Generation: Learning Unsupervised GANs with Memory Networks", ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from .. import noise
from ..losses import AdversarialKind, critic_loss, generator_loss, widen
from ..memory import MemoryRead, ReadPolicy, VMFMemory, WritePolicy
from ..memory.functional import unit
from ..memory.vmf import check_sizes
from ..nets import DCGANCritic, DCGANGenerator, ResNetCritic, ResNetGenerator
from ..nets.norm import NormKind
from ..types import Batch, InputError, Latents, Loss, OptimiserConfig, Phase, to_range

_SLOT_STREAM = 1 << 20  # keeps the draw of slots apart from the draw of noise


@dataclass(frozen=True)
class MemoryConfig:
    """The memory of the paper's Table 3, with the robust policies; see :class:`memogen.memory.VMFMemory`."""

    num_slots: int = 4096
    key_dim: int = 256
    concentration: float = 20.0
    top_k: int = 128
    decay: float = 0.5
    em_steps: int = 1
    reading: ReadPolicy = field(default_factory=ReadPolicy)
    writing: WritePolicy = field(default_factory=WritePolicy)

    def __post_init__(self) -> None:
        check_sizes(self.num_slots, self.key_dim, concentration=self.concentration, top_k=self.top_k, decay=self.decay, em_steps=self.em_steps)

    def build(self) -> VMFMemory:
        return VMFMemory(
            self.num_slots,
            self.key_dim,
            concentration=self.concentration,
            top_k=self.top_k,
            decay=self.decay,
            em_steps=self.em_steps,
            reading=self.reading,
            writing=self.writing,
        )


@dataclass(frozen=True)
class NoiseConfig:
    """z: ``dim`` independent numbers, "uniform" on (-1, 1) as in the authors' code or standard "normal" as in the paper."""

    dim: int = 2
    law: Literal["uniform", "normal"] = "uniform"

    def draw(self, index: Int[Tensor, " b"], *, seed: int, stream: int = 0) -> Float[Tensor, "b z"]:
        """The noise of the images numbered ``index``."""
        if self.law == "normal":
            return noise.normal(index, self.dim, seed=seed, stream=stream)
        return 2 * noise.uniform(index, self.dim, seed=seed, stream=stream) - 1


@dataclass(frozen=True)
class MemoryGANConfig:
    """A memoryGAN. ``memory`` None is "- Memory" of Table 2, the plain GAN; ``conditional`` False is "- MCGN", memory in the discriminator only.

    ``network``: "dcgan", "dcgan_pointwise" (the affine-MNIST stack) or "resnet"; ``width``: channels of its narrowest layer.
    """

    image_shape: tuple[int, int, int] = (1, 28, 28)
    network: Literal["dcgan", "dcgan_pointwise", "resnet"] = "dcgan"
    width: int = 64
    norm: NormKind = "batch"
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    memory: MemoryConfig | None = field(default_factory=MemoryConfig)
    conditional: bool = True
    image_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.network not in ("dcgan", "dcgan_pointwise", "resnet"):
            raise ValueError(f"network is {self.network!r}; it must be 'dcgan', 'dcgan_pointwise' or 'resnet'")
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape is {self.image_shape}; it must be (channels, height, width)")
        if self.width < 1 or self.noise.dim < 1:
            raise ValueError(f"width {self.width} and noise.dim {self.noise.dim} must be positive")

    @property
    def code_dim(self) -> int:
        """Length of the generator's input [K_c, z]."""
        return self.noise.dim + (self.memory.key_dim if self.memory and self.conditional else 0)

    def build(self) -> MemoryGAN:
        """The model with fresh weights from torch's global generator."""
        return MemoryGAN(self)

    def build_critic(self) -> nn.Module:
        out_dim = self.memory.key_dim if self.memory else 1
        if self.network == "resnet":
            return ResNetCritic(self.image_shape, out_dim, width=self.width, norm=self.norm)
        return DCGANCritic(self.image_shape, out_dim, width=self.width, norm=self.norm, pointwise=self.network == "dcgan_pointwise")

    def build_generator(self) -> nn.Module:
        shape, image_range = self.image_shape, self.image_range
        if self.network == "resnet":
            return ResNetGenerator(self.code_dim, shape, width=self.width, norm=self.norm, image_range=image_range)
        pointwise = self.network == "dcgan_pointwise"
        return DCGANGenerator(self.code_dim, shape, width=self.width, norm=self.norm, pointwise=pointwise, image_range=image_range)


class MemoryGAN(nn.Module):
    """Inference network ``critic``, ``memory`` and ``generator``. Its methods evaluate: they use running statistics and change nothing."""

    averaged_parts = ("generator",)

    def __init__(self, config: MemoryGANConfig) -> None:
        super().__init__()
        self.config = config
        self.image_range = config.image_range
        self.critic = config.build_critic()
        self.generator = config.build_generator()
        self.memory = config.memory.build() if config.memory else None

    @torch.no_grad()
    def encode(self, image: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Unit queries q = mu(x) of images, uint8 or floats in ``image_range``; without a memory, the normalised logit is of no use and refused."""
        if self.memory is None:
            raise InputError("model: it has no memory, so images have no queries: use a model trained with one")
        with _evaluating(self.critic):
            return unit(widen(self.critic(self._pixels(image))))

    @torch.no_grad()
    def score(self, image: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """The logit of D(x)."""
        with _evaluating(self.critic):
            return self.logit(self.critic(self._pixels(image)))

    def logit(self, feature: Float[Tensor, "b out"]) -> Float[Tensor, " b"]:
        """The logit of D from the critic's output: the memory's answer, or the one number itself."""
        return widen(feature)[:, 0] if self.memory is None else self.memory(feature).logit

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        """(z, c) of the images ``start`` .. ``start + num - 1`` of the stream ``seed``; ``slot`` fixes c."""
        if label is not None:
            raise InputError("label: a memoryGAN learns without labels; ask for a slot instead")
        return self.latents_at(torch.arange(start, start + num, device=self.device), seed=seed, slot=slot)

    def latents_at(self, index: Int[Tensor, " b"], *, seed: int, stream: int = 0, slot: int | None = None) -> Latents:
        """(z, c) addressed by (seed, stream, index): c ~ p(c | v = 1)."""
        z = self.config.noise.draw(index, seed=seed, stream=stream).to(self.dtype)
        if self.memory is None or not self.config.conditional:
            if slot is not None:
                raise InputError("slot: the generator of this model is not conditioned on a memory slot")
            return Latents(z)
        if slot is None:
            uniform = noise.uniform(index, 1, seed=seed, stream=stream + _SLOT_STREAM, dtype=torch.float64)[:, 0]
            key, slots = self.memory.sample(len(index), uniform=uniform)
            return Latents(z, key, slots)
        if not 0 <= slot < self.memory.num_slots:
            raise InputError(f"slot: {slot} is not in the memory, which holds slots 0 to {self.memory.num_slots - 1}")
        slots = torch.full_like(index, slot)
        return Latents(z, self.memory.keys[slots], slots)

    @torch.no_grad()
    def decode(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The images G(z, K_c), in ``image_range``."""
        with _evaluating(self.generator):
            return widen(self.generate(latents))

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]:
        """``decode(latents(...))``."""
        return self.decode(self.latents(num, label=label, slot=slot, seed=seed, start=start))

    def generate(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The generator as it is, in training or evaluation, with gradients."""
        code = latents.noise if latents.key is None else torch.cat([latents.key.to(self.dtype), latents.noise], 1)
        return self.generator(code)

    @torch.no_grad()
    def calibrate(self, *, seed: int = 0, batches: int = 16, batch_size: int = 64) -> None:
        """Set the generator's running batch statistics to the mean over fresh latents; nothing happens without batch norm."""
        norms = [part for part in self.generator.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta, training = [norm.momentum for norm in norms], self.generator.training
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean
        self.generator.train()
        for batch in range(batches):
            self.generate(self.latents(batch_size, seed=seed, start=batch * batch_size))
        self.generator.train(training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.generator.parameters()).dtype

    def _pixels(self, image: Tensor) -> Tensor:
        image = to_range(image, self.image_range) if image.dtype == torch.uint8 else image
        return image.to(device=self.device, dtype=self.dtype)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Normalise by the batch, but keep it out of the running statistics."""
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
    """What the critic phase hands to its commit."""

    feature: Tensor
    value: Tensor
    read: MemoryRead


@dataclass(frozen=True)
class MemoryGANObjective:
    """Eqs. 7 and 8, with the memory written after each critic step (Algorithm 1).

    ``information``: lambda on the mutual-information term, the cosine of K_c and mu(G(z, K_c)), or with ``information_form`` "squared" the authors'
    mean squared error between the key and the unnormalised query. ``write_in_generator_step``: fake queries of the generator step are written too,
    as the authors' code does.
    """

    adversarial: AdversarialKind = "non_saturating"
    information: float = 0.01
    information_form: Literal["cosine", "squared"] = "cosine"
    write_in_generator_step: bool = False
    critic: OptimiserConfig = field(default_factory=OptimiserConfig)
    generator: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        if self.adversarial not in ("saturating", "non_saturating", "reverse_kl", "updown"):
            raise ValueError(f"adversarial is {self.adversarial!r}; it must be saturating, non_saturating, reverse_kl or updown")
        if self.information < 0:
            raise ValueError(f"information is {self.information}; it must not be negative")

    def phases(self, model: MemoryGAN, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        """The critic's turn, then the generator's; ``teacher`` is not used."""
        steps = _Steps(self, model)
        critic = Phase("critic", (model.critic,), steps.critic, steps.write, optimiser=self.critic)
        late = steps.write if self.write_in_generator_step else None
        return critic, Phase("generator", (model.generator,), steps.generator, late, optimiser=self.generator, reads_data=False)


@dataclass(frozen=True)
class _Steps:
    """The two losses and the write, bound to a model."""

    objective: MemoryGANObjective
    model: MemoryGAN

    def critic(self, batch: Batch) -> Loss:
        """L_D (Eq. 7). Real and fake images pass the critic apart, so batch norm never mixes them."""
        model = self.model
        assert batch.image is not None, "the critic phase reads data"
        latents = model.latents_at(batch.index, seed=batch.seed, stream=batch.stream)
        with torch.no_grad():
            fake = model.generate(latents)
        real_feature = model.critic(model._pixels(batch.image))
        with _frozen_statistics(model.critic):
            # departs: running statistics describe real images only, so that queries of held-out images fall where the real keys are.
            fake_feature = model.critic(fake)
        feature = widen(torch.cat([real_feature, fake_feature]))
        logit, carry, terms = self._judge(feature, num_real=len(real_feature))
        real_logit, fake_logit = logit.split([len(real_feature), len(fake_feature)])
        loss = critic_loss(real_logit, fake_logit, self.objective.adversarial)
        information = self._information(latents, feature[len(real_feature) :])
        terms |= {"loss": loss, "real": torch.sigmoid(real_logit).mean(), "fake": torch.sigmoid(fake_logit).mean(), "information": information}
        return Loss(loss + self.objective.information * information, {name: term.detach() for name, term in terms.items()}, carry)

    def generator(self, batch: Batch) -> Loss:
        """L_G (Eq. 8) on fresh (z, c)."""
        model = self.model
        latents = model.latents_at(batch.index, seed=batch.seed, stream=batch.stream)
        with _frozen_statistics(model.critic):
            feature = widen(model.critic(model.generate(latents)))
        logit, carry, _ = self._judge(feature, num_real=0)
        loss, information = generator_loss(logit, self.objective.adversarial), self._information(latents, feature)
        terms = {"loss": loss.detach(), "information": information.detach()}
        return Loss(loss + self.objective.information * information, terms, carry)

    def write(self, loss: Loss) -> dict[str, Tensor]:
        """Learn the queries of the step; without a memory there is nothing to do."""
        judged = loss.carry
        memory = self.model.memory
        if memory is None or not isinstance(judged, _Judged):
            return {}
        done = memory.write(judged.feature, judged.value, judged.read if len(judged.value) else None)
        gradient = judged.feature.grad
        share = {} if gradient is None else {"query_gradient": gradient.norm(dim=1).mean()}
        return share | write_terms(memory, judged.read, done.overwrites, done.dropped, done.movement, judged.value)

    def _judge(self, feature: Tensor, *, num_real: int) -> tuple[Tensor, _Judged | None, dict[str, Tensor]]:
        """The logits, what a write needs, and the share of queries that found one class only."""
        memory = self.model.memory
        if memory is None:
            return feature[:, 0], None, {}
        if feature.requires_grad:
            feature.retain_grad()
        read = memory(feature)
        value = (torch.arange(len(feature), device=feature.device) < num_real).to(feature.dtype)
        real = memory.values[read.slots] > 0.5
        one_class = (real.all(1) | ~real.any(1)).float().mean()
        return read.logit, _Judged(feature, value, read), {"one_class": one_class}

    def _information(self, latents: Latents, feature: Tensor) -> Tensor:
        """I of Eq. 6 up to kappa, which lambda absorbs."""
        if latents.key is None:
            return feature.new_zeros(())
        key = latents.key.to(feature.dtype)
        if self.objective.information_form == "squared":
            return F.mse_loss(feature, key)
        return -(unit(feature) * key).sum(1).mean()


def write_terms(memory: VMFMemory, read: MemoryRead, overwrites: Tensor, dropped: Tensor, movement: Tensor, value: Tensor) -> dict[str, Tensor]:
    """The numbers that tell a living memory from a dead one, as scalars on the device."""
    real, mass = memory.values > 0.5, memory.mass
    asked = (overwrites | dropped).float()
    terms = {"replaced": overwrites.float().mean(), "asked": asked.mean(), "movement": movement, "real_slots": real.float().mean()}
    terms |= {"effective_real": _effective(mass * real), "effective_fake": _effective(mass * ~real)}
    terms["nearest"] = ((read.score - memory.log_prior()[read.slots]) / memory.concentration).amax(1).mean()
    if len(asked) == len(value):
        terms["replaced_real"] = (overwrites * value).sum() / value.sum().clamp_min(1)
    return terms


def _effective(mass: Tensor) -> Tensor:
    """exp of the entropy of mass as a distribution: how many slots share it."""
    share = mass / mass.sum().clamp_min(torch.finfo(mass.dtype).tiny)
    return torch.exp(-torch.xlogy(share, share).sum())
