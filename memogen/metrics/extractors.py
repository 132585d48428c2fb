"""What samples are measured with: the frozen data-set classifiers, and the protocol for any extractor of the user's."""

from __future__ import annotations

import difflib
import hashlib
from copy import deepcopy
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from memogen.metrics.classifiers import WEIGHTS, Classifier, classifier, classifier_names, read_card, weights_metadata
from memogen.metrics.image_input import ImageInput
from memogen.metrics.inception import CLASSES, FEATURES, INCEPTION, SIDE, InceptionV3, load_weights, published_file
from memogen.metrics.layers_model import described
from memogen.metrics.resnet import RESNET, read_resnet50
from memogen.metrics.weight_files import read_tensors, weights_digest
from memogen.types import ImageData, InputError, as_bytes


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


# --- networks of the user's ---
# Any network as an extractor: frozen, told how to read images, and named by the hash of its weights.


class ModuleExtractor(nn.Module):
    """A copy of ``module``, frozen, as an :class:`~memogen.metrics.extractors.Extractor`: float images to features (b, f).

    ``reading`` turns uint8 images into the module's input and names the resize filter in every result. ``head``, if given, maps features to
    logits (b, classes); without it there is no inception score. ``version`` is ``name`` and eight digits of a SHA-256 over the weights and
    ``reading``, unless the weights have a published name of their own. At most ``at_once`` images pass through together: that moves memory,
    not scores.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        reading: ImageInput | None = None,
        head: nn.Module | None = None,
        version: str | None = None,
        accuracy: float | None = None,
        at_once: int = 64,
    ) -> None:
        super().__init__()
        self.module, self.head = deepcopy(module), deepcopy(head)
        self.reading = reading or ImageInput()
        self.name, self.accuracy, self.at_once = name, accuracy, at_once
        self.requires_grad_(False).eval()
        self.version = version or f"{name}:{_weights_digest(self, self.reading)[:8]}"

    @property
    def resize(self) -> str:
        return self.reading.resize

    def train(self, mode: bool = True) -> ModuleExtractor:
        """Stays in evaluation mode whatever it is told."""
        super().train(False)
        return self

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """What the module makes of uint8 images; an InputError where that is not one row per image."""
        with torch.autocast(image.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return torch.cat([self._features(part) for part in image.split(self.at_once)])

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]:
        """The head's logits of given features; an InputError where there is no head."""
        if self.head is None:
            raise InputError(f"extractor {self.name}: it has features but no logits: give head=..., or metrics other than the inception score")
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.head(features)
        return out

    def forward(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.logits(self.features(image))

    def _features(self, image: Tensor) -> Tensor:
        try:
            read = self.reading(image)
        except InputError as error:
            raise InputError(f"extractor {self.name}: {error}") from error
        out = self.module(read.to(_dtype(self.module)))
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(image):
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(f"extractor {self.name}: {len(image)} images gave {shape}: give a module that ends in (b, f), pooled or flattened")
        return out


def _dtype(module: nn.Module) -> torch.dtype:
    """The type of its numbers: that of its first floating-point parameter or buffer."""
    return next((value.dtype for value in module.state_dict().values() if value.is_floating_point()), torch.float32)


def _weights_digest(module: nn.Module, reading: ImageInput) -> str:
    """SHA-256 of all weights by name, type, shape and bits, and of how images are read."""
    digest = hashlib.sha256(repr(reading).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# --- the published networks ---

AT_ONCE = 16  # images of 299x299: some 300 MB of memory
READING = ImageInput((SIDE, SIDE), "tensorflow-1-bilinear", mean=128.0, std=128.0, channels=3)


def inception_v3(path: Path | None = None) -> ModuleExtractor:
    """The standard extractor: 2,048 features for distances, 1,008 logits for the inception score.

    Images of any size are brought to 299x299 as the graph did it, grey ones in three equal channels, and scaled by (x - 128) / 128. The logits
    go without their bias, as in the code that the published inception scores come from (Salimans et al. 2016). ``version`` has the first
    digits of the file's SHA-256: "inception-v3:6726825d" is the published file. ``path`` None looks for that file, and downloads it if need be.
    """
    path = path or published_file()
    network = InceptionV3()
    load_weights(network, path)
    head = nn.Linear(FEATURES, CLASSES, bias=False)
    head.weight = network.fc.weight
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half as fast again on a CPU
    return ModuleExtractor(network, name=INCEPTION, reading=READING, head=head, version=f"{INCEPTION}:{weights_digest([path])[:8]}", at_once=AT_ONCE)


def resnet50(path: Path) -> ModuleExtractor:
    """ResNet-50 trained on ImageNet, of weights at ``path``: 2,048 features for distances, 1,000 logits for the inception score.

    Images of any size are brought to 224x224 whole, by an antialiased bilinear filter, grey ones in three equal channels, and scaled as its
    training did. See :func:`~memogen.metrics.resnet.read_resnet50` for what ``path`` may be. ``version`` has the first digits of the SHA-256
    of its files: "resnet50:0676ba61" and "resnet50:11ad3fa6" are torchvision's published ones.
    """
    found = read_resnet50(path)
    found.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    version, few = f"{RESNET}:{found.digest[:8]}", AT_ONCE // 2  # a fifth faster on a CPU than twice as many
    return ModuleExtractor(found.network, name=RESNET, reading=found.reading, head=found.network.fc, version=version, at_once=few)


# --- stacked digits ---
# The judge of stacked digits: the classifier of one digit, asked about each channel.


STACKED = "stacked-digits"


class StackedClassifier(nn.Module):
    """An :class:`~memogen.metrics.extractors.Extractor` of pictures with a digit in each channel.

    Its features are those of the channels side by side. It takes the channels for independent, p(a, b, c) = p(a) p(b) p(c), and combination
    100 a + 10 b + c for class 100 a + 10 b + c of 1,000.
    """

    def __init__(self, one: Classifier, places: int = 3) -> None:
        super().__init__()
        self.one, self.places = one, places
        self.name, self.resize = STACKED, one.resize

    @property
    def version(self) -> str:
        """That of the classifier, and how many channels it is asked about."""
        return f"{self.one.version}^{self.places}"

    @property
    def accuracy(self) -> float:
        """That all channels are right, each as often as a single digit."""
        return self.one.accuracy**self.places

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b places h w"]) -> Float[Tensor, "b f"]:
        """The layer before the logits, channel after channel. Another number of channels is an InputError."""
        if image.ndim != 4 or image.shape[1] != self.places:
            raise InputError(f"classifier {self.name}: images are {tuple(image.shape[1:])}: give {self.places} channels with a digit each")
        return self.one.features(image.flatten(0, 1)[:, None]).unflatten(0, (-1, self.places)).flatten(1)

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]:
        """log p of every combination."""
        parts = self.one.logits(features.unflatten(1, (self.places, -1)).flatten(0, 1)).log_softmax(1).unflatten(0, (-1, self.places))
        joint = parts[:, 0]
        for place in range(1, self.places):
            joint = (joint[:, :, None] + parts[:, place, None, :]).flatten(1)
        return joint

    def forward(self, image: Shaped[Tensor, "b places h w"]) -> Float[Tensor, "b classes"]:
        return self.logits(self.features(image))


# --- pixels ---

PIXELS = "pixels"
_SIDE = 32  # pixels along the longer side, where images are larger


class PixelExtractor(ModuleExtractor):
    """The pixels themselves as features, for images that no classifier ships for: it has no weights and no logits.

    It reads images of ``image_shape``, real vectors in bytes; larger ones are brought to 32 pixels along their longer side.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        _, height, width = image_shape
        scale = _SIDE / max(height, width)
        size = None if scale >= 1 or height == 1 else (max(1, round(height * scale)), max(1, round(width * scale)))
        super().__init__(nn.Flatten(), name=PIXELS, reading=ImageInput(size, "antialiased-bilinear"))
        self.image_shape = image_shape

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """The pixels in [0, 1] of images of its shape; others are an InputError."""
        if tuple(image.shape[1:]) != self.image_shape:
            raise InputError(f"extractor {PIXELS}: images are {tuple(image.shape[1:])}, others {self.image_shape}: bring all to one shape")
        return super().features(as_bytes(image))


# --- by name ---

NetworkExtractor = Classifier | ModuleExtractor | StackedClassifier
"""What :func:`extractor` gives: one that lives on a device."""


def extractor(name: str | Path, *, device: torch.device | str = "cpu", image_shape: tuple[int, int, int] | None = None) -> NetworkExtractor:
    """The extractor of that name: a shipped classifier, "stacked-digits", "inception-v3", "pixels"; or of the weights at that path.

    A path is a classifier's file, Inception's, or what :func:`~memogen.metrics.extractors.resnet50` reads. Which network it is, its content
    tells, or the name before it: "resnet50=PATH". Another name, other weights, or a classifier that reads no images of ``image_shape`` is an
    InputError that names what would do.
    """
    path, ships = Path(name).expanduser(), own_extractor(str(name)) is not None
    if str(name) == INCEPTION:
        return inception_v3().to(device)
    if str(name) == PIXELS:
        if image_shape is None:
            raise InputError(f"extractor {PIXELS!r}: of which images is not said: give image_shape, (channels, height, width)")
        return PixelExtractor(image_shape)
    if str(name).startswith(f"{RESNET}="):
        return resnet50(Path(str(name).removeprefix(f"{RESNET}=")).expanduser()).to(device)
    if not ships and described(path) is None and not path.is_file():
        raise InputError(f"extractor {str(name)!r}: neither a name nor a file of weights: {_remedy(str(name), image_shape)}")
    if not ships and not (path.suffix == ".safetensors" and "classifier" in weights_metadata(path)):
        return (resnet50 if _is_resnet(path) else inception_v3)(path).to(device)
    found = _stacked() if str(name) == STACKED else classifier(str(name)) if ships else Classifier.read(path)
    if image_shape is not None and _reads(found) != image_shape:
        reads, given = in_words(_reads(found)), in_words(image_shape)
        raise InputError(f"extractor {str(name)!r}: it reads {reads} images, these are {given}: {_remedy('', image_shape)}")
    return found.to(device)


def _is_resnet(path: Path) -> bool:
    """Whether weights are those of a ResNet, by the names of the tensors."""
    if described(path):
        return True
    found = read_tensors(path, wanted_by="extractor", remedy=f"give weights of {INCEPTION} or {RESNET}, .safetensors or .pth, of nothing but tensors")
    return any(name.startswith("layer1.") for name in found)


def own_extractor(data: str) -> str | None:
    """The name of the extractor that ships for a data set; None where none does."""
    return data if data in (*classifier_names(), STACKED) else None


def fitting(data: ImageData) -> str:
    """The name of the extractor for a data set: the classifier that ships for it and reads its images, else "pixels"."""
    own = own_extractor(data.name)
    return own if own is not None and own in readers(data.image_shape) else PIXELS


def _stacked() -> StackedClassifier:
    return StackedClassifier(classifier("digits"))


def _reads(found: Classifier | StackedClassifier) -> tuple[int, int, int]:
    """The shape of the images that it reads."""
    return found.card.image_shape if isinstance(found, Classifier) else (found.places, *found.one.card.image_shape[1:])


def readers(image_shape: tuple[int, int, int] | None = None) -> dict[str, str]:
    """The extractors with a name that read images of a shape (c, h, w), or of any, and what each of them reads."""
    shapes = {name: read_card(WEIGHTS / f"{name}-v1.safetensors").image_shape for name in classifier_names()}
    shapes[STACKED] = _reads(_stacked())
    found = {name: in_words(shape) for name, shape in shapes.items() if image_shape in (None, shape)}
    found |= dict.fromkeys((INCEPTION, f"{RESNET}=PATH"), "any size, grey or colour") if image_shape is None or image_shape[0] in (1, 3) else {}
    return found | {PIXELS: "any, without weights"}


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
