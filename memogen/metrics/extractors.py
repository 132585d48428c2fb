"""The networks that samples are measured with: the shipped classifiers, published networks, pixels, and any network of the user's."""

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
from memogen.metrics.resnet import RESNET, read_resnet50
from memogen.metrics.weight_files import described, read_tensors, weights_digest
from memogen.types import ImageData, InputError, as_bytes


@runtime_checkable
class Extractor(Protocol):
    """Reads uint8 images: ``features`` (b, f) for distances, and by a call logits (b, classes) for the inception score.

    ``version`` names the exact weights in every result, ``resize`` how images are resized ("none" if they are not). ``accuracy`` is that of a
    classifier, else None.
    """

    name: str
    version: str
    resize: str
    accuracy: float | None

    def features(self, image: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b f"]: ...
    def __call__(self, image: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]: ...


@runtime_checkable
class ReadsLogits(Protocol):
    """An extractor that computes its logits from its features, so that one pass over the images gives both."""

    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]: ...


# --- any network ---


class ModuleExtractor(nn.Module):
    """A frozen copy of ``module``, which maps float images to features (b, f), as an :class:`~memogen.metrics.extractors.Extractor`.

    ``reading`` turns uint8 images into the module's input. ``head`` maps features to logits (b, classes); without it there is no inception score.
    ``version`` is by default ``name`` and eight digits of a SHA-256 over the weights and ``reading``. At most ``at_once`` images are passed
    together, which changes memory, not scores.
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
        self.resize = self.reading.resize
        self.version = version or f"{name}:{_digest(self, self.reading)[:8]}"

    def train(self, mode: bool = True) -> ModuleExtractor:
        """Stays in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """The features of uint8 images. Raises InputError if the module does not return one row per image."""
        with torch.autocast(image.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return torch.cat([self._features(part) for part in image.split(self.at_once)])

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]:
        """The head's logits of given features. Raises InputError without a head."""
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
        floats = (value.dtype for value in self.module.state_dict().values() if value.is_floating_point())
        out = self.module(read.to(next(floats, torch.float32)))
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(image):
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(f"extractor {self.name}: {len(image)} images gave {shape}: give a module that ends in (b, f), pooled or flattened")
        return out


def _digest(module: nn.Module, reading: ImageInput) -> str:
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

    Images of any size are resized to 299x299 as the graph did it, grey ones repeated in three channels, and scaled by (x - 128) / 128. The logits
    have no bias, as in the code that the published inception scores come from (Salimans et al. 2016). ``version`` has the first digits of the
    file's SHA-256: "inception-v3:6726825d" is the published file. ``path`` None finds that file, or downloads it.
    """
    path = path or published_file()
    network = InceptionV3()
    load_weights(network, path)
    head = nn.Linear(FEATURES, CLASSES, bias=False)
    head.weight = network.fc.weight
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.5 times as fast on a CPU
    return ModuleExtractor(network, name=INCEPTION, reading=READING, head=head, version=f"{INCEPTION}:{weights_digest([path])[:8]}", at_once=AT_ONCE)


def resnet50(path: Path) -> ModuleExtractor:
    """ResNet-50 trained on ImageNet, with the weights at ``path``: 2,048 features for distances, 1,000 logits for the inception score.

    Images of any size are resized to 224x224, without cropping, by an antialiased bilinear filter, grey ones repeated in three channels, and scaled
    as in its training. See :func:`~memogen.metrics.resnet.read_resnet50` for what ``path`` may be. ``version`` has the first digits of the SHA-256
    of its files: "resnet50:0676ba61" and "resnet50:11ad3fa6" are torchvision's published ones.
    """
    found = read_resnet50(path)
    found.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    version, few = f"{RESNET}:{found.digest[:8]}", AT_ONCE // 2  # a fifth faster on a CPU than twice as many
    return ModuleExtractor(found.network, name=RESNET, reading=found.reading, head=found.network.fc, version=version, at_once=few)


# --- stacked digits ---

STACKED = "stacked-digits"


class StackedClassifier(nn.Module):
    """An :class:`~memogen.metrics.extractors.Extractor` of images with a digit in each channel: the classifier of one digit, applied to each channel.

    Its features are those of the channels side by side. The channels count as independent, p(a, b, c) = p(a) p(b) p(c), and the combination (a, b, c)
    is class 100 a + 10 b + c of 1,000.
    """

    def __init__(self, one: Classifier, places: int = 3) -> None:
        super().__init__()
        self.one, self.places = one, places
        self.name, self.resize = STACKED, one.resize
        self.version = f"{one.version}^{places}"
        self.accuracy: float | None = one.card.accuracy**places  # all channels right

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b places h w"]) -> Float[Tensor, "b f"]:
        """The digits' features, channel after channel. Raises InputError for another number of channels."""
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
_SIDE = 32  # the longer side of larger images after resizing


class PixelExtractor(ModuleExtractor):
    """The pixels themselves as features, for data without a classifier: no weights and no logits.

    Reads images of ``image_shape``, real vectors as bytes; larger ones are resized to 32 pixels along their longer side.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        _, height, width = image_shape
        scale = _SIDE / max(height, width)
        size = None if scale >= 1 or height == 1 else (max(1, round(height * scale)), max(1, round(width * scale)))
        super().__init__(nn.Flatten(), name=PIXELS, reading=ImageInput(size, "antialiased-bilinear"))
        self.image_shape = image_shape

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """The pixels in [0, 1]. Raises InputError for another shape."""
        if tuple(image.shape[1:]) != self.image_shape:
            raise InputError(f"extractor {PIXELS}: images are {tuple(image.shape[1:])}, others {self.image_shape}: bring all to one shape")
        return super().features(as_bytes(image))


# --- by name ---

NetworkExtractor = Classifier | ModuleExtractor | StackedClassifier
"""What :func:`extractor` returns."""


def extractor(name: str | Path, *, device: torch.device | str = "cpu", image_shape: tuple[int, int, int] | None = None) -> NetworkExtractor:
    """The extractor of that name: a shipped classifier, "stacked-digits", "inception-v3", "pixels"; or of the weights at that path.

    A path is a classifier's file, Inception's, or one that :func:`~memogen.metrics.extractors.resnet50` reads. The network is recognised by the
    file's content, or named before it: "resnet50=PATH". Raises InputError, with what would do, for another name, other weights, and a classifier
    that does not read images of ``image_shape``.
    """
    check_name(name, image_shape)
    path, ships = Path(name).expanduser(), own_extractor(str(name)) is not None
    if str(name) == INCEPTION:
        return inception_v3().to(device)
    if str(name) == PIXELS:
        if image_shape is None:
            raise InputError(f"extractor {PIXELS!r}: it depends on the images: give image_shape, (channels, height, width)")
        return PixelExtractor(image_shape)
    if str(name).startswith(f"{RESNET}="):
        return resnet50(Path(str(name).removeprefix(f"{RESNET}=")).expanduser()).to(device)
    if not ships and not (path.suffix == ".safetensors" and "classifier" in weights_metadata(path)):
        return (resnet50 if _is_resnet(path) else inception_v3)(path).to(device)
    found = StackedClassifier(classifier("digits")) if str(name) == STACKED else classifier(str(name)) if ships else Classifier.read(path)
    reads = found.card.image_shape if isinstance(found, Classifier) else (found.places, *found.one.card.image_shape[1:])
    if image_shape is not None and reads != image_shape:
        raise InputError(f"extractor {str(name)!r}: it reads {in_words(reads)} images, these are {in_words(image_shape)}: {_remedy('', image_shape)}")
    return found.to(device)


def check_name(name: str | Path, image_shape: tuple[int, int, int] | None = None) -> None:
    """Raises InputError for what names neither an extractor nor a file."""
    word, path = str(name), Path(name).expanduser()
    if word in (INCEPTION, PIXELS) or word.startswith(f"{RESNET}=") or own_extractor(word) is not None or described(path) is not None:
        return
    if not path.is_file():
        raise InputError(f"extractor {word!r}: neither a name nor a file of weights: {_remedy(word, image_shape)}")


def _is_resnet(path: Path) -> bool:
    """Whether weights are those of a ResNet, by the names of the tensors."""
    if described(path):
        return True
    found = read_tensors(path, wanted_by="extractor", remedy=f"give weights of {INCEPTION} or {RESNET}, .safetensors or .pth, of nothing but tensors")
    return any(name.startswith("layer1.") for name in found)


def own_extractor(data: str) -> str | None:
    """The name of the extractor that ships for a data set; None if none does."""
    return data if data in (*classifier_names(), STACKED) else None


def fitting(data: ImageData) -> str:
    """The name of the extractor for a data set: the shipped classifier if it reads its images, else "pixels"."""
    own = own_extractor(data.name)
    return own if own is not None and own in readers(data.image_shape) else PIXELS


def readers(image_shape: tuple[int, int, int] | None = None) -> dict[str, str]:
    """The names of the extractors that read images of a shape (c, h, w), or any, with the images that each reads."""
    shapes = {name: read_card(WEIGHTS / f"{name}-v1.safetensors").image_shape for name in classifier_names()}
    shapes[STACKED] = (3, *shapes["digits"][1:])
    found = {name: in_words(shape) for name, shape in shapes.items() if image_shape in (None, shape)}
    found |= dict.fromkeys((INCEPTION, f"{RESNET}=PATH"), "any size, grey or colour") if image_shape is None or image_shape[0] in (1, 3) else {}
    return found | {PIXELS: "any, without weights"}


def in_words(image_shape: tuple[int, int, int]) -> str:
    """(c, h, w) in words, such as "28x28 grey"."""
    channels, height, width = image_shape
    return f"{height}x{width} {({1: 'grey', 3: 'colour'}).get(channels, f'{channels}-channel')}"


def _remedy(name: str, image_shape: tuple[int, int, int] | None) -> str:
    """What to give in place of ``name``: the most similar name that fits, or all of them."""
    known = readers(image_shape)
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]!r}?"
    names = [known_name if image_shape else f"{known_name} ({reads})" for known_name, reads in known.items()]
    return f"choose {' or '.join(names)}, or give a file"
