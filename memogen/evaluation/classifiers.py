"""Training of the data-set classifiers that score samples: run once per data set, then frozen into ``weights/``.

``python -m memogen.evaluation.classifiers NAME --data DIR`` repeats a training. On one machine with one number of threads it gives the same bits.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from memogen.data import load
from memogen.evaluation.features import WEIGHTS, Card, Classifier, save_classifier
from memogen.evaluation.network import SmallResNet, fold
from memogen.types import ImageData, InputError


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


def train_classifier(name: str, data: ImageData, *, recipe: ClassifierRecipe | None = None) -> Classifier:
    """A classifier of ``data`` by the recipe of ``name``, folded, rounded to 16 bits and frozen; its card's accuracy is still empty."""
    recipe = recipe or _recipe(name)
    if data.label is None:
        raise InputError(f"classifier {name}: the data has no labels: give a labelled training split")
    torch.manual_seed(recipe.seed)
    card = _card(name, data, recipe)
    network = SmallResNet(data.image_shape[0], len(card.classes), recipe.widths)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _optimise(network, torch.from_numpy(np.array(data.image)), torch.from_numpy(np.array(data.label)), card, recipe)
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


def _card(name: str, data: ImageData, recipe: ClassifierRecipe) -> Card:
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


def _optimise(network: SmallResNet, image: Tensor, label: Tensor, card: Card, recipe: ClassifierRecipe) -> None:
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
        print(f"{card.name}: epoch {epoch + 1} of {recipe.epochs}, loss {total / steps:.4f}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> Path:
    """Train, measure on the test split after rounding, write the weights; the command line of this file."""
    parser = argparse.ArgumentParser(prog="python -m memogen.evaluation.classifiers", description="Train a data-set classifier.", allow_abbrev=False)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, default=None, help="folder with the data set's published files; downloaded where not given")
    parser.add_argument("--out", type=Path, default=None, help="file to write; the package's own weights by default")
    given = parser.parse_args(arguments)
    train, test = (load(given.name, folder=given.data, split=split) for split in ("train", "test"))
    began = time.perf_counter()
    trained = train_classifier(given.name, train)
    path = save_classifier(trained, given.out or WEIGHTS / f"{given.name}-v1.safetensors", accuracy=accuracy(trained, test))
    frozen = Classifier.read(path)
    print(f"{frozen.version}: test accuracy {frozen.accuracy:.4%}, {time.perf_counter() - began:.0f} s, {path.stat().st_size} bytes, {path}")
    return path


if __name__ == "__main__":
    main()
