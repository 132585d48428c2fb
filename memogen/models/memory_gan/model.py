"""The networks and the memory of a memoryGAN, and the options that build them (Kim, Kim and Kim, ICLR 2018, Table 3)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from ... import noise
from ...configs import LATER
from ...losses import widen
from ...memory import MemoryRead, Policy, ShardedMemory, VMFMemory
from ...memory.functional import DRAW_UNIFORMS, EMPTY, DrawNumbers, unit
from ...memory.inspect import written
from ...memory.policies import PolicyName
from ...memory.protocol import check_candidates, check_sizes
from ...memory.shard import check_sharded
from ...nets import DCGANCritic, DCGANGenerator, ResNetCritic, ResNetGenerator
from ...nets.norm import NormKind, evaluating
from ...nets.slot_rows import SlotGenerator
from ...processes import Processes
from ...types import ImageData, InputError, Latents, check_count, check_images, to_range
from . import sparse

Condition = Literal["draw", "key", "none"]


@dataclass(frozen=True)
class MemoryConfig:
    """The memory of the paper's Table 3; see :class:`memogen.memory.VMFMemory`.

    ``policy``: "robust", "paper" or "code", or every field of a :class:`memogen.memory.Policy`.
    ``candidates``: how many slots of each class an index picks for a query to score, which pays from some 100,000 slots on; 0 scores all slots.
    ``sharded``: several processes that train together divide the keys (:class:`memogen.memory.ShardedMemory`); one alone, and a saved model, has all.
    """

    num_slots: int = 4096
    key_dim: int = 256
    concentration: float = 20.0
    top_k: int = 128
    decay: float = 0.5
    em_steps: int = 1
    policy: Policy | PolicyName = "robust"
    candidates: int = field(default=0, metadata=LATER)
    sharded: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        check_sizes(self.num_slots, self.key_dim, concentration=self.concentration, top_k=self.top_k, decay=self.decay, em_steps=self.em_steps)
        policy = Policy.preset(self.policy) if isinstance(self.policy, str) else self.policy
        check_candidates(self.candidates, self.num_slots, self.top_k, policy)
        if self.sharded:
            check_sharded(policy, em_steps=self.em_steps, candidates=self.candidates)

    def build(self) -> VMFMemory:
        """The memory, or this process's part of it. Raises InputError for fewer slots than processes."""
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "sharded"}
        processes = Processes.announced()
        if self.sharded and processes.world_size > 1:
            if self.num_slots < processes.world_size:
                mend = "use more slots, or fewer processes"
                raise InputError(f"model.memory.num_slots is {self.num_slots}: {processes.world_size} processes cannot divide them: {mend}")
            return ShardedMemory(rank=processes.rank, world_size=processes.world_size, **options)
        return VMFMemory(**options)


@dataclass(frozen=True)
class NoiseConfig:
    """The noise z: ``dim`` independent numbers, "uniform" on (-1, 1) as in the authors' code or standard "normal" as in the paper."""

    dim: int = 2
    law: Literal["uniform", "normal"] = "uniform"

    def draw(self, index: Int[Tensor, " b"], *, seed: int, stream: int = 0) -> Float[Tensor, "b z"]:
        """The noise of the images numbered ``index``."""
        if self.law == "normal":
            return noise.normal(index, self.dim, seed=seed, stream=stream)
        return 2 * noise.uniform(index, self.dim, seed=seed, stream=stream) - 1


@dataclass(frozen=True)
class MemoryGANConfig:
    """A memoryGAN; ``memory`` None is a plain GAN.

    ``network``: "dcgan", "dcgan_pointwise" (the affine-MNIST stack) or "resnet"; ``width``: channels of its narrowest layer, and ``critic_width``
    those of the critic where they differ.
    ``condition``, what the generator is given beside the noise: "draw", a query q ~ p(q | c) drawn around the key of its slot c; "key", the key K_c
    itself, as in the paper; "none", nothing (the ablation "- MCGN").
    ``head``: "printed" is the paper's critic, whose head gives the query alone, so that D is the memory's answer. "pooled" takes the query from the
    means over space, and the head's one number is added to the memory's answer; with a condition, so is the projection phi(x) . condition, by
    which D judges whether image and condition belong together (after Miyato and Koyama 2018, "cGANs with projection discriminator", Eq. 3).
    ``query_norm``: batch norm of the queries, with a shift and no gain, as in the authors' code for grey images; for the "printed" head of a DCGAN.
    ``query_dim``: length of the queries of a critic without memory, for contrast to train; 0 for none.
    ``slot_rows``: each slot owns a gain and a shift of every normalised channel of the generator (:class:`memogen.nets.slot_rows.SlotGenerator`),
    trained by ``objective.kept_slots``.
    """

    image_shape: tuple[int, int, int] = (1, 28, 28)
    network: Literal["dcgan", "dcgan_pointwise", "resnet"] = "dcgan"
    width: int = 64
    critic_width: int | None = None
    norm: NormKind = "batch"
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    memory: MemoryConfig | None = field(default_factory=MemoryConfig)
    condition: Condition = "draw"
    head: Literal["pooled", "printed"] = "pooled"
    query_norm: bool = field(default=False, metadata=LATER)
    query_dim: int = 0
    slot_rows: bool = field(default=False, metadata=LATER)
    image_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.network not in ("dcgan", "dcgan_pointwise", "resnet"):
            raise ValueError(f"network is {self.network!r}; it must be 'dcgan', 'dcgan_pointwise' or 'resnet'")
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape is {self.image_shape}; it must be (channels, height, width)")
        if min(self.width, self.noise.dim) < 1 or (self.critic_width is not None and self.critic_width < 1):
            raise ValueError(f"width {self.width}, critic_width {self.critic_width} and noise.dim {self.noise.dim} must be positive")
        if self.condition not in get_args(Condition):
            raise ValueError(f"condition is {self.condition!r}; it must be 'draw', 'key' or 'none'")
        if self.head not in ("pooled", "printed"):
            raise ValueError(f"head is {self.head!r}; it must be 'pooled' or 'printed'")
        if self.query_norm and (self.memory is None or self.head != "printed" or self.network == "resnet"):
            raise ValueError("query_norm is on; it must be off with network 'resnet', without memory, and with a head other than 'printed'")
        if self.query_dim < 0 or (self.query_dim and self.memory):
            raise ValueError(f"query_dim is {self.query_dim}; it must not be negative, and 0 with a memory, whose key_dim says how long queries are")
        if self.slot_rows and not (self.conditional and self.norm == "batch"):
            raise ValueError("slot_rows is on; it must be off without batch norm, or without slots to draw from")
        if self.slot_rows and self.memory and self.memory.sharded:
            raise ValueError("slot_rows is on; it must be off with memory.sharded, as the generator then reads all keys")

    @property
    def conditional(self) -> bool:
        """Whether the generator gets a condition from a slot."""
        return self.memory is not None and self.condition != "none"

    @property
    def projects(self) -> bool:
        """Whether D judges image and condition together."""
        return self.conditional and self.head == "pooled"

    @property
    def query_length(self) -> int:
        """Length of a query; 0 for a critic that gives none."""
        return self.memory.key_dim if self.memory else self.query_dim

    @property
    def code_dim(self) -> int:
        """Length of the generator's input [condition, z]."""
        return self.noise.dim + (self.query_length if self.conditional else 0)

    def build(self) -> MemoryGAN:
        """The model with fresh weights from torch's global generator."""
        return MemoryGAN(self)

    def build_critic(self) -> nn.Module:
        """Images to features (b, out): the query, phi and the head's number side by side, those that there are; the query alone for "printed"."""
        if self.memory and self.head == "printed":
            pooled, out = 0, self.query_length
        else:
            # departs: the paper's head is a convolution over the whole map for every number of the query and holds most of its parameters.
            pooled, out = self.query_length * (2 if self.projects else 1), 1
        width = self.critic_width or self.width
        if self.network == "resnet":
            return ResNetCritic(self.image_shape, out, pooled_dim=pooled, width=width, norm=self.norm)
        pointwise, head_norm = self.network == "dcgan_pointwise", self.query_norm
        return DCGANCritic(self.image_shape, out, pooled_dim=pooled, width=width, norm=self.norm, pointwise=pointwise, head_norm=head_norm)

    def build_generator(self) -> nn.Module:
        """[condition, z] (b, code_dim) to images in ``image_range``; with ``slot_rows`` the slots are a second input."""
        whole = self._build_whole()
        return SlotGenerator(whole, self.memory.num_slots, self.code_dim) if self.memory and self.slot_rows else whole

    def _build_whole(self) -> nn.Module:
        shape, image_range = self.image_shape, self.image_range
        if self.network == "resnet":
            return ResNetGenerator(self.code_dim, shape, width=self.width, norm=self.norm, image_range=image_range)
        pointwise = self.network == "dcgan_pointwise"
        return DCGANGenerator(self.code_dim, shape, width=self.width, norm=self.norm, pointwise=pointwise, image_range=image_range)

    def sized_like(self, other: MemoryGANConfig) -> MemoryGANConfig:
        """This configuration with the widths that bring the parameters of generator and critic nearest to those of ``other``."""
        wanted = [_parameters(build) for build in (other.build_generator, other.build_critic)]
        width = _nearest_width(lambda width: _parameters(replace(self, width=width).build_generator), wanted[0])
        critic = _nearest_width(lambda width: _parameters(replace(self, critic_width=width).build_critic), wanted[1])
        return replace(self, width=width, critic_width=critic)


def _parameters(build: Callable[[], nn.Module]) -> int:
    """The number of parameters of a network, which is not allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def _nearest_width(parameters: Callable[[int], int], wanted: int) -> int:
    """The width whose number of parameters is nearest to ``wanted``; the number grows with the width."""
    above = bisect_left(range(1, 1 << 12), wanted, key=parameters) + 1
    return min((max(above - 1, 1), above), key=lambda width: abs(parameters(width) - wanted))


class MemoryGAN(nn.Module):
    """Inference network ``critic``, ``memory`` and ``generator``. The methods use running statistics and change nothing."""

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
        """Unit queries q = mu(x) of images, uint8 or floats in ``image_range``. Raises InputError, also for a model without queries."""
        if not self.config.query_length:
            raise InputError("model: it has no memory, so images have no queries: use a model trained with one")
        with evaluating(self.critic):
            return unit(self.query(widen(self.critic(self.given(image)))))

    @torch.no_grad()
    def score(self, image: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """The logit of D(x), where each image is judged with its condition as a real image (:meth:`own_condition`). Raises InputError."""
        with evaluating(self.critic):
            feature = widen(self.critic(self.given(image)))
        read = self.memory(self.query(feature)) if self.memory is not None else None
        condition = self.own_condition(feature, read) if read is not None and self.config.projects else None
        return self.logit(feature, read, condition)

    def logit(self, feature: Float[Tensor, "b out"], read: MemoryRead | None, condition: Float[Tensor, "b d"] | None = None) -> Float[Tensor, " b"]:
        """The logit of D: the sum of the memory's answer, the head's number and the projection on ``condition``, those that there are."""
        if read is not None and self.config.head == "printed":
            return read.logit
        logit = feature[:, -1]
        # departs: the paper's D knows of an image what the memory answers; the gradient that passes through the answer alone is small.
        logit = logit if read is None else logit + read.logit
        return logit if condition is None else logit + self.match(feature, condition)

    def query(self, feature: Float[Tensor, "b out"]) -> Float[Tensor, "b d"]:
        """The query in the critic's output, not normalised."""
        return feature[:, : self.config.query_length]

    def match(self, feature: Float[Tensor, "b out"], condition: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """phi(x) . condition: how well image and condition fit."""
        length = condition.shape[1]
        return torch.linalg.vecdot(feature[:, length : 2 * length], condition.to(feature))

    def own_condition(self, feature: Float[Tensor, "b out"], read: MemoryRead) -> Float[Tensor, "b d"]:
        """The condition of a real image, without gradient: its own query, or the key of its most probable real slot."""
        assert self.memory is not None
        if self.config.condition == "draw":
            return unit(self.query(feature).detach())
        score = read.score.masked_fill(self.memory.values[read.slots] < 0.5, EMPTY)
        return self.memory.keys_of(read.slots.gather(1, score.argmax(1, keepdim=True))[:, 0])

    def latents(
        self,
        num: int,
        *,
        label: int | None = None,
        slot: int | None = None,
        seed: int = 0,
        start: int = 0,
        weight: Float[Tensor, " k"] | None = None,
    ) -> Latents:
        """(z, condition, slot) of the images ``start`` .. ``start + num - 1`` of the stream ``seed``; ``slot`` fixes the slot, ``weight`` draws it in
        place of the mass (:meth:`~memogen.memory.VMFMemory.sample`). Raises InputError.
        """
        check_count(num)
        if label is not None:
            raise InputError("label: a memoryGAN learns without labels; ask for a slot instead")
        return self.latents_at(torch.arange(start, start + num, device=self.device), seed=seed, slot=slot, weight=weight)

    def latents_at(
        self,
        index: Int[Tensor, " b"],
        *,
        seed: int,
        stream: int = 0,
        slot: int | Int[Tensor, " b"] | None = None,
        weight: Float[Tensor, " k"] | None = None,
    ) -> Latents:
        """(z, condition, slot) addressed by (seed, stream, index): c ~ p(c | v = 1), by ``weight`` in place of the mass if given, or ``slot``,
        one for all or one for each; and a query drawn around K_c, or K_c itself. Raises InputError.
        """
        if slot is not None and weight is not None:
            raise InputError("weight: a slot is given as well, so none is drawn: give one of both")
        z = self.config.noise.draw(index, seed=seed, stream=stream).to(self.dtype)
        if self.memory is None or not self.config.conditional:
            if slot is not None or weight is not None:
                raise InputError(f"{'weight' if slot is None else 'slot'}: the generator of this model is not conditioned on a memory slot")
            return Latents(z)
        if slot is not None and not isinstance(slot, Tensor) and (isinstance(slot, bool) or not isinstance(slot, int)):
            raise InputError(f"slot: {slot!r} is not a slot number: give a whole number")
        if isinstance(slot, int) and not 0 <= slot < self.memory.num_slots:
            raise InputError(f"slot: {slot} is not in the memory, which holds slots 0 to {self.memory.num_slots - 1}")
        if isinstance(slot, int) and not (self.memory.mass[slot].any() or self.memory.keys_of(torch.tensor([slot], device=self.device)).any()):
            raise InputError(f"slot: {slot} is empty, since it was forgotten: choose a slot that holds a key")
        stream, dim = stream + noise.Stream.CONDITION, self.memory.key_dim
        if self.config.condition == "draw":
            # departs: the paper feeds the key, one point for all that a slot holds; a draw from the density around it also tells what varies there.
            uniform = noise.uniform(index, DRAW_UNIFORMS, seed=seed, stream=stream, dtype=torch.float64)
            normal = noise.normal(index, dim, seed=seed, stream=stream, first=DRAW_UNIFORMS)
            return Latents(z, *self.memory.draw(len(index), slot=slot, weight=weight, numbers=DrawNumbers(uniform, normal)))
        if slot is None:
            uniform = noise.uniform(index, 1, seed=seed, stream=stream, dtype=torch.float64)[:, 0]
            return Latents(z, *self.memory.sample(len(index), weight=weight, uniform=uniform))
        slots = torch.as_tensor(slot, device=index.device).expand(len(index))
        return Latents(z, self.memory.keys_of(slots), slots)

    @torch.no_grad()
    def decode(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The images G(z, K_c), in ``image_range``."""
        with evaluating(self.generator):
            return widen(self.generate(latents))

    def sample(
        self,
        num: int,
        *,
        label: int | None = None,
        slot: int | None = None,
        seed: int = 0,
        start: int = 0,
        weight: Float[Tensor, " k"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """``decode(latents(...))``."""
        return self.decode(self.latents(num, label=label, slot=slot, seed=seed, start=start, weight=weight))

    def generate(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The generator's output with gradients, in whatever mode the generator is."""
        if not self.config.slot_rows:
            return self.generator(self.code(latents))
        return self.generator(self.code(latents), self._nearest_slot(latents) if latents.slot is None else latents.slot)

    def _nearest_slot(self, latents: Latents) -> Int[Tensor, " b"]:
        """The real slot whose key is the nearest to each condition."""
        assert self.memory is not None and latents.key is not None, "the generator reads slots"
        real = (self.memory.values > 0.5) & written(self.memory)
        return (latents.key.to(self.memory.keys) @ self.memory.keys.T).masked_fill(~real, EMPTY).argmax(1)

    def code(self, latents: Latents) -> Float[Tensor, "b code"]:
        """[condition, z], or z alone."""
        return latents.noise if latents.key is None else torch.cat([latents.key.to(self.dtype), latents.noise], 1)

    @torch.no_grad()
    def calibrate(self, data: ImageData | None = None, *, seed: int = 0, batches: int = 16, batch_size: int = 64) -> None:
        """Set the generator's running batch statistics to the mean over fresh latents; nothing happens without batch norm. No data are looked at.

        Once slots own rows of the generator its statistics are frozen, and the present task's slots get the mass of another task's.
        """
        if isinstance(self.generator, SlotGenerator) and self.generator.begun:
            return sparse.level(self)
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
    def divided(self) -> bool:
        """Whether the processes hold the keys in parts."""
        return isinstance(self.memory, ShardedMemory)

    def unite(self) -> None:
        """Gather a divided memory: process 0 then has the whole model, in host memory; on the others nothing changes."""
        whole = self.memory.whole() if isinstance(self.memory, ShardedMemory) else None
        if whole is not None and self.config.memory is not None:
            self.memory, self.config = whole, replace(self.config, memory=replace(self.config.memory, sharded=False))
            self.cpu()

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.generator.parameters()).dtype

    def given(self, image: Tensor) -> Tensor:
        """The numbers of images that a caller gave. Raises InputError for what is no batch of this model's images."""
        check_images(image, self.config.image_shape, self.image_range)
        return self.pixels(image)

    def pixels(self, image: Tensor) -> Tensor:
        image = to_range(image, self.image_range) if image.dtype == torch.uint8 else image
        return image.to(device=self.device, dtype=self.dtype)
