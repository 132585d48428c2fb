"""What images of a slot have in common: every number from its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from memogen.metrics import slots as module
from memogen.metrics.classifiers import classifier
from memogen.metrics.slots import image_contents, placed, sample_contents, variance_between
from memogen.models import MemoryGAN
from memogen.types import ImageData, to_uint8
from tests.report import toy


def test_images_stand_in_their_best_slots_and_samples_in_their_own() -> None:
    model, data = toy.model(), toy.images()
    asked = placed(model, data)
    own, drawn = image_contents(asked, judge=classifier("digits"), num=30), sample_contents(model, judge=classifier("digits"), num=40, seed=3)
    latents = model.latents(40, seed=3)
    assert drawn is not None and latents.slot is not None
    assert torch.equal(own.slot, asked.slot[:30]) and torch.equal(drawn.slot, latents.slot)
    for seen, pixels in ((own, torch.from_numpy(data.image[:30])), (drawn, to_uint8(model.decode(latents), model.image_range))):
        torch.testing.assert_close(seen.views["pixels"], pixels.flatten(1).double())
        torch.testing.assert_close(seen.views["mean colours"], pixels.double().mean((2, 3)))
        torch.testing.assert_close(seen.views["the classifier's features"], classifier("digits").features(pixels).double())
        assert seen.between()["pixels"] == variance_between(seen.views["pixels"], seen.slot)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy.model()
    whole = sample_contents(model, num=20)
    monkeypatch.setattr(module, "BLOCK", 7)
    parts = sample_contents(model, num=20)
    assert whole is not None and parts is not None and torch.equal(whole.slot, parts.slot)
    torch.testing.assert_close(whole.views["pixels"], parts.views["pixels"], atol=1.01, rtol=0)


def test_a_generator_that_reads_no_slot_has_no_contents() -> None:
    assert sample_contents(toy.model(conditional=False), num=5) is None


def test_a_memory_that_sorts_by_brightness_is_found_out() -> None:
    """Slots for levels of brightness explain the colours."""
    level = np.arange(200) % 4
    noise = np.random.default_rng(0).integers(0, 50, (200, 1, 8, 8))
    data = ImageData((noise + 60 * level[:, None, None, None]).astype(np.uint8), name="levels")
    found = image_contents(placed(_by_brightness(), data))
    assert found.between()["mean colours"] > 0.99 and found.num_slots == 4


class _Brightness(torch.nn.Module):
    """A direction of the sphere for each level."""

    def forward(self, image: Tensor) -> Tensor:
        angle = image.mean((1, 2, 3)) * 255 / 60 - 25 / 60
        return torch.cat([torch.stack([angle.cos(), angle.sin()], 1), torch.zeros(len(image), 6)], 1)


def _by_brightness() -> MemoryGAN:
    model = toy.model()
    assert model.memory is not None
    model.critic = _Brightness()
    model.memory.values.zero_()
    for level in range(4):
        model.memory.keys[level] = torch.tensor([np.cos(level), np.sin(level), *[0.0] * 6])
        model.memory.values[level] = 1
    model.memory.mass.fill_(1)
    return model
