"""The networks and the memory of a memoryGAN, and the options that build them (Kim, Kim and Kim, ICLR 2018, Table 3)."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from ... import noise
from ...configs import added
from ...losses import widen
from ...memory import MemoryRead, ReadPolicy, VMFMemory, WritePolicy
from ...memory.functional import EMPTY, unit
from ...memory.vmf import check_sizes
from ...nets import DCGANCritic, DCGANGenerator, ResNetCritic, ResNetGenerator
from ...nets.modes import evaluating
from ...nets.norm import LeadingNorm, NormKind
from ...nets.resnet import HeadKind
from ...types import ImageData, InputError, Latents, to_range

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
    ``encoder_decay`` d in [0, 1): keys are written by an average of the critic, d average + (1 - d) critic a step; 0: by the critic itself.
    ``projection``: D also judges how an image fits a slot, by a second output phi(x) of the critic: phi(x) . K_c is added to its logit
    (after Miyato and Koyama 2018, "cGANs with projection discriminator", Eq. 3, with a slot for the class); with a ``match_limit`` s above 0,
    s cos(phi(x), K_c), which no image can drive beyond s.
    ``linear_head``: one more output of the critic is added to the logit, so that D holds the discriminator of the plain GAN; ``answer_weight``:
    what the memory's logit is multiplied by beside it, from 0.
    ``head``: what a "resnet" critic ends in, see :class:`memogen.nets.ResNetCritic`.
    ``query_norm``: batch norm of the query's numbers, so that queries spread around the origin in place of sharing a direction.
    """

    image_shape: tuple[int, int, int] = (1, 28, 28)
    network: Literal["dcgan", "dcgan_pointwise", "resnet"] = "dcgan"
    width: int = 64
    norm: NormKind = "batch"
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    memory: MemoryConfig | None = field(default_factory=MemoryConfig)
    conditional: bool = True
    image_range: tuple[float, float] = (0.0, 1.0)
    encoder_decay: float = added(0.0, before=0.0)
    projection: bool = added(False, before=False)
    match_limit: float = added(0.0, before=0.0)
    linear_head: bool = added(False, before=False)
    answer_weight: float = added(1.0, before=1.0)
    query_norm: bool = added(False, before=False)
    head: HeadKind = added("mean", before="mean")

    def __post_init__(self) -> None:
        if self.network not in ("dcgan", "dcgan_pointwise", "resnet"):
            raise ValueError(f"network is {self.network!r}; it must be 'dcgan', 'dcgan_pointwise' or 'resnet'")
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape is {self.image_shape}; it must be (channels, height, width)")
        if self.width < 1 or self.noise.dim < 1:
            raise ValueError(f"width {self.width} and noise.dim {self.noise.dim} must be positive")
        if not 0 <= self.encoder_decay < 1:
            raise ValueError(f"encoder_decay is {self.encoder_decay}; it must lie in [0, 1)")
        if self.projection and not (self.memory and self.conditional):
            raise ValueError("projection is on; it needs a memory and a generator conditioned on it")
        if not 0 <= self.match_limit < math.inf or (self.match_limit and not self.projection):
            raise ValueError(f"match_limit is {self.match_limit}; it must be finite, not negative, and 0 without a projection")
        if self.linear_head and not self.memory:
            raise ValueError("linear_head is on; without a memory the critic's only output is one already")
        if not 0 <= self.answer_weight < math.inf or (self.answer_weight != 1 and not self.linear_head):
            raise ValueError(f"answer_weight is {self.answer_weight}; it must be finite, not negative, and 1 without a linear_head")
        if self.head not in get_args(HeadKind) or (self.head != "mean" and self.network != "resnet"):
            raise ValueError(f"head is {self.head!r}; it must be 'mean', or 'flat' or 'split' of a 'resnet'")
        if self.query_norm and not self.memory:
            raise ValueError("query_norm is on; without a memory there are no queries")

    @property
    def code_dim(self) -> int:
        """Length of the generator's input [K_c, z]."""
        return self.noise.dim + (self.memory.key_dim if self.memory and self.conditional else 0)

    def build(self) -> MemoryGAN:
        """The model with fresh weights from torch's global generator."""
        return MemoryGAN(self)

    def build_critic(self) -> nn.Module:
        """The inference network: images to features that hold the query, and phi and the linear output where there are any."""
        critic = self._build_critic()
        # departs: nothing in the paper's losses keeps its queries from sharing one direction, which says nothing of an image.
        return nn.Sequential(critic, LeadingNorm(self.memory.key_dim)) if self.memory and self.query_norm else critic

    def _build_critic(self) -> nn.Module:
        out_dim = self.memory.key_dim * (2 if self.projection else 1) + self.linear_head if self.memory else 1
        if self.network == "resnet":
            return ResNetCritic(self.image_shape, out_dim, width=self.width, norm=self.norm, head=self.head)
        return DCGANCritic(self.image_shape, out_dim, width=self.width, norm=self.norm, pointwise=self.network == "dcgan_pointwise")

    def build_generator(self) -> nn.Module:
        shape, image_range = self.image_shape, self.image_range
        if self.network == "resnet":
            return ResNetGenerator(self.code_dim, shape, width=self.width, norm=self.norm, image_range=image_range)
        pointwise = self.network == "dcgan_pointwise"
        return DCGANGenerator(self.code_dim, shape, width=self.width, norm=self.norm, pointwise=pointwise, image_range=image_range)


class MemoryGAN(nn.Module):
    """Inference network ``critic``, ``memory`` and ``generator``. Its methods evaluate: they use running statistics and change nothing.

    ``encoder`` is the averaged critic that writes the keys, or None where the critic writes them itself.
    """

    averaged_parts = ("generator",)

    def __init__(self, config: MemoryGANConfig) -> None:
        super().__init__()
        self.config = config
        self.image_range = config.image_range
        self.critic = config.build_critic()
        self.generator = config.build_generator()
        self.memory = config.memory.build() if config.memory else None
        # departs: the paper's critic writes its own queries; it turns while it learns, and the generator's input would turn with it.
        self.encoder = deepcopy(self.critic).requires_grad_(False) if self.memory and config.encoder_decay else None

    @torch.no_grad()
    def encode(self, image: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Unit queries q = mu(x) of images, uint8 or floats in ``image_range``; without a memory, the normalised logit is of no use and refused."""
        if self.memory is None:
            raise InputError("model: it has no memory, so images have no queries: use a model trained with one")
        network = self.critic if self.encoder is None else self.encoder
        with evaluating(network):
            return unit(self.query(widen(network(self.pixels(image)))))

    @torch.no_grad()
    def score(self, image: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """The logit of D(x); with a projection, of x and the real slot that it fits best."""
        with evaluating(self.critic):
            return self.logit(self.critic(self.pixels(image)))

    def logit(self, feature: Float[Tensor, "b out"]) -> Float[Tensor, " b"]:
        """The logit of D from the critic's output: the memory's answer, or the one number itself."""
        feature = widen(feature)
        if self.memory is None:
            return feature[:, 0]
        read = self.memory(self.query(feature))
        logit = self.answer(feature, read)
        return logit + self.match(feature, self.own_key(read)) if self.config.projection else logit

    def answer(self, feature: Float[Tensor, "b out"], read: MemoryRead) -> Float[Tensor, " b"]:
        """The memory's logit, and the linear output beside it where there is one."""
        # departs: the paper's D knows of an image what the memory answers; the gradient that passes through the answer is small.
        return self.config.answer_weight * read.logit + feature[:, -1] if self.config.linear_head else read.logit

    def query(self, feature: Float[Tensor, "b out"]) -> Float[Tensor, "b d"]:
        """The part of the critic's output that the memory is asked with, not normalised."""
        return feature[:, : self.memory.key_dim] if self.memory else feature

    def match(self, feature: Float[Tensor, "b out"], key: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """phi(x) . K, or its limited form: how an image fits a slot."""
        phi = feature[:, key.shape[1] : 2 * key.shape[1]]
        phi = self.config.match_limit * unit(phi) if self.config.match_limit else phi
        return torch.linalg.vecdot(phi, key.to(feature))

    def own_key(self, read: MemoryRead) -> Float[Tensor, "b d"]:
        """The key of each query's most probable real slot."""
        assert self.memory is not None
        score = read.score.masked_fill(self.memory.values[read.slots] < 0.5, EMPTY)
        return self.memory.keys[read.slots.gather(1, score.argmax(1, keepdim=True))[:, 0]]

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
        with evaluating(self.generator):
            return widen(self.generate(latents))

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]:
        """``decode(latents(...))``."""
        return self.decode(self.latents(num, label=label, slot=slot, seed=seed, start=start))

    def generate(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The generator as it is, in training or evaluation, with gradients."""
        code = latents.noise if latents.key is None else torch.cat([latents.key.to(self.dtype), latents.noise], 1)
        return self.generator(code)

    @torch.no_grad()
    def follow_critic(self) -> None:
        """One step of the average that writes keys."""
        if self.encoder is not None:
            torch._foreach_lerp_(list(self.encoder.parameters()), list(self.critic.parameters()), 1 - self.config.encoder_decay)

    @torch.no_grad()
    def calibrate(self, data: ImageData | None = None, *, seed: int = 0, batches: int = 16, batch_size: int = 64) -> None:
        """Set the generator's running batch statistics to the mean over fresh latents; nothing happens without batch norm. No data are looked at."""
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

    def pixels(self, image: Tensor) -> Tensor:
        image = to_range(image, self.image_range) if image.dtype == torch.uint8 else image
        return image.to(device=self.device, dtype=self.dtype)
