"""Modes counted on constructed sample sets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from memogen.data import load
from memogen.metrics import evaluate, score_images
from memogen.metrics.modes import ClassShares, class_shares, count_modes, mode_counts
from memogen.metrics.slot_contents import slot_recall
from memogen.types import ImageData, InputError, Latents
from tests.metrics.test_accuracy import Nearest, Shades
from tests.models.test_memory_gan import TINY, VARIANTS, built


def test_the_divergence_is_that_of_the_definition() -> None:
    even = np.full(8, 5)
    assert count_modes(even, even).divergence == pytest.approx(0) and count_modes(even, even).reached == 8
    half = np.array([10, 10, 10, 10, 0, 0, 0, 0])
    assert count_modes(half, even).reached == 4 and count_modes(half, even).divergence == pytest.approx(math.log(2))
    assert count_modes(np.eye(8, dtype=int)[3] * 7, even).divergence == pytest.approx(math.log(8))
    uneven = np.array([1, 2, 3, 4])
    q, p = np.array([0.25] * 4), uneven / 10
    assert count_modes(np.array([2, 2, 2, 2]), uneven).divergence == pytest.approx(float((q * np.log(q / p)).sum()))


def test_true_samples_have_the_expected_divergence() -> None:
    counts = np.bincount(np.random.default_rng(0).integers(0, 1000, 10_000), minlength=1000)
    found = count_modes(counts, np.full(1000, 10))
    assert found.divergence == pytest.approx(999 / 20_000, rel=0.1) and found.reached >= 997


def test_every_mode_must_have_real_images() -> None:
    image = np.zeros((6, 1, 2, 2), np.uint8)
    assert mode_counts(ImageData(image, np.array([0, 1, 2, 2, 1, 0])), 3).tolist() == [2, 2, 2]
    for label, told in ((None, "no labels"), (np.array([0, 0, 2, 2, 0, 0]), "knows 3 classes, .* has 2"), (np.arange(6), "knows 3 classes")):
        with pytest.raises(InputError, match=told):
            mode_counts(ImageData(image, label), 3)


class Stacking:
    """Draws stacked digits of the first ``modes`` combinations in turn."""

    image_range = (0.0, 255.0)

    def __init__(self, data: ImageData, modes: int) -> None:
        self.image, self.modes = torch.from_numpy(data.image[:modes].copy()).float(), modes

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        return Latents(torch.arange(start, start + num)[:, None].float())

    def decode(self, latents: Latents) -> Tensor:
        return self.image[latents.noise[:, 0].long() % self.modes]

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        return self.decode(self.latents(num, start=start))


def test_a_generator_of_half_the_combinations_reaches_half() -> None:
    test = load("stacked-digits", split="test", progress=False)
    half = {str(row["metric"]): row for row in evaluate(Stacking(test, 500), test, extractor="stacked-digits", metrics=["modes"], num_samples=1000)}
    assert abs(float(str(half["modes_reached"]["value"])) - 500) < 10, "the judge errs in one of a hundred"
    assert float(str(half["mode_divergence"]["value"])) == pytest.approx(math.log(2), abs=0.02)
    assert half["modes_reached"]["protocol"]["modes"] == 1000  # type: ignore[index]
    whole = score_images(test, test, extractor="stacked-digits", metrics=["modes"], num_samples=3000)
    assert float(str(whole[0]["value"])) > 900


# --- Shares of classes and recall of slots, on models and judges whose answers are known ---


@given(counts=st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any))
def test_divergence_is_kullback_leiblers_from_the_uniform_distribution(counts: list[int]) -> None:
    found = ClassShares(np.array([*counts, 7]), tuple(range(len(counts))))
    p = np.array(counts) / sum(counts)
    wanted = sum(x * math.log(x * len(p)) for x in p if x > 0)
    assert found.divergence == pytest.approx(wanted, abs=1e-12)
    assert -1e-12 <= found.divergence <= math.log(len(p)) + 1e-12
    assert found.elsewhere == pytest.approx(7 / (sum(counts) + 7))
    assert found.share.sum() == pytest.approx(1)


def test_bounds() -> None:
    assert ClassShares(np.array([5, 5, 5, 5]), (0, 1, 2, 3)).divergence == pytest.approx(0)
    assert ClassShares(np.array([0, 9, 0, 0]), (0, 1, 2)).divergence == pytest.approx(math.log(3))
    nowhere = ClassShares(np.array([0, 0, 4]), (0, 1))
    assert (nowhere.divergence, nowhere.elsewhere) == (None, 1.0)


def test_samples_are_counted() -> None:
    """Thirty samples of class 2, of which every third is drawn as class 0."""

    class Always(Shades):
        def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
            return super().sample(num, label=2, seed=seed, start=start)

    found = class_shares(Always(), Nearest(), (0, 2), 30)
    assert found.counts.tolist() == [10, 0, 20, 0]
    assert found.elsewhere == 0


class Painter(nn.Module):
    """Draws slot i (its key is unit vector i) as a shade of 40 i + 20; the critic below asks for the slot of a shade."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))  # says where the model lives

    def forward(self, code: Tensor) -> Tensor:
        return ((40 * code[:, :4].argmax(1) + 20) / 255).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


class Asker(nn.Module):
    def __init__(self, moved: bool) -> None:
        super().__init__()
        self.moved = moved

    def forward(self, image: Tensor) -> Tensor:
        shade = ((image.flatten(1).mean(1) * 255 - 20) / 40).round().long()
        return nn.functional.one_hot(torch.where(shade == 3, 1, shade) if self.moved else shade, 16).float()


def remembering(*, moved: bool) -> object:
    """Slots 0 to 3 are real and hold a shade each, slot 4 is fake and lies where slot 2 does, only heavier."""
    model = built(replace(TINY, norm="none"), written=False)
    model.generator, model.critic = Painter(), Asker(moved)
    memory = model.memory
    memory.keys.zero_()
    memory.keys[torch.arange(5), torch.tensor([0, 1, 2, 3, 2])] = 1
    memory.values.zero_()
    memory.values[:4] = 1
    memory.mass.fill_(1e-6)
    memory.mass[:5] = torch.tensor([1.0, 1.0, 1.0, 1.0, 500.0])
    return model


@pytest.mark.parametrize("moved", [False, True])
def test_a_slot_is_recalled_where_it_draws_the_class_that_asked(moved: bool) -> None:
    model = remembering(moved=moved)
    label = np.arange(12) % 4
    image = np.broadcast_to((40 * label + 20)[:, None, None, None], (12, 1, 8, 8)).astype(np.uint8)
    found = slot_recall(model, ImageData(np.ascontiguousarray(image), label, name="shades"), Nearest())
    assert [each.label for each in found] == [0, 1, 2, 3]
    assert [each.recalled for each in found] == [1.0, 1.0, 1.0, 0.0 if moved else 1.0], "where 3 is taken for 1, its slot draws 1"
    assert [each.recognised for each in found] == [1.0, 1.0, 0.0, 1.0], "2 is found fake first"


def test_a_model_without_slots_has_no_recall() -> None:
    data = ImageData(np.zeros((1, 1, 8, 8), np.uint8), np.zeros(1, np.int64))
    for kind in ("no_memory", "no_mcgn"):
        with pytest.raises(InputError, match="reads no memory slot"):
            slot_recall(built(VARIANTS[kind]), data, Nearest())
