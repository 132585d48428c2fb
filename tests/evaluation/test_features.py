"""The shipped classifiers: what their cards say is true, and nothing moves them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from memogen.evaluation.features import (
    WEIGHTS,
    Classifier,
    Extractor,
    classifier,
    classifier_names,
    extractor,
    own_extractor,
    readers,
    save_classifier,
)
from memogen.types import InputError

PROMISED = {"digits": 0.98, "mnist": 0.993, "fashion-mnist": 0.925, "affine-mnist": 0.995, "cifar10": 0.895}


def _images(net: Classifier, num: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (num, *net.card.image_shape)).astype(np.uint8))


def test_the_promised_classifiers_ship() -> None:
    assert set(classifier_names()) >= set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_card_is_complete_and_the_file_small(name: str) -> None:
    net = classifier(name)
    assert net.name == net.card.data == name and len(net.card.classes) == 10
    assert net.accuracy >= PROMISED[name]
    assert re.fullmatch(rf"{name}-v1:[0-9a-f]{{8}}", net.version)
    assert net.card.digest and net.card.epochs > 0 and 0 < net.card.std < 1 and net.card.feature_layer
    assert (WEIGHTS / f"{name}-v1.safetensors").stat().st_size < 1.5e6
    assert isinstance(net, Extractor)
    assert net.features(_images(net, 3)).shape == (3, net.card.widths[-1])


@pytest.mark.parametrize("name", PROMISED)
def test_logits_do_not_depend_on_the_batch(name: str) -> None:
    net = classifier(name)
    image = _images(net, 40)
    together = net(image)
    torch.testing.assert_close(torch.cat([net(part) for part in image.split(7)]), together, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(net.logits(net.features(image)), together, rtol=0, atol=0)


def test_the_page_on_scoring_lists_them_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "score_a_generator.md").read_text()
    rows = {cells[1].strip(" `"): cells[2:] for line in page.splitlines() if line.startswith("| `") for cells in [line.split("|")]}
    assert set(rows) == set(classifier_names())
    for name, (images, features, accuracy, _) in rows.items():
        card = classifier(name).card
        channels, height, width = card.image_shape
        assert images.strip() == f"{height}x{width} {'grey' if channels == 1 else 'colour'}"
        assert int(features) == card.widths[-1] and accuracy.strip() == f"{card.accuracy:.2%}"


def test_frozen_whatever_is_asked_of_it() -> None:
    net = classifier("digits").train()
    assert not any(part.training for part in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    image = _images(net, 5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        out = net(image)
    assert out.dtype == torch.float32 and not out.requires_grad
    assert torch.equal(out, classifier("digits")(image))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'nist'.*digits.*fashion-mnist.*mnist"):
        classifier("nist")


def test_wrong_images_are_refused() -> None:
    net = classifier("digits")
    with pytest.raises(InputError, match=r"\(1, 28, 28\).*\(1, 8, 8\)"):
        net(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(InputError, match="uint8"):
        net(torch.zeros(2, 1, 8, 8))


def test_version_follows_the_weights_and_survives_a_round_trip(tmp_path: Path) -> None:
    net = classifier("digits")
    again = Classifier.read(save_classifier(net, tmp_path / "again.safetensors", accuracy=0.5))
    assert again.version == net.version and again.accuracy == 0.5
    changed = {name: value + (0.5 if name == "head.bias" else 0) for name, value in net.network.state_dict().items()}
    assert Classifier(net.card, changed).version != net.version


def test_a_name_is_answered_with_what_reads_the_images() -> None:
    for name, image_shape, told in (
        ("mnsit", None, "did you mean 'mnist'"),
        ("fashion_mnist", (1, 28, 28), "did you mean 'fashion-mnist'"),
        ("cifar", (1, 28, 28), r"choose fashion-mnist or mnist or inception-v3, or give a file$"),
        ("nobody", None, r"choose affine-mnist \(40x40 grey\) or cifar10 \(32x32 colour\) or"),
        ("nobody", (2, 5, 5), "weights: give a file$"),
        ("digits", (1, 28, 28), "reads 8x8 grey images, these are 28x28 grey: choose fashion-mnist or mnist or inception-v3"),
        ("cifar10", (2, 32, 32), "reads 32x32 colour images, these are 32x32 2-channel: give a file"),
    ):
        with pytest.raises(InputError, match=told):
            extractor(name, image_shape=image_shape)
    assert extractor("mnist", image_shape=(1, 28, 28)).version == extractor("mnist").version


def test_every_extractor_reads_what_it_is_listed_for() -> None:
    listed = readers()
    assert set(listed) == {*classifier_names(), "stacked-digits", "inception-v3"}
    assert own_extractor("stacked-digits") == "stacked-digits" and own_extractor("digits") == "digits" and own_extractor("chairs") is None
    assert [name for name in classifier_names() if name in readers((1, 28, 28))] == [name for name, kind in listed.items() if kind == "28x28 grey"]
