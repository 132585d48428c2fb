"""The networks of a Memory Replay GAN and the options that build them (Wu et al. 2018, sections 3.1 and 4; layers from the authors' code)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from ... import noise
from ...configs import LATER
from ...nets import ClassDCGANCritic, ClassDCGANGenerator, ClassResNetCritic, ClassResNetGenerator
from ...nets.class_dcgan import Conditioning
from ...nets.class_norm import Turns
from ...types import ImageData, InputError, Latents, Pixels, check_count, check_images, to_range, to_uint8
from .drawing import BatchStatistics, generate, known_classes, storing

Generator = ClassDCGANGenerator | ClassResNetGenerator
Critic = ClassDCGANCritic | ClassResNetCritic

_SLOTS = 1 << 20  # more classes than a model will have: image n of class c has the address n * _SLOTS + c
_MULTIPLE = {"dcgan": 8, "resnet": 16}
_AT_ONCE = 1 << 19  # pixels of a channel that pass a generator at once
_SEARCHED, _ROUND = 1024, 16  # candidates looked at together, and of one image in a round


@dataclass(frozen=True)
class ReplayGANConfig:
    """A Memory Replay GAN with ``num_classes`` label slots, of which ``classes`` names the first ones; unnamed slots are there to be learned.

    ``network``: "dcgan", three layers of which the narrowest has ``width`` channels, or "resnet" for images of 64x64. ``conditioning``: the class
    chooses gains and shifts ("norm", the paper), is a code beside the noise ("concat", the authors' 64x64 network), or is not told ("none": deep
    generative replay, where a solver labels the images). ``statistics``: batch norm is by "class", or by the whole "batch" as in the authors' joint
    training. The networks work on sides that are multiples of 8 (16 for "resnet"): others are zero-padded there and cut back ("pad", the
    authors' code), or scaled ("resize", the paper). ``candidates``: among how many latents a model that is not told the class looks for an image
    that its solver takes for the class asked for. Of a class that one image in ten shows, 16 miss one search in five.
    """

    image_shape: tuple[int, int, int] = (1, 28, 28)
    network: Literal["dcgan", "resnet"] = "dcgan"
    width: int = 32
    noise_dim: int = 128
    num_classes: int = 10
    classes: tuple[str, ...] = ()
    conditioning: Conditioning = "norm"
    statistics: Literal["class", "batch"] = "class"
    framing: Literal["pad", "resize"] = "pad"
    candidates: int = field(default=16, metadata=LATER)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}")
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape is {self.image_shape}; it must be (channels, height, width)")
        if min(self.width, self.noise_dim, self.num_classes) < 1 or self.num_classes >= _SLOTS:
            raise ValueError(f"width {self.width}, noise_dim {self.noise_dim} and num_classes {self.num_classes} must be positive")
        if not 1 <= self.candidates < _SLOTS:
            raise ValueError(f"candidates is {self.candidates}; it must be positive and below {_SLOTS:,}")
        if len(self.classes) > self.num_classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes are {self.classes}; name each once, and no more than there are slots ({self.num_classes})")

    @property
    def frame(self) -> tuple[int, int, int]:
        """The shape (c, h, w) that the networks work on."""
        channels, *sides = self.image_shape
        multiple = _MULTIPLE[self.network]
        height, width = (-(-side // multiple) * multiple for side in sides)
        return channels, height, width

    @property
    def conditional(self) -> bool:
        return self.conditioning != "none"

    def name(self, label: int) -> str:
        """The name of a class; its number if it has none."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def with_classes(self, count: int, names: tuple[str, ...]) -> ReplayGANConfig:
        """The same with ``count`` label slots or more, the first ones called by ``names``."""
        return replace(self, num_classes=max(count, self.num_classes), classes=names)

    def build(self) -> ReplayGAN:
        """The model with fresh weights from torch's global generator."""
        return ReplayGAN(self)

    def build_generator(self) -> Generator:
        rows = self.num_classes if self.conditional else 1
        make = ClassDCGANGenerator if self.network == "dcgan" else ClassResNetGenerator
        return make(self.noise_dim, self.frame, rows, width=self.width, conditioning=self.conditioning)

    def build_critic(self) -> Critic:
        return self._judge(self.num_classes if self.conditional else 0)

    def build_solver(self) -> Critic | None:
        """The classifier of deep generative replay: the critic's layers under a class head, since the paper does not say."""
        return None if self.conditional else self._judge(self.num_classes)

    def _judge(self, num_classes: int) -> Critic:
        return (ClassDCGANCritic if self.network == "dcgan" else ClassResNetCritic)(self.frame, num_classes, width=self.width)


_CHOICES: dict[str, tuple[str, ...]] = {
    "network": ("dcgan", "resnet"),
    "conditioning": ("norm", "concat", "none"),
    "statistics": ("class", "batch"),
    "framing": ("pad", "resize"),
}


class ReplayGAN(nn.Module):
    """``generator``, ``critic`` with its class head, and a ``solver`` where the generator is unconditional.

    ``learned`` (num_classes,) holds the number of the task in which each class is or was learned, -1 for none. Drawing images uses the stored
    statistics of their class, so that an image depends on its own latents alone; :class:`~.statistics.BatchStatistics` draws as the authors do.
    """

    averaged_parts = ("generator",)
    image_range = (-1.0, 1.0)
    learned: Tensor

    def __init__(self, config: ReplayGANConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = config.build_generator()
        self.critic = config.build_critic()
        self.solver = config.build_solver()
        self.register_buffer("learned", torch.full((config.num_classes,), -1))

    # --- which classes ---

    def begin_task(self, number: int, classes: Sequence[int]) -> None:
        """Begin task ``number``, which learns ``classes``. Raises InputError for a slot that is not there or was learned in another task."""
        for label in classes:
            if not 0 <= label < self.config.num_classes:
                raise InputError(f"class {label}: the model has label slots 0 to {self.config.num_classes - 1}: give it more with model.num_classes")
            if int(self.learned[label]) not in (-1, number):
                raise InputError(
                    f"class {self._class_name(label)}: learned in task {int(self.learned[label])} already: leave it out of task {number}"
                )
        self.learned[list(classes)] = number

    def renew_critic(self, *, seed: int) -> None:
        """Draw new initial weights for the critic, as a function of the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = self.config.build_critic()
        self.critic.load_state_dict(fresh.state_dict())

    @property
    def known(self) -> tuple[int, ...]:
        """The classes learned so far, the current task's among them. Reads device memory."""
        return known_classes(self.learned)

    def _class_name(self, label: int) -> str:
        """A class's number, and its name where that is another."""
        name = self.config.name(label)
        return str(label) if name == str(label) else f"{label} ({name})"

    @property
    def current(self) -> Int[Tensor, " m"]:
        """The classes of the newest task."""
        return (self.learned == self.learned.max()).nonzero()[:, 0]

    def slot(self, name: str) -> int | None:
        """The slot of that class name; None if there is none."""
        return self.config.classes.index(name) if name in self.config.classes else None

    # --- drawing images ---

    def drawing_by(self, statistics: Literal["stored", "batch"]) -> ReplayGAN | BatchStatistics:
        """The model as it is, or drawing by the statistics of a batch, as the authors do."""
        return BatchStatistics(self) if statistics == "batch" else self

    def panel(self, columns: int) -> tuple[tuple[int, ...], UInt8[Tensor, "rows columns c h w"]]:
        """The known classes and images of fixed latents of each, by the statistics of a batch as in training; without classes as many rows of any."""
        drawn, rows = BatchStatistics(self), len(self.known)
        if not self.config.conditional:
            whole = drawn.decode(self.latents(max(64, rows * columns), seed=1))[: rows * columns]
            return (), to_uint8(whole, self.image_range).unflatten(0, (rows, columns))
        return self.known, to_uint8(drawn.sample(rows * columns, seed=1), self.image_range).unflatten(0, (columns, rows)).transpose(0, 1)

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        """(z, c) of the images ``start`` .. ``start + num - 1`` of the stream ``seed``; without ``label``, c is uniform over the known classes.

        An unconditional model looks for latents whose image its solver takes for ``label``: the first of ``config.candidates``, else the likeliest.
        Raises InputError.
        """
        check_count(num)
        if slot is not None:
            raise InputError("slot: this model has no memory of slots; ask for a label instead")
        index = torch.arange(start, start + num, device=self.device)
        if not self.config.conditional:
            return Latents(self.noise(index, seed)) if label is None else self._searched(index, label, seed)
        if label is None:
            return self._of_any_class(index, seed)
        if label not in self.known:
            known = ", ".join(self._class_name(each) for each in self.known) or "no class yet"
            raise InputError(f"label: {self._class_name(label)} is not learned; this model knows {known}")
        return self.in_turns(index, torch.tensor([label], device=self.device), seed=seed)

    def in_turns(self, index: Int[Tensor, " n"], classes: Int[Tensor, " k"], *, seed: int, stream: int = 0) -> Latents:
        """(z, c) of image ``index[i]`` of every class, all classes in turn: n k latents, the j-th of ``classes[j mod k]``."""
        address = (index[:, None] * _SLOTS + classes).flatten()
        label = classes.repeat(len(index)) if self.config.conditional else None
        return Latents(self.noise(address, seed, stream + noise.Stream.GIVEN_CLASS), label=label)

    @torch.no_grad()
    def decode(self, latents: Latents) -> Float[Tensor, "b c h w"]:
        """The images G(z, c), normalised by the stored statistics of their classes."""
        return self.unframed(self.generate(latents, None))

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]:
        """``decode(latents(...))``."""
        return self.decode(self.latents(num, label=label, slot=slot, seed=seed, start=start))

    def generate(self, latents: Latents, turns: Turns) -> Float[Tensor, "b c h w"]:
        """The generator's own images, with gradients and at the size that it works on; ``turns``: see :mod:`memogen.nets.class_norm`."""
        return generate(self.generator, latents, turns)

    def calibrate(self, data: ImageData | None = None, *, seed: int = 0) -> None:
        """Store the statistics of the known classes, taken of fresh latents; ``data`` is not looked at."""
        self.store_statistics(self.generator, self.known, seed=seed)

    @torch.no_grad()
    def store_statistics(self, generator: nn.Module, classes: Sequence[int], *, seed: int = 0, batches: int = 8, batch_size: int = 64) -> None:
        """Store in ``generator``, its own or one shaped like it, the mean statistics over batches of each class."""
        mixed = self.config.statistics == "batch"
        for batch in range(batches if classes else 0):
            index = torch.arange(batch * batch_size, (batch + 1) * batch_size, device=self.device)
            with storing(generator, batch):
                for part in self._together(classes, batch_size):
                    latents = self.in_turns(index, part, seed=seed, stream=noise.Stream.STATISTICS)
                    generate(generator, latents, 0 if mixed else len(part))

    @torch.no_grad()
    def classify(self, image: Pixels) -> Float[Tensor, "b classes"]:
        """The logits of the class head, or of the solver where there is one. Raises InputError for what is no batch of this model's images."""
        check_images(image, self.config.image_shape, self.image_range)
        judge = self.solver or self.critic
        logits: Tensor = judge(self.pixels(image))[1]
        return logits

    # --- pixels ---

    def pixels(self, image: Pixels) -> Float[Tensor, "b c g v"]:
        """Images of the data (uint8), or floats in ``image_range``, in the frame of the networks."""
        image = to_range(image, self.image_range) if image.dtype == torch.uint8 else image
        return self.framed(image.to(device=self.device, dtype=self.dtype))

    def framed(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c g v"]:
        """To the size that the networks work on; the border is black."""
        frame, size = self.config.frame[1:], tuple(image.shape[2:])
        if size == frame:
            return image
        if self.config.framing == "resize":
            return F.interpolate(image, frame, mode="bilinear")
        top, left = _margins(frame, size)
        return F.pad(image, (left, frame[1] - size[1] - left, top, frame[0] - size[0] - top), value=self.image_range[0])

    def unframed(self, image: Float[Tensor, "b c g v"]) -> Float[Tensor, "b c h w"]:
        """The inverse of :meth:`framed`."""
        frame, size = self.config.frame[1:], self.config.image_shape[1:]
        if size == frame:
            return image
        if self.config.framing == "resize":
            return F.interpolate(image, size, mode="bilinear", antialias=True)
        top, left = _margins(frame, size)
        return image[:, :, top : top + size[0], left : left + size[1]]

    @property
    def device(self) -> torch.device:
        return self.learned.device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.generator.parameters()).dtype

    def noise(self, address: Int[Tensor, " b"], seed: int, stream: int = 0) -> Float[Tensor, "b z"]:
        """z ~ N(0, I), addressed."""
        return noise.normal(address, self.config.noise_dim, seed=seed, stream=stream).to(self.dtype)

    def of_any(self, index: Int[Tensor, " b"], classes: Int[Tensor, " k"], *, seed: int, stream: int = 0) -> Latents:
        """(z, c) with c uniform over ``classes``, both by address."""
        drawn = noise.uniform(index, 1, seed=seed, stream=stream + noise.Stream.CLASS, dtype=torch.float64)[:, 0]
        return Latents(self.noise(index, seed, stream), label=classes[(drawn * len(classes)).long()])

    def _of_any_class(self, index: Tensor, seed: int) -> Latents:
        known = self.known
        if not known:
            raise InputError("label: the model has learned no class yet: train it first")
        return self.of_any(index, torch.tensor(known, device=self.device), seed=seed)

    def _together(self, classes: Sequence[int], batch_size: int) -> tuple[Tensor, ...]:
        """The classes that pass at once: one where there are no others, all where they share their statistics, else as many as memory bears."""
        whole = torch.tensor(classes, device=self.device)
        if not self.config.conditional:
            return (whole[:1],)
        area = batch_size * self.config.frame[1] * self.config.frame[2]
        return whole.split(len(classes) if self.config.statistics == "batch" else max(1, _AT_ONCE // area))

    @torch.no_grad()
    def _searched(self, index: Tensor, label: int, seed: int) -> Latents:
        """The candidates of an image have addresses side by side; they are looked at in rounds, in which only images without a find take part."""
        chosen = torch.zeros(len(index), self.config.noise_dim, device=self.device, dtype=self.dtype)
        best = torch.full((len(index),), -torch.inf, device=self.device, dtype=self.dtype)  # log probability; of a find, infinity
        for first in range(0, self.config.candidates, _ROUND):
            rows = (best < torch.inf).nonzero()[:, 0]
            each = torch.arange(first, min(first + _ROUND, self.config.candidates), device=self.device)
            found = self.noise((index[rows, None] * self.config.candidates + each).flatten(), seed, noise.Stream.GIVEN_CLASS)
            logits = torch.cat([self.classify(self.decode(Latents(part))) for part in found.split(_SEARCHED)])
            odds = logits.log_softmax(1)[:, label].masked_fill(logits.argmax(1) == label, torch.inf).view(-1, len(each))
            odds, place = odds.max(1)
            better = odds > best[rows]
            best[rows[better]] = odds[better]
            chosen[rows[better]] = found.view(len(rows), len(each), -1)[better, place[better]]
            if bool((best == torch.inf).all()):
                break
        return Latents(chosen)


def _margins(frame: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """Rows above and columns to the left of a centred image."""
    return (frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2


def with_class(model: ReplayGAN, name: str, *, seed: int = 0) -> tuple[ReplayGAN, int]:
    """(a model, a slot of it for a new class called ``name``): an unused slot where there is one of that name or without a name, else one more.

    ``model`` itself is left alone. Raises InputError where the class is known already.
    """
    config, free = model.config, set(range(model.config.num_classes)) - set(model.known)
    slot = model.slot(name)
    if slot is not None and slot not in free:
        raise InputError(f"label: {name!r} is known to this model, as class {slot}: give the new category another name")
    if slot is None:
        slot = min((place for place in free if place >= len(config.classes)), default=config.num_classes)
    if slot < len(config.classes):
        return grown(model, config.num_classes, config.classes, seed=seed), slot
    names = (*(config.name(label) for label in range(slot)), name)
    return grown(model, max(config.num_classes, slot + 1), names, seed=seed), slot


def grown(model: ReplayGAN, num_classes: int, classes: tuple[str, ...], *, seed: int = 0) -> ReplayGAN:
    """A copy with ``num_classes`` slots: gains of 1 and shifts of 0 for the new ones, and fresh weights in the class head, drawn by ``seed``."""
    if num_classes < model.config.num_classes:
        raise InputError(f"num_classes: {num_classes} where the model has {model.config.num_classes}: a model does not lose slots")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = replace(model.config, num_classes=num_classes, classes=classes).build()
    state = fresh.state_dict()
    for name, value in model.state_dict().items():
        state[name][tuple(slice(0, side) for side in value.shape)] = value.cpu()  # new rows, and columns of a one-hot code, stand at the end
    fresh.load_state_dict(state)
    return fresh.to(model.device, model.dtype).train(model.training)
