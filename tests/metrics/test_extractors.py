"""Any module as an extractor: it computes what the module computes, is named by its weights, and nothing moves it."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from memogen.data import load
from memogen.data.derived import digits_of
from memogen.metrics import ModuleExtractor, evaluate
from memogen.metrics.classifiers import WEIGHTS, Classifier, classifier, classifier_names, save_classifier
from memogen.metrics.extractors import Extractor, extractor, own_extractor, readers
from memogen.metrics.image_input import ImageInput
from memogen.types import ImageData, InputError
from tests.metrics.conftest import ToyGenerator


def _grey(num: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (num, 1, 4, 4)).astype(np.uint8))


def _net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))


def test_features_and_logits_are_the_module_s() -> None:
    module, head = _net().double(), nn.Linear(5, 3).double()
    extractor = ModuleExtractor(module, name="toy", reading=ImageInput(mean=8.0, std=16.0), head=head)
    image = _grey(7)
    pixels = (image.flatten(1).double() - 8) / 16
    linear, norm = module[1], module[2]
    wanted = (pixels @ linear.weight.T + linear.bias) / (1 + norm.eps) ** 0.5
    torch.testing.assert_close(extractor.features(image), wanted.detach())
    torch.testing.assert_close(extractor(image), (wanted @ head.weight.T + head.bias).detach())
    assert isinstance(extractor, Extractor) and extractor.resize == "none" and extractor.accuracy is None


def test_size_of_a_pass_moves_nothing() -> None:
    image = _grey(23)
    together = ModuleExtractor(_net(), name="toy").features(image)
    for at_once in (1, 7, 23):
        torch.testing.assert_close(ModuleExtractor(_net(), name="toy", at_once=at_once).features(image), together, rtol=1e-6, atol=1e-6)


def test_version_follows_weights_and_reading() -> None:
    def version(net: nn.Module, **options: ImageInput) -> str:
        return ModuleExtractor(net, name="toy", **options).version

    assert version(_net()) == version(deepcopy(_net()).train()) and version(_net()).startswith("toy:")
    others = [version(_net(1)), version(_net().half()), version(_net(), reading=ImageInput(std=1.0)), version(nn.Flatten())]
    assert len({version(_net()), *others}) == 5
    assert ModuleExtractor(_net(), name="toy", version="toy of 2015").version == "toy of 2015"


def test_later_training_of_the_module_moves_nothing() -> None:
    module, image = _net(), _grey(9)
    extractor = ModuleExtractor(module, name="toy").train()
    before = extractor.features(image)
    module(torch.randn(8, 16))  # moves the module's own statistics
    nn.init.zeros_(module[1].weight)
    with torch.autocast("cpu", torch.bfloat16):
        after = extractor.features(image)
    assert torch.equal(before, after) and not after.requires_grad
    assert module[1].weight.requires_grad and module.training


def test_refusals_name_the_extractor() -> None:
    with pytest.raises(InputError, match="extractor toy: it has features but no logits"):
        ModuleExtractor(_net(), name="toy")(_grey(2))
    with pytest.raises(InputError, match=r"extractor map: 2 images gave \(2, 1, 4, 4\).*pooled or flattened"):
        ModuleExtractor(nn.Identity(), name="map").features(_grey(2))
    with pytest.raises(InputError, match=r"extractor pair: 2 images gave tuple"):
        ModuleExtractor(nn.MaxPool2d(2, return_indices=True), name="pair").features(_grey(2))
    with pytest.raises(InputError, match=r"extractor toy: images are torch\.float32"):
        ModuleExtractor(_net(), name="toy").features(torch.zeros(2, 1, 4, 4))


def test_rows_say_how_images_were_read(generator: ToyGenerator, tiny: ImageData) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    extractor = ModuleExtractor(module, name="toy", reading=ImageInput((8, 8), "bilinear"), head=nn.Linear(3, 4), accuracy=0.25)
    rows = evaluate(generator, tiny, extractor=extractor, num_samples=50, progress=False)
    assert {row["metric"] for row in rows} == {"inception_score", "fid"}
    for row in rows:
        protocol = row["protocol"]
        assert isinstance(protocol, dict)
        assert (protocol["extractor"], protocol["resize"], protocol["extractor_accuracy"]) == (extractor.version, "bilinear to 8x8", 0.25)


def test_features_alone_are_enough_for_distances(generator: ToyGenerator, tiny: ImageData) -> None:
    extractor = ModuleExtractor(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), name="toy")
    (row,) = evaluate(generator, tiny, extractor=extractor, metrics=("fid",), num_samples=50, progress=False)
    assert row["metric"] == "fid"
    with pytest.raises(InputError, match="extractor toy: it has features but no logits"):
        evaluate(generator, tiny, extractor=extractor, metrics=("is", "fid"), num_samples=50, progress=False)


# --- The shipped classifiers: what their cards say is true, and nothing moves them ---


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
        ("cifar", (1, 28, 28), r"choose fashion-mnist or mnist or inception-v3 or resnet50=PATH or pixels, or give a file$"),
        ("nobody", None, r"choose affine-mnist \(40x40 grey\) or cifar10 \(32x32 colour\) or"),
        ("nobody", (2, 5, 5), "weights: choose pixels, or give a file$"),
        ("digits", (1, 28, 28), "reads 8x8 grey images, these are 28x28 grey: choose fashion-mnist or mnist or inception-v3"),
        ("cifar10", (2, 32, 32), "reads 32x32 colour images, these are 32x32 2-channel: choose pixels, or give a file"),
    ):
        with pytest.raises(InputError, match=told):
            extractor(name, image_shape=image_shape)
    assert extractor("mnist", image_shape=(1, 28, 28)).version == extractor("mnist").version


def test_every_extractor_reads_what_it_is_listed_for() -> None:
    listed = readers()
    assert set(listed) == {*classifier_names(), "stacked-digits", "inception-v3", "resnet50=PATH", "pixels"}
    assert own_extractor("stacked-digits") == "stacked-digits" and own_extractor("digits") == "digits" and own_extractor("chairs") is None
    assert [name for name in classifier_names() if name in readers((1, 28, 28))] == [name for name, kind in listed.items() if kind == "28x28 grey"]


# --- The judge of stacked digits against the classifier asked about each channel by itself ---


def test_a_combination_is_as_probable_as_its_digits_together() -> None:
    data = load("stacked-digits", split="test", progress=False)
    image = torch.from_numpy(np.array(data.image[:60]))
    judge, one = extractor("stacked-digits", image_shape=(3, 8, 8)), classifier("digits")
    logits = judge(image)
    assert logits.shape == (60, 1000) and torch.allclose(logits.exp().sum(1), torch.ones(60), atol=1e-5)
    channels = [one(image[:, place, None]).softmax(1) for place in range(3)]
    digit = torch.from_numpy(digits_of(np.array([0, 42, 305, 999])))
    for combination, parts in zip((0, 42, 305, 999), digit, strict=True):
        together = torch.stack([channel[:, part] for channel, part in zip(channels, parts, strict=True)]).prod(0)
        torch.testing.assert_close(logits.exp()[:, combination], together, rtol=1e-4, atol=1e-7)
    assert float((logits.argmax(1).numpy() == data.label[:60]).mean()) > 0.95
    torch.testing.assert_close(judge.features(image)[:, 64:128], one.features(image[:, 1, None]))


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match="3 channels"):
        extractor("stacked-digits").features(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
