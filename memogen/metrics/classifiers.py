"""The data-set classifiers that score samples: a small residual network, trained once per data set, then frozen into ``weights/``.

``python -m memogen.metrics NAME --data DIR`` repeats a training. On one machine with one number of threads it gives the same bits. It trains with
batch norm, and ships with the batch norm folded into its convolutions.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

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
    """3x3 convolution, batch norm (identity once folded), ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, folded: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=folded)
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """x plus two units of x."""

    def __init__(self, width: int, *, folded: bool = False) -> None:
        super().__init__()
        self.first = Unit(width, width, folded=folded)
        self.second = Unit(width, width, folded=folded)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x))
        return out


class SmallResNet(nn.Module):
    """A stem at full size, two halvings, each followed by a residual block, then the mean over space: the features, and a linear head.

    The number of features is the last of the three ``widths``. Any image of at least 4x4 pixels will do.
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
        """The mean over space of the last block."""
        out: Tensor = self.body(image).mean(dim=(2, 3))
        return out

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        out: Tensor = self.head(self.features(image))
        return out


def fold(network: SmallResNet, *, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """The state of the same network with its batch norms in evaluation mode folded in, rounded to ``dtype``: loads into ``folded=True``."""
    state = {f"head.{name}": value for name, value in network.head.state_dict().items()}
    for name, unit in network.named_modules():
        if isinstance(unit, Unit) and isinstance(unit.norm, nn.BatchNorm2d):
            conv = fuse_conv_bn_eval(unit.conv.eval(), unit.norm.eval())
            state |= {f"{name}.conv.{key}": value for key, value in conv.state_dict().items()}
    return {name: value.detach().to(dtype).contiguous() for name, value in state.items()}


# --- frozen, in a file ---


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
        """A classifier from its weight file. Raises InputError."""
        try:
            return cls(read_card(path), load_file(path))
        except (RuntimeError, TypeError, SafetensorError, OSError) as error:
            raise InputError(f"weights: {path}: do not match the card beside them ({' '.join(str(error).split())[:160]}): train it again") from error

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


def classifier(name: str, *, device: torch.device | str = "cpu") -> Classifier:
    """The classifier of that name that ships with the package; an unknown name is an InputError that lists the names there are."""
    path = WEIGHTS / f"{name}-v1.safetensors"
    if name not in classifier_names():
        raise InputError(f"classifier {name!r}: does not ship with memogen: choose one of {', '.join(classifier_names())}")
    return Classifier.read(path).to(device)


def classifier_names() -> tuple[str, ...]:
    """The names :func:`classifier` knows: one per weight file in the package."""
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
    """What a safetensors file says of itself. Raises InputError where it cannot be read."""
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


# --- training ---


@dataclass(frozen=True)
class ClassifierRecipe:
    """How one classifier is trained: nesterov SGD, one cycle of the learning rate, shifts of up to ``shift`` pixels and mirror images.

    No label smoothing: a score reads the probabilities, so they should mean what they say.
    """

    widths: tuple[int, int, int]
    epochs: int
    batch_size: int = 256
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    shift: int = 2
    flip: bool = False
    seed: int = 0


RECIPES = {
    "digits": ClassifierRecipe(widths=(16, 32, 64), epochs=60, batch_size=64, learning_rate=0.05, shift=1),
    "mnist": ClassifierRecipe(widths=(32, 64, 128), epochs=5),
    "fashion-mnist": ClassifierRecipe(widths=(32, 64, 128), epochs=9, shift=1, flip=True),
    "affine-mnist": ClassifierRecipe(widths=(16, 48, 96), epochs=9, batch_size=128),
    "cifar10": ClassifierRecipe(widths=(32, 80, 160), epochs=18, batch_size=128, shift=4, flip=True),
}


def augment(image: Tensor, recipe: ClassifierRecipe, generator: torch.Generator) -> Tensor:
    """Each uint8 image moved by its own number of pixels, the border filled with zeros, and mirrored half of the time where the recipe says so."""
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
    """A classifier of ``data`` by the recipe of ``name``, folded, rounded to 16 bits and frozen; its card's accuracy is still empty.

    ``console`` tells the loss of every epoch on stderr.
    """
    recipe = recipe or _recipe(name)
    if data.label is None:
        raise InputError(f"classifier {name}: the data has no labels: give a labelled training split")
    torch.manual_seed(recipe.seed)
    card = _new_card(name, data, recipe)
    network = SmallResNet(data.image_shape[0], len(card.classes), recipe.widths)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _optimise(network, torch.from_numpy(np.array(data.image)), torch.from_numpy(np.array(data.label)), card, recipe, console)
    return Classifier(card, fold(network))


def accuracy(classifier: Classifier, data: ImageData, *, batch_size: int = 500) -> float:
    """The share of ``data`` that the classifier labels rightly."""
    right = 0
    for start in range(0, len(data), batch_size):
        image = torch.from_numpy(np.array(data.image[start : start + batch_size]))
        label = torch.from_numpy(np.array(_labels(data)[start : start + batch_size]))
        right += int((classifier(image).argmax(1) == label).sum())
    return right / len(data)


def _recipe(name: str) -> ClassifierRecipe:
    if name not in RECIPES:
        raise InputError(f"classifier {name!r}: no recipe to train it: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def _labels(data: ImageData) -> np.ndarray:
    if data.label is None:
        raise InputError(f"data {data.name}: it has no labels: give a labelled split")
    return data.label


def _new_card(name: str, data: ImageData, recipe: ClassifierRecipe) -> Card:
    classes = data.classes or tuple(str(i) for i in range(int(_labels(data).max()) + 1))
    return Card(
        name=name,
        data=data.name,
        digest=data.digest,
        image_shape=data.image_shape,
        classes=classes,
        widths=recipe.widths,
        mean=float(data.image.mean() / 255),
        std=float(data.image.std() / 255),
        seed=recipe.seed,
        epochs=recipe.epochs,
    )


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
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch)
            loss = nn.functional.cross_entropy(logits.float(), label[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        if console:
            print(f"{card.name}: epoch {epoch + 1} of {recipe.epochs}, loss {total / steps:.4f}", file=sys.stderr, flush=True)
