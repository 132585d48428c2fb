"""The data-set classifiers that score samples: small residual networks, trained once per data set and shipped in ``weights/``.

``python -m memogen.metrics NAME --data DIR`` repeats a training, bit by bit on one machine with one number of threads. The shipped weights have the
batch norm folded into the convolutions.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from memogen.parsing import parse_json
from memogen.types import ImageData, InputError

WEIGHTS = Path(__file__).parent / "weights"


# --- the network ---


class Unit(nn.Module):
    """3x3 convolution, batch norm (none after folding), ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, folded: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=folded)
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """A residual block of two units."""

    def __init__(self, width: int, *, folded: bool = False) -> None:
        super().__init__()
        self.first = Unit(width, width, folded=folded)
        self.second = Unit(width, width, folded=folded)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x))
        return out


class SmallResNet(nn.Module):
    """A unit at full size, two units of stride 2, each followed by a residual block, the mean over space, and a linear head.

    The mean over space gives the features; their number is the last of the three ``widths``. Images need at least 4x4 pixels.
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int], *, folded: bool = False) -> None:
        super().__init__()
        stem, middle, last = widths
        self.body = nn.Sequential(
            Unit(channels, stem, folded=folded),
            Unit(stem, middle, stride=2, folded=folded),
            Residual(middle, folded=folded),
            Unit(middle, last, stride=2, folded=folded),
            Residual(last, folded=folded),
        )
        self.head = nn.Linear(last, classes)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        out: Tensor = self.body(image).mean(dim=(2, 3))
        return out

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        out: Tensor = self.head(self.features(image))
        return out


def fold(network: SmallResNet, *, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """The state of the network with its batch norms folded in as in evaluation mode, rounded to ``dtype``. It loads into ``folded=True``."""
    state = {f"head.{name}": value for name, value in network.head.state_dict().items()}
    for name, unit in network.named_modules():
        if isinstance(unit, Unit) and isinstance(unit.norm, nn.BatchNorm2d):
            conv = fuse_conv_bn_eval(unit.conv.eval(), unit.norm.eval())
            state |= {f"{name}.conv.{key}": value for key, value in conv.state_dict().items()}
    return {name: value.detach().to(dtype).contiguous() for name, value in state.items()}


# --- frozen weights in a file ---


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
        """The network's input: pixels less the mean of the training split, divided by their standard deviation."""
        return (image.float() / 255 - self.mean) / self.std


class Classifier(nn.Module):
    """A frozen classifier of one data set: no gradient, always in evaluation mode, float32 also under autocast.

    Every score made with it has its ``name``, ``version`` ("mnist-v1:" and eight digits of the weights' SHA-256) and ``accuracy`` (test split).
    """

    def __init__(self, card: Card, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.card, self.name, self.resize = card, card.name, "none"
        self.accuracy: float | None = card.accuracy
        self.network = SmallResNet(card.image_shape[0], len(card.classes), card.widths, folded=True)
        self.network.load_state_dict({name: value.float() for name, value in state.items()})
        self.requires_grad_(False).eval()
        # every number that changes a logit: the normalisation of the input, and the weights
        digest = hashlib.sha256(repr((card.image_shape, card.widths, card.mean, card.std)).encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        self.version = f"{card.name}-v1:{digest.hexdigest()[:8]}"

    @classmethod
    def read(cls, path: Path) -> Classifier:
        """The classifier in a weight file. Raises InputError."""
        try:
            return cls(read_card(path), load_file(path))
        except (RuntimeError, TypeError, SafetensorError, OSError) as error:
            raise InputError(f"weights: {path}: do not match the card beside them ({' '.join(str(error).split())[:160]}): train it again") from error

    def train(self, mode: bool = True) -> Classifier:
        """Stays in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def features(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """The features of uint8 images. Raises InputError for another type or shape."""
        if image.dtype != torch.uint8:
            raise InputError(f"classifier {self.name}: images are {image.dtype}: give uint8 pixels from 0 to 255")
        if tuple(image.shape[1:]) != self.card.image_shape:
            raise InputError(f"classifier {self.name}: images are {tuple(image.shape[1:])}: give (c, h, w) = {self.card.image_shape}")
        with torch.autocast(image.device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self.network.features(self.card.normalise(image))

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b classes"]:
        """The logits of given features, without a second pass over the images."""
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.network.head(features)
        return out

    def forward(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.logits(self.features(image))


def classifier(name: str, *, device: torch.device | str = "cpu") -> Classifier:
    """The shipped classifier of that name. Raises InputError, which lists the names, for another name."""
    if name not in classifier_names():
        raise InputError(f"classifier {name!r}: does not ship with memogen: choose one of {', '.join(classifier_names())}")
    return Classifier.read(WEIGHTS / f"{name}-v1.safetensors").to(device)


def classifier_names() -> tuple[str, ...]:
    """The names of the shipped classifiers."""
    return tuple(sorted(path.name.removesuffix("-v1.safetensors") for path in WEIGHTS.glob("*-v1.safetensors")))


def read_card(path: Path) -> Card:
    """What a classifier's weight file says about itself. Raises InputError."""
    try:
        card = parse_json(weights_metadata(path)["classifier"])
        return Card(**card | {name: tuple(card[name]) for name in ("image_shape", "classes", "widths")})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"weights: {path}: does not describe a classifier ({error!r:.80}): give one that memogen.metrics wrote") from error
    except ValueError as error:
        raise InputError(f"weights: {path}: {error}") from error


def weights_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises InputError if it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"weights: {path}: cannot be read ({error}): give a .safetensors file") from error


def save_classifier(trained: Classifier, path: Path, *, accuracy: float) -> Path:
    """Write the weights as 16-bit numbers, to which a trained classifier is already rounded, and its card with the measured ``accuracy``."""
    card = asdict(replace(trained.card, accuracy=accuracy))
    state = {name: value.half().contiguous() for name, value in trained.network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"classifier": json.dumps(card)})
    return path


# --- training ---


@dataclass(frozen=True)
class ClassifierRecipe:
    """How a classifier is trained: Nesterov SGD, one cycle of the learning rate, shifts of up to ``shift`` pixels, mirror images with ``flip``.

    No label smoothing, since scores read the probabilities, which should be calibrated. ``precision`` bf16 is faster on a CPU with AMX tiles, and
    several times slower than float32 on one without.
    """

    widths: tuple[int, int, int]
    epochs: int
    batch_size: int = 256
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    shift: int = 2
    flip: bool = False
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"


RECIPES = {
    "digits": ClassifierRecipe(widths=(16, 32, 64), epochs=60, batch_size=64, learning_rate=0.05, shift=1, precision="bf16"),
    "mnist": ClassifierRecipe(widths=(32, 64, 128), epochs=5, precision="bf16"),
    "fashion-mnist": ClassifierRecipe(widths=(32, 64, 128), epochs=9, shift=1, flip=True, precision="bf16"),
    "affine-mnist": ClassifierRecipe(widths=(16, 48, 96), epochs=9, batch_size=128, precision="bf16"),
    "cifar10": ClassifierRecipe(widths=(32, 80, 160), epochs=18, batch_size=128, shift=4, flip=True, precision="bf16"),
}


def augment(image: Tensor, recipe: ClassifierRecipe, generator: torch.Generator) -> Tensor:
    """Each uint8 image shifted at random, with zeros at the border, and mirrored with probability 1/2 if the recipe says so."""
    num, _, height, width = image.shape
    s = recipe.shift
    padded = nn.functional.pad(image, (s, s, s, s))
    offset = torch.randint(0, 2 * s + 1, (2, num, 1), generator=generator)
    rows, columns = offset[0] + torch.arange(height), offset[1] + torch.arange(width)
    if recipe.flip:
        mirrored = torch.rand(num, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(num)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train_classifier(name: str, data: ImageData, *, recipe: ClassifierRecipe | None = None, console: bool = True) -> Classifier:
    """A classifier of ``data`` by the recipe of ``name``, folded, rounded to 16 bits and frozen; its card's accuracy is 0.

    ``console`` prints the loss of every epoch to stderr. Raises InputError for data without labels and a name without recipe.
    """
    if recipe is None and name not in RECIPES:
        raise InputError(f"classifier {name!r}: no recipe to train it: choose one of {', '.join(RECIPES)}")
    recipe = recipe or RECIPES[name]
    if data.label is None:
        raise InputError(f"classifier {name}: the data has no labels: give a labelled training split")
    torch.manual_seed(recipe.seed)
    card = Card(
        name=name,
        data=data.name,
        digest=data.digest,
        image_shape=data.image_shape,
        classes=data.classes or tuple(str(i) for i in range(int(data.label.max()) + 1)),
        widths=recipe.widths,
        mean=float(data.image.mean() / 255),
        std=float(data.image.std() / 255),
        seed=recipe.seed,
        epochs=recipe.epochs,
    )
    network = SmallResNet(data.image_shape[0], len(card.classes), recipe.widths)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _optimise(network, torch.from_numpy(np.array(data.image)), torch.from_numpy(np.array(data.label)), card, recipe, console)
    return Classifier(card, fold(network))


def accuracy(classifier: Classifier, data: ImageData, *, batch_size: int = 500) -> float:
    """The share of ``data`` that the classifier labels correctly. Raises InputError for data without labels."""
    if data.label is None:
        raise InputError(f"data {data.name}: it has no labels: give a labelled split")
    right = 0
    for start in range(0, len(data), batch_size):
        answer = classifier(torch.from_numpy(np.array(data.image[start : start + batch_size]))).argmax(1).numpy()
        right += int((answer == data.label[start : start + batch_size]).sum())
    return right / len(data)


def _optimise(network: SmallResNet, image: Tensor, label: Tensor, card: Card, recipe: ClassifierRecipe, console: bool) -> None:
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = len(image) // recipe.batch_size
    optimiser = torch.optim.SGD(network.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=steps * recipe.epochs, pct_start=0.2)
    for epoch in range(recipe.epochs):
        total = 0.0
        order = torch.randperm(len(image), generator=generator)[: steps * recipe.batch_size]
        for chosen in order.split(recipe.batch_size):
            batch = card.normalise(augment(image[chosen], recipe, generator)).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = network(batch)
            loss = nn.functional.cross_entropy(logits.float(), label[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        if console:
            print(f"{card.name}: epoch {epoch + 1} of {recipe.epochs}, loss {total / steps:.4f}", file=sys.stderr, flush=True)
