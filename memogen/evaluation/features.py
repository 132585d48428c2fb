"""What samples are measured with: the frozen data-set classifiers, and the protocol for any extractor of the user's."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memogen.evaluation.extractors import ModuleExtractor
from memogen.evaluation.inception_weights import INCEPTION, inception_v3
from memogen.evaluation.network import SmallResNet
from memogen.evaluation.stacked import STACKED, StackedClassifier
from memogen.types import InputError

WEIGHTS = Path(__file__).parent / "weights"


@runtime_checkable
class Extractor(Protocol):
    """Anything that reads uint8 images: ``features`` (b, f) for distances, the call itself logits (b, classes) for the inception score.

    ``version`` names the exact weights in every result, ``resize`` what is done to an image's size ("none" where nothing is);
    ``accuracy`` is None where it is no classifier.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def resize(self) -> str: ...
    @property
    def accuracy(self) -> float | None: ...

    def features(self, image: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b f"]: ...
    def __call__(self, image: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]: ...


@runtime_checkable
class ReadsLogits(Protocol):
    """An extractor whose logits follow from its features: one pass over the images serves both."""

    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]: ...


@dataclass(frozen=True)
class Card:
    """What a classifier's weight file says about itself."""

    name: str
    data: str
    digest: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    widths: tuple[int, int, int]
    mean: float
    std: float
    seed: int
    epochs: int
    accuracy: float = 0.0
    feature_layer: str = "mean over space of the last residual block"

    def normalise(self, image: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """uint8 pixels to the network's input: centred and scaled by the training split's mean and deviation."""
        return (image.float() / 255 - self.mean) / self.std


class Classifier(nn.Module):
    """A frozen classifier of one data set: no gradient, always in evaluation mode, float32 whatever the autocast.

    ``name``, ``version`` ("mnist-v1:" and eight digits of the weights' SHA-256) and ``accuracy`` (test split) belong to every score made with it.
    """

    def __init__(self, card: Card, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.card = card
        self.network = SmallResNet(card.image_shape[0], len(card.classes), card.widths, folded=True)
        self.network.load_state_dict({name: value.float() for name, value in state.items()})
        self.requires_grad_(False).eval()
        self._digest = _digest(self.network.state_dict(), card)

    @classmethod
    def read(cls, path: Path) -> Classifier:
        """A classifier from its weight file."""
        return cls(_card(path), load_file(path))

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def accuracy(self) -> float:
        return self.card.accuracy

    @property
    def version(self) -> str:
        return f"{self.card.name}-v1:{self._digest[:8]}"

    @property
    def resize(self) -> str:
        return "none"

    def train(self, mode: bool = True) -> Classifier:
        """Stays in evaluation mode whatever it is told."""
        super().train(False)
        return self

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """The layer before the logits, of uint8 images. Another shape or type is an InputError."""
        self._check(image)
        with torch.autocast(image.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self.network.features(self.card.normalise(image))

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]:
        """The logits of given features: saves a second pass over the images."""
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.network.head(features)
        return out

    def forward(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.logits(self.features(image))

    def _check(self, image: Tensor) -> None:
        if image.dtype != torch.uint8:
            raise InputError(f"classifier {self.name}: images are {image.dtype}: give uint8 pixels from 0 to 255")
        if tuple(image.shape[1:]) != self.card.image_shape:
            raise InputError(f"classifier {self.name}: images are {tuple(image.shape[1:])}: give (c, h, w) = {self.card.image_shape}")


NetworkExtractor = Classifier | ModuleExtractor | StackedClassifier
"""What :func:`extractor` gives: one that lives on a device."""


def extractor(name: str | Path, *, device: torch.device | str = "cpu", image_shape: tuple[int, int, int] | None = None) -> NetworkExtractor:
    """The extractor of that name: a shipped classifier, "stacked-digits" or "inception-v3"; or of that file: a classifier's or Inception's weights.

    Another name, a file of something else, or a classifier that reads no images of ``image_shape`` is an InputError that names what would do.
    See :func:`~memogen.evaluation.inception_weights.inception_v3`.
    """
    path, ships = Path(name).expanduser(), own_extractor(str(name)) is not None
    if str(name) == INCEPTION:
        return inception_v3().to(device)
    if not ships and not path.is_file():
        raise InputError(f"extractor {str(name)!r}: neither a name nor a file of weights: {_remedy(str(name), image_shape)}")
    if not ships and not (path.suffix == ".safetensors" and "classifier" in _metadata(path)):
        return inception_v3(path).to(device)
    found = _stacked() if str(name) == STACKED else classifier(str(name)) if ships else Classifier.read(path)
    if image_shape is not None and _reads(found) != image_shape:
        reads, given = in_words(_reads(found)), in_words(image_shape)
        raise InputError(f"extractor {str(name)!r}: it reads {reads} images, these are {given}: {_remedy('', image_shape)}")
    return found.to(device)


def own_extractor(data: str) -> str | None:
    """The name of the extractor that ships for a data set; None where none does."""
    return data if data in (*classifier_names(), STACKED) else None


def _stacked() -> StackedClassifier:
    return StackedClassifier(classifier("digits"))


def _reads(found: Classifier | StackedClassifier) -> tuple[int, int, int]:
    """The shape of the images that it reads."""
    return found.card.image_shape if isinstance(found, Classifier) else (found.places, *found.one.card.image_shape[1:])


def readers(image_shape: tuple[int, int, int] | None = None) -> dict[str, str]:
    """The extractors with a name that read images of a shape (c, h, w), or of any, and what each of them reads."""
    shapes = {name: _card(WEIGHTS / f"{name}-v1.safetensors").image_shape for name in classifier_names()}
    shapes[STACKED] = _reads(_stacked())
    found = {name: in_words(shape) for name, shape in shapes.items() if image_shape in (None, shape)}
    return found | ({INCEPTION: "any size, grey or colour"} if image_shape is None or image_shape[0] in (1, 3) else {})


def in_words(image_shape: tuple[int, int, int]) -> str:
    """(c, h, w) as a reader should see it."""
    channels, height, width = image_shape
    return f"{height}x{width} {({1: 'grey', 3: 'colour'}).get(channels, f'{channels}-channel')}"


def _remedy(name: str, image_shape: tuple[int, int, int] | None) -> str:
    """What to give in place of ``name``: the nearest that fits, or all that do."""
    known = readers(image_shape)
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]!r}?"
    names = [known_name if image_shape else f"{known_name} ({reads})" for known_name, reads in known.items()]
    return f"choose {' or '.join(names)}, or give a file" if names else "give a file"


def classifier(name: str, *, device: torch.device | str = "cpu") -> Classifier:
    """The classifier of that name that ships with the package; an unknown name is an InputError that lists the names there are."""
    path = WEIGHTS / f"{name}-v1.safetensors"
    if name not in classifier_names():
        raise InputError(f"classifier {name!r}: none of that name ships with memogen: choose one of {', '.join(classifier_names())}")
    return Classifier.read(path).to(device)


def classifier_names() -> tuple[str, ...]:
    """The names :func:`classifier` knows: one per weight file in the package."""
    return tuple(sorted(path.name.removesuffix("-v1.safetensors") for path in WEIGHTS.glob("*-v1.safetensors")))


def _card(path: Path) -> Card:
    card = json.loads(_metadata(path)["classifier"])
    return Card(**card | {name: tuple(card[name]) for name in ("image_shape", "classes", "widths")})


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"weights: {path}: cannot be read ({error}): give a .safetensors file") from error


def save_classifier(trained: Classifier, path: Path, *, accuracy: float) -> Path:
    """Write weights as 16-bit numbers, which a trained classifier already holds, and its card with the measured ``accuracy``."""
    card = asdict(replace(trained.card, accuracy=accuracy))
    state = {name: value.half().contiguous() for name, value in trained.network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"classifier": json.dumps(card)})
    return path


def _digest(state: Mapping[str, Tensor], card: Card) -> str:
    """SHA-256 of everything that moves a logit: the weights and the input's normalisation."""
    digest = hashlib.sha256(repr((card.image_shape, card.widths, card.mean, card.std)).encode())
    for name in sorted(state):
        digest.update(name.encode() + state[name].float().numpy().tobytes())
    return digest.hexdigest()
