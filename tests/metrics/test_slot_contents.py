"""What images of a slot have in common: every number from its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from memogen.metrics import slot_contents as module
from memogen.metrics.classifiers import classifier
from memogen.metrics.slot_contents import class_correlation, image_contents, sample_contents, slot_preferences, strongest
from memogen.metrics.slots import (
    placed,
    variance_between,
)
from memogen.models import MemoryGAN
from memogen.types import ImageData, InputError, to_uint8
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


# --- Means over classes of normalised slot weights, and the correlation of classes, against NumPy ---


RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (2300, 1, 2, 3)).astype(np.uint8)
LABEL = RNG.integers(0, 3, 2300) + (RNG.integers(0, 3, 2300) == 2)  # 0 to 3, not evenly
DATA = ImageData(IMAGE, LABEL, ("a", "b", "c", "d", "never"), "toy")


class Addressing:
    """Two memories of 3 and 6 slots, addressed by the pixels, the image's number and the seed."""

    def addresses(self, image: Tensor, *, seed: int, start: int) -> tuple[Tensor, Tensor]:
        number = torch.arange(start, start + len(image))[:, None]
        flat = image.flatten(1).double()
        return flat[:, :3] + number % 7 + seed, flat * 2


def expected(weight: np.ndarray) -> np.ndarray:
    share = weight / weight.sum(1, keepdims=True)
    return np.stack([share[label == LABEL].mean(0) for label in range(4)])


def test_each_image_counts_alike_and_each_class_is_a_mean() -> None:
    found = slot_preferences(Addressing(), DATA, seed=2)
    flat = IMAGE.reshape(2300, -1).astype(float)
    np.testing.assert_allclose(found.by_layer[0], expected(flat[:, :3] + np.arange(2300)[:, None] % 7 + 2), rtol=1e-12)
    np.testing.assert_allclose(found.by_layer[1], expected(flat), rtol=1e-12)
    np.testing.assert_allclose(found.pixels, found.by_layer[1], rtol=1e-12)
    np.testing.assert_allclose(found.by_layer[0].sum(1), 1, rtol=1e-12)
    assert found.classes == ("a", "b", "c", "d")


def test_the_most_wanted_slots_come_first() -> None:
    found = slot_preferences(Addressing(), DATA)
    for row, best in zip(found.by_layer[1], found.top(1, 3), strict=True):
        assert [share for _, share in best] == sorted(row, reverse=True)[:3]
        assert all(row[slot] == share for slot, share in best)
    assert found.unused(1) == 0 and found.unused(1, below=1.0) == 6
    with pytest.raises(InputError, match=r"layers 0 .* to 1"):
        found.layer(2)


def test_black_images_want_nothing() -> None:
    data = ImageData(np.zeros((4, 1, 2, 3), np.uint8), np.arange(4) % 2)
    found = slot_preferences(Addressing(), data)
    assert found.pixels.sum() == 0 and np.isfinite(found.by_layer[0]).all() and found.classes == ("0", "1")


def test_without_labels_there_are_no_classes() -> None:
    with pytest.raises(InputError, match="has no labels"):
        slot_preferences(Addressing(), ImageData(IMAGE))


@given(arrays(np.float64, (4, 7), elements=st.floats(-3, 3)))
def test_correlation_is_that_of_numpy(table: np.ndarray) -> None:
    found = class_correlation(table)
    varies = table.std(1) > 1e-6
    np.testing.assert_allclose(
        found[np.ix_(varies, varies)], np.atleast_2d(np.corrcoef(table[varies])) if varies.any() else np.empty((0, 0)), atol=1e-6
    )
    assert np.isfinite(found).all() and (np.diag(found) == 1).all()


def test_the_strongest_pairs() -> None:
    table = np.array([[1.0, 2, 3, 4], [2, 4, 6, 8], [4, 3, 2, 1], [1, 2, 3, 5]])
    found = strongest(class_correlation(table), 2)
    assert found[0] == (0, 1, pytest.approx(1.0)) and set(found[1][:2]) in ({0, 3}, {1, 3})
    assert len(strongest(class_correlation(table), 100)) == 6
