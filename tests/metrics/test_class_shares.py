"""Shares of classes and recall of slots, on models and judges whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from memogen.metrics.modes import ClassShares, class_shares
from memogen.metrics.slots import slot_recall
from memogen.types import ImageData, InputError
from tests.metrics.test_by_class import Nearest, Shades
from tests.models.test_memory_gan import TINY, VARIANTS, built


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
