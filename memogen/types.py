"""The values that the parts of memogen hand to each other, the protocols they keep, and the checks of images that every model makes.

Legend of shapes used in every signature:
``b`` batch, ``k`` memory slots, ``t`` top-k entries, ``d`` key dimension, ``c h w`` image, ``z`` noise dimension, ``n`` images of a data set.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from memogen.errors import InputError as InputError  # the other modules import it from here

if TYPE_CHECKING:
    from memogen.memory import MixtureMemory

Pixels = UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
"""Images as the data hold them: bytes 0..255, or the numbers in [0, 1] of a user's real vectors."""

OneImage = UInt8[Tensor, "c h w"] | Float[Tensor, "c h w"]


@dataclass(frozen=True)
class ImageData:
    """A data set of equally sized images, usually memory-mapped.

    ``image`` is uint8 (n, c, h, w), or float32 (n, 1, 1, d) in [0, 1] for real vectors of d numbers, which bytes would round; ``label`` is
    int64 (n,) or None, ``digest`` a hash of the pixels and labels that identifies the data in results. It can be given to a torch DataLoader.
    """

    image: np.ndarray
    label: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    name: str = "data"
    split: str = "train"
    digest: str = ""

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, row: int) -> tuple[OneImage, int] | tuple[OneImage]:
        """(image, label) of one row, or (image,) if there are no labels. The image is a copy."""
        place = operator.index(row)
        image = torch.from_numpy(np.array(self.image[place]))
        return (image,) if self.label is None else (image, int(self.label[place]))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(c, h, w)."""
        channels, height, width = self.image.shape[1:]
        return int(channels), int(height), int(width)


@dataclass(frozen=True)
class Batch:
    """One process's share of a joint batch.

    ``index`` holds the global image numbers (images_seen + position in the joint batch); together with ``seed`` and ``stream`` it addresses
    all randomness of the batch, so that neither rank nor world size changes it. ``image`` is None for a phase that reads no data.
    """

    index: Int[Tensor, " b"]
    image: Pixels | None = None
    label: Int[Tensor, " b"] | None = None
    seed: int = 0
    stream: int = 0
    step: int = 0
    replay: Batch | None = None


@dataclass(frozen=True)
class Loss:
    """``total`` is differentiated; ``terms`` are detached scalars for the log; ``carry`` is for the phase's ``commit``."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    carry: object = None


@dataclass(frozen=True)
class DecayConfig:
    """A learning rate that falls in steps: the run has ``stages`` equal parts; in the first ``hold`` of them the rate is full, in each later one it
    is multiplied by ``factor`` once more.

    The default is that of Li et al. 2016, section 5, where a stage is one of 3,000 epochs. A shorter run has the same stages, with fewer steps each.
    """

    stages: int = 3000
    hold: int = 1000
    factor: float = 0.998

    def __post_init__(self) -> None:
        if not 0 <= self.hold <= self.stages or self.stages < 1:
            raise ValueError(f"hold is {self.hold} of {self.stages} stages; there must be at least one stage, and hold must lie in 0 to stages")
        if not 0 < self.factor <= 1:
            raise ValueError(f"factor is {self.factor}; it must lie in (0, 1]")


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam with a schedule and optional gradient clipping.

    ``schedule`` "linear" falls from ``learning_rate`` at step 0 to zero at the last step; "decay" follows ``decay``. The gradient's norm over all
    parameters is clipped to ``clip_norm``, then every element to [-``clip_value``, ``clip_value``]; 0 means no clipping. ``eps_form``:
    eps is added to the root of the second moment with its bias "corrected" (Kingma and Ba's Algorithm 1, and torch) or "uncorrected" (the form just
    above their section 2.1, and Lasagne), which makes the first few thousand steps smaller.
    """

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "decay"] = "constant"
    clip_norm: float = 0.0
    clip_value: float = 0.0
    eps_form: Literal["corrected", "uncorrected"] = "corrected"
    decay: DecayConfig = field(default_factory=DecayConfig)

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:  # nan fails every comparison
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive and finite")
        for name in ("eps", "weight_decay", "clip_norm", "clip_value"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be finite and not negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; each must lie in [0, 1)")


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn in a training step: ``repeats`` times a fresh batch, loss, backward pass, merge over processes, optimiser step, commit.

    ``modules`` are those whose parameters the optimiser changes; gradients are computed for no other parameter.
    ``reads_data`` False gives a batch without pixels.
    """

    name: str
    modules: tuple[nn.Module, ...]
    loss: Callable[[Batch], Loss]
    commit: Callable[[Loss], dict[str, Tensor]] | None = None
    repeats: int = 1
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    reads_data: bool = True


@dataclass(frozen=True)
class Latents:
    """The input of a generator: ``noise`` (b, z), and if the model has them ``key`` (b, d), ``slot`` (b,), ``label`` (b,)."""

    noise: Float[Tensor, "b z"]
    key: Float[Tensor, "b d"] | None = None
    slot: Int[Tensor, " b"] | None = None
    label: Int[Tensor, " b"] | None = None

    def take(self, rows: slice | Int[Tensor, " n"]) -> Latents:
        """The latents of the chosen images."""
        parts = {name: getattr(self, name) for name in ("noise", "key", "slot", "label")}
        return dataclasses.replace(self, **{name: part[rows] for name, part in parts.items() if part is not None})


@runtime_checkable
class GenerativeModel(Protocol):
    """A model that draws images. ``image_range`` is the interval of their values.

    Image i of ``latents(num, seed=s, start=a)`` depends on (s, a + i) alone, never on ``num``.
    """

    image_range: tuple[float, float]

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents: ...
    def decode(self, latents: Latents) -> Float[Tensor, "b c h w"]: ...
    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]: ...


@runtime_checkable
class LikelihoodModel(Protocol):
    """A model with importance weights: ``log_weights`` gives (s, b), with all constants."""

    def log_weights(self, image: Pixels, *, num_samples: int) -> Float[Tensor, "s b"]: ...


@runtime_checkable
class SlotModel(GenerativeModel, Protocol):
    """A generative model with a mixture memory. ``encode`` gives the queries of images. ``memory`` is None if the model was built without one."""

    config: Any
    if TYPE_CHECKING:  # Python 3.12 and newer do not find a module's parts and buffers where isinstance asks for them

        @property
        def memory(self) -> MixtureMemory | None: ...

    def encode(self, image: Pixels) -> Float[Tensor, "b d"]: ...
    def latents_at(
        self,
        index: Int[Tensor, " b"],
        *,
        seed: int,
        stream: int = 0,
        slot: int | Int[Tensor, " b"] | None = None,
        weight: Float[Tensor, " k"] | None = None,
    ) -> Latents: ...
    def to(self, device: torch.device) -> Any: ...


if TYPE_CHECKING:

    class SavedModel(nn.Module, SlotModel):
        """The type of what :func:`memogen.from_pretrained` returns. ``isinstance`` with :class:`SlotModel` says whether it has a memory."""

        config: Any
        memory: Any
        image_range: tuple[float, float]

else:
    SavedModel = nn.Module


@runtime_checkable
class ClassModel(GenerativeModel, Protocol):
    """A class-conditional generative model that knows which classes it has learned.

    ``drawing_by`` "batch" gives the model normalising by the batch, as some papers draw, "stored" the model itself.
    """

    config: Any
    if TYPE_CHECKING:  # a buffer: see SlotModel
        learned: Int[Tensor, " classes"]
        """The number of the task in which each class was learned."""

    @property
    def known(self) -> tuple[int, ...]: ...
    def drawing_by(self, statistics: Literal["stored", "batch"]) -> GenerativeModel: ...


@runtime_checkable
class PanelModel(Protocol):
    """A model that draws the panel its training is watched by: (the class of each row, or (); images, the same at every call)."""

    def panel(self, columns: int) -> tuple[tuple[int, ...], UInt8[Tensor, "rows columns c h w"]]: ...


@runtime_checkable
class LabelledConfig(Protocol):
    """The configuration of a class-conditional model: ``with_classes`` gives it ``count`` classes, of which the first have ``names``."""

    def with_classes(self, count: int, names: tuple[str, ...]) -> Any: ...


class Objective(Protocol):
    """How a paper trains a model: a list of phases."""

    def phases(self, model: Any, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]: ...


@runtime_checkable
class CostedObjective(Protocol):
    """An objective that counts what keeping the past costs, by the names of result rows; ``tasks`` holds each task's number of classes."""

    def cost(self, model: Any, tasks: Sequence[int], *, steps: int, batch_size: int) -> dict[str, float]: ...


@runtime_checkable
class ReplayingTeacher(Protocol):
    """A teacher whose images are mixed into a task's: ``among`` gives the mixture, from which batch statistics are computed."""

    def among(self, data: ImageData) -> ImageData: ...


class Evaluator(Protocol):
    """Scores a model: never trains, never writes memory."""

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]: ...


def to_range(image: Pixels, image_range: tuple[float, float]) -> Float[Tensor, "b c h w"]:
    """uint8 0..255, or the floats in [0, 1] of real vectors, to floats in ``image_range``."""
    low, high = image_range
    steps = 255 if image.dtype == torch.uint8 else 1
    return image.to(torch.get_default_dtype()) * ((high - low) / steps) + low


def as_bytes(image: Pixels) -> UInt8[Tensor, "b c h w"]:
    """Bytes as they are, real numbers in [0, 1] as shades of grey."""
    return image if image.dtype == torch.uint8 else to_uint8(image, (0.0, 1.0))


def to_uint8(image: Float[Tensor, "b c h w"], image_range: tuple[float, float]) -> UInt8[Tensor, "b c h w"]:
    """Floats in ``image_range`` to uint8, rounded and clamped: the inverse of :func:`to_range`."""
    low, high = image_range
    return ((image.detach().float() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)


def folded(images: UInt8[Tensor, "b c h w"]) -> UInt8[Tensor, "b c _ _"]:
    """Vectors (images of one row) folded into an image about as high as wide, black at the end of the last row. Other images stay as they are."""
    length = images.shape[3]
    if images.shape[2] > 1:
        return images
    width = math.ceil(math.sqrt(length))
    rows = -(-length // width)
    return F.pad(images, (0, rows * width - length)).unflatten(3, (rows, width))[:, :, 0]


_TOLERANCE = 1e-3  # of the range: what rounding in half precision may leave outside


def check_count(num: object) -> None:
    """Raises InputError unless ``num`` is a whole number, 0 or more."""
    if isinstance(num, bool) or not isinstance(num, (int, np.integer)) or num < 0:
        raise InputError(f"num: {num!r} is not a number of images: give a whole number, 0 or more")


def check_seed(seed: object, name: str = "seed") -> None:
    """Raises InputError unless ``seed`` is a whole number from 0 to 2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise InputError(f"{name} is {seed!r}: use a whole number from 0, below 2^63")


def check_images(image: object, image_shape: tuple[int, int, int], image_range: tuple[float, float], *, slack: float = _TOLERANCE) -> None:
    """Raises InputError unless ``image`` is a batch (b, c, h, w) of ``image_shape``: uint8, or floats in ``image_range``.

    ``slack`` is how far floats may lie outside, as a share of the range.
    """
    if not isinstance(image, Tensor):
        raise InputError(f"image: it is a {type(image).__name__}: give a tensor (b, c, h, w), as torch.from_numpy makes one of an array")
    check_shape(image, image_shape)
    if image.dtype == torch.uint8 or torch.compiler.is_exporting():  # a graph that is exported has no values yet
        return
    low, high = image_range
    if not image.is_floating_point():
        raise InputError(f"image: its numbers are {image.dtype}: give uint8 from 0 to 255, or floats from {low:g} to {high:g}")
    if not image.numel():
        return
    least, most = (float(value) for value in image.aminmax())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InputError("image: it holds numbers that are nan or infinite: give finite ones")
    room = slack * (high - low)
    if not (low - room <= least and most <= high + room):
        of_bytes = least >= 0 and 1 + room < most <= 255
        mend = "give them as uint8" if of_bytes else f"bring them to {low:g} to {high:g}, or give uint8 from 0 to 255"
        raise InputError(f"image: its numbers lie from {least:g} to {most:g} where the model has {low:g} to {high:g}: {mend}")


def check_shape(image: Tensor, image_shape: tuple[int, int, int]) -> None:
    """Raises InputError unless the tensor is a batch of images of that shape."""
    shape = tuple(image.shape)
    if len(shape) != 4:
        mend = "give a batch, as image[None]" if shape == image_shape else f"give (b, {', '.join(map(str, image_shape))})"
        raise InputError(f"image: its shape {shape} is not that of a batch of images: {mend}")
    if shape[1:] != image_shape:
        turned = (shape[3], *shape[1:3]) == image_shape
        mend = "move the channels forward, as image.permute(0, 3, 1, 2)" if turned else "bring the images to that shape"
        raise InputError(f"image: it is {shape[1:]} where the model has {image_shape}: {mend}")
