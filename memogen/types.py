"""The values that travel between the parts of memogen, and the protocols the parts keep.

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

from memogen.errors import InputError as InputError  # the other modules import it from here

if TYPE_CHECKING:
    from memogen.memory import MixtureMemory

Pixels = UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
"""Images as the data hold them: bytes 0..255, or the numbers in [0, 1] of a user's real vectors."""

OneImage = UInt8[Tensor, "c h w"] | Float[Tensor, "c h w"]
"""One of them."""


@dataclass(frozen=True)
class ImageData:
    """A data set of equally sized images, usually memory-mapped.

    ``image`` is uint8 (n, c, h, w), or float32 (n, 1, 1, d) in [0, 1] for real vectors of d numbers, which bytes would round; ``label`` is
    int64 (n,) or None, ``digest`` a hash of the pixels and labels that names the data in results. A torch DataLoader takes it as it is.
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
        """(image, label) of one row, as torch data sets give them; (image,) where there are no labels. The image is a copy of its own."""
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
    """``total`` is differentiated; ``terms`` are detached scalars for the log; ``carry`` is handed to the phase's ``commit`` untouched."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    carry: object = None


@dataclass(frozen=True)
class DecayConfig:
    """A learning rate that falls in steps. The run is divided into ``stages`` equal parts. In the first ``hold`` of them the rate is full; in each
    later one it is multiplied by ``factor`` once more.

    The default is that of Li et al. 2016, section 5, where a stage is one of 3,000 epochs. A shorter run has as many stages, each of fewer steps.
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
    """An optimiser as data: Adam with a schedule and optional bounds on the gradient.

    ``schedule`` "linear" falls from ``learning_rate`` at step 0 to zero at the last step; "decay" follows ``decay``. The gradient's norm over all
    parameters is brought down to ``clip_norm``, then every element into [-``clip_value``, ``clip_value``]; 0 means no clipping. ``eps_form``:
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
    """One optimiser's turn in a training step: ``repeats`` times a fresh batch, loss, backward, merge, optimiser, commit.

    ``modules`` are the ones whose parameters the optimiser moves; gradients are computed for no other parameter.
    ``reads_data`` False gives a batch with the address of the joint batch but without pixels.
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
    """What a generator draws its images from: ``noise`` (b, z), and where the model has them ``key`` (b, d), ``slot`` (b,), ``label`` (b,)."""

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
    """A model that draws images. ``image_range`` names the interval its images live in.

    Image i of ``latents(num, seed=s, start=a)`` depends on (s, a + i) alone, never on ``num``.
    """

    image_range: tuple[float, float]

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents: ...
    def decode(self, latents: Latents) -> Float[Tensor, "b c h w"]: ...
    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Float[Tensor, "b c h w"]: ...


@runtime_checkable
class LikelihoodModel(Protocol):
    """A model with importance weights: ``log_weights`` gives (s, b), all constants kept."""

    def log_weights(self, image: Pixels, *, num_samples: int) -> Float[Tensor, "s b"]: ...


@runtime_checkable
class SlotModel(GenerativeModel, Protocol):
    """A generative model with a mixture memory, which tells what its slots hold: ``encode`` gives the queries of images.

    ``memory`` is None in a model of the family that has none.
    """

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
        """What :func:`memogen.from_pretrained` gives, as type checkers take it. Whether a model has a memory to ask, ``isinstance`` with
        :class:`SlotModel` says.
        """

        config: Any
        memory: Any
        image_range: tuple[float, float]

else:
    SavedModel = nn.Module


@runtime_checkable
class ClassModel(GenerativeModel, Protocol):
    """A generative model that is told which class to draw and knows those that it has learned. ``drawing_by`` "batch" gives it back normalising by
    the batch, where its paper's rows are drawn so, and "stored" as it is.
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
    """A model that says by which images its training is watched: (the class of each row, or nothing; the same images at every call)."""

    def panel(self, columns: int) -> tuple[tuple[int, ...], UInt8[Tensor, "rows columns c h w"]]: ...


@runtime_checkable
class LabelledConfig(Protocol):
    """The configuration of a model that is told classes: ``with_classes`` makes room for ``count`` of them, the first ones called by ``names``."""

    def with_classes(self, count: int, names: tuple[str, ...]) -> Any: ...


class Objective(Protocol):
    """What a paper adds to a model to train it: a list of phases."""

    def phases(self, model: Any, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]: ...


@runtime_checkable
class CostedObjective(Protocol):
    """An objective that counts what keeping the past takes, by the names of result rows; ``tasks`` are the numbers of classes of each."""

    def cost(self, model: Any, tasks: Sequence[int], *, steps: int, batch_size: int) -> dict[str, float]: ...


@runtime_checkable
class ReplayingTeacher(Protocol):
    """A teacher whose own images stand among those that a task is learned from: ``among`` gives the mixture, by which batch statistics are set."""

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
    """What the data hold, to be shown: bytes as they are, real numbers in [0, 1] as shades of grey."""
    return image if image.dtype == torch.uint8 else to_uint8(image, (0.0, 1.0))


def to_uint8(image: Float[Tensor, "b c h w"], image_range: tuple[float, float]) -> UInt8[Tensor, "b c h w"]:
    """Floats in ``image_range`` to uint8, rounded and clamped: the inverse of :func:`to_range`."""
    low, high = image_range
    return ((image.detach().float() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
