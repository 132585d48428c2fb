"""Any module as an extractor: it computes what the module computes, is named by its weights, and nothing moves it."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from memogen.metrics import Extractor, ImageInput, ModuleExtractor, evaluate
from memogen.types import ImageData, InputError
from tests.metrics.conftest import ToyGenerator


def _images(num: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (num, 1, 4, 4)).astype(np.uint8))


def _net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))


def test_features_and_logits_are_the_module_s() -> None:
    module, head = _net().double(), nn.Linear(5, 3).double()
    extractor = ModuleExtractor(module, name="toy", reading=ImageInput(mean=8.0, std=16.0), head=head)
    image = _images(7)
    pixels = (image.flatten(1).double() - 8) / 16
    linear, norm = module[1], module[2]
    wanted = (pixels @ linear.weight.T + linear.bias) / (1 + norm.eps) ** 0.5
    torch.testing.assert_close(extractor.features(image), wanted.detach())
    torch.testing.assert_close(extractor(image), (wanted @ head.weight.T + head.bias).detach())
    assert isinstance(extractor, Extractor) and extractor.resize == "none" and extractor.accuracy is None


def test_size_of_a_pass_moves_nothing() -> None:
    image = _images(23)
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
    module, image = _net(), _images(9)
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
        ModuleExtractor(_net(), name="toy")(_images(2))
    with pytest.raises(InputError, match=r"extractor map: 2 images gave \(2, 1, 4, 4\).*pooled or flattened"):
        ModuleExtractor(nn.Identity(), name="map").features(_images(2))
    with pytest.raises(InputError, match=r"extractor pair: 2 images gave tuple"):
        ModuleExtractor(nn.MaxPool2d(2, return_indices=True), name="pair").features(_images(2))
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
