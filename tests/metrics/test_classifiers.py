"""Training the classifiers: deterministic, and as accurate as the shipped card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from memogen.data import load
from memogen.metrics.__main__ import main
from memogen.metrics.classifiers import (
    RECIPES,
    WEIGHTS,
    Classifier,
    ClassifierRecipe,
    SmallResNet,
    Unit,
    accuracy,
    augment,
    classifier,
    fold,
    train_classifier,
)
from memogen.types import ImageData, InputError

QUICK = ClassifierRecipe(widths=(4, 8, 16), epochs=6, batch_size=32, learning_rate=0.05, shift=0)


def _two_kinds(num: int = 256) -> ImageData:
    """Bright left halves and bright right halves, with noise."""
    random = np.random.default_rng(0)
    image = random.integers(0, 120, (num, 1, 8, 8)).astype(np.uint8)
    label = np.arange(num) % 2
    image[label == 0, :, :, :4] += 120
    image[label == 1, :, :, 4:] += 120
    return ImageData(image, label.astype(np.int64), ("left", "right"), name="halves", digest="halves-1")


def test_the_digits_classifier_is_as_good_as_its_card_says() -> None:
    net, test = classifier("digits"), load("digits", split="test", progress=False)
    assert len(test) == 360
    assert accuracy(net, test) == pytest.approx(net.accuracy, abs=1e-12)
    assert net.accuracy >= 0.98
    assert net.card.digest == load("digits", split="train", progress=False).digest


def test_the_same_seed_trains_the_same_weights() -> None:
    data = _two_kinds()
    first, again = (train_classifier("halves", data, recipe=QUICK) for _ in range(2))
    other = train_classifier("halves", data, recipe=replace(QUICK, seed=1))
    assert first.version == again.version != other.version
    assert accuracy(first, data) == 1.0
    assert (first.card.data, first.card.digest, first.card.classes) == ("halves", "halves-1", ("left", "right"))
    assert first.card.mean == pytest.approx(data.image.mean() / 255)


def test_unlabelled_data_and_unknown_recipes_are_refused() -> None:
    with pytest.raises(InputError, match="no labels"):
        train_classifier("digits", replace(_two_kinds(), label=None))
    with pytest.raises(InputError, match=r"no recipe.*digits"):
        train_classifier("letters", _two_kinds())


def test_augmentation_moves_and_mirrors_whole_images() -> None:
    image = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(400, 1, 1, 1)
    assert torch.equal(augment(image, QUICK, torch.Generator().manual_seed(0)), image)
    padded = torch.nn.functional.pad(image[0, 0], (1, 1, 1, 1))
    allowed = {bytes(padded[i : i + 5, j : j + 5].contiguous().numpy()) for i in range(3) for j in range(3)}
    allowed |= {bytes(padded[i : i + 5, j : j + 5].flip(1).contiguous().numpy()) for i in range(3) for j in range(3)}
    moved = augment(image, replace(QUICK, shift=1, flip=True), torch.Generator().manual_seed(0))
    assert moved.shape == image.shape and moved.dtype == torch.uint8
    assert {bytes(picture.contiguous().numpy()) for picture in moved[:, 0]} == allowed


@pytest.mark.slow
def test_the_command_trains_a_good_digits_classifier(tmp_path: Path) -> None:
    path = main(["digits", "--out", str(tmp_path / "digits.safetensors")])
    net = Classifier.read(path)
    assert net.accuracy >= 0.98 and net.card.epochs == RECIPES["digits"].epochs


# --- Folding the batch norm leaves the function as it was ---


def test_folded_network_computes_the_same() -> None:
    torch.manual_seed(0)
    network = SmallResNet(3, 5, (4, 6, 8))
    for _ in range(5):
        network(torch.randn(32, 3, 9, 7) * 2 + 1)
    image = torch.randn(4, 3, 9, 7)
    expected = network.eval()(image)
    folded = SmallResNet(3, 5, (4, 6, 8), folded=True)
    folded.load_state_dict(fold(network, dtype=torch.float32))
    torch.testing.assert_close(folded(image), expected, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())


def test_features_have_the_last_width_at_any_size() -> None:
    network = SmallResNet(1, 10, (4, 6, 8)).eval()
    for size in ((4, 4), (8, 8), (28, 28), (40, 33)):
        assert network.features(torch.zeros(2, 1, *size)).shape == (2, 8)
    assert sum(isinstance(part, Unit) for part in network.modules()) == 7


@pytest.mark.parametrize("card", ["{}", "[" * 10_000, "7", '{"image_shape": 3}', None])
def test_a_file_that_is_no_classifier_is_one_line(card: str | None, tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    if card is None:  # the card of the digits over other weights
        with safe_open(WEIGHTS / "digits-v1.safetensors", "pt") as whole:
            card = whole.metadata()["classifier"]
    save_file({"weight": torch.zeros(3)}, path, metadata={"classifier": card})
    with pytest.raises(InputError, match=r"judge\.safetensors"):
        Classifier.read(path)
