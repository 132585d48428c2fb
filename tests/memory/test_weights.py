"""Drawing slots by other weights than their mass: tempered priors, and the rare slots that held-out images confirm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from memogen.memory import VMFMemory
from memogen.memory.functional import unit
from memogen.memory.inspect import density_tempered, rare, tempered


def memory_of(mass: list[float], values: list[float] | None = None, *, empty: tuple[int, ...] = ()) -> VMFMemory:
    """A memory of slots with these masses, all real unless told; ``empty`` ones have no key."""
    memory = VMFMemory(len(mass), 4, top_k=2)
    memory.keys.copy_(unit(torch.randn(len(mass), 4, generator=torch.Generator().manual_seed(0))))
    memory.keys[list(empty)] = 0
    memory.values.copy_(torch.ones(len(mass)) if values is None else torch.tensor(values))
    memory.mass.copy_(torch.tensor(mass))
    return memory


def shares(memory: VMFMemory, weight: Tensor | None, num: int = 12_000) -> Tensor:
    """How often each slot is drawn by numbers evenly spaced in [0, 1), of which no chance has a part."""
    uniform = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    return torch.bincount(memory.sample(num, weight=weight, uniform=uniform)[1], minlength=memory.num_slots) / num


def test_a_temper_of_one_is_the_prior_bit_for_bit() -> None:
    memory = memory_of([0.3, 1e-5, 7.25, 2.0, 0.0])
    weight = tempered(memory, 1)
    assert torch.equal(density_tempered(memory, 1), weight)
    for seed in range(3):
        drawn = [memory.draw(500, weight=each, generator=torch.Generator().manual_seed(seed)) for each in (None, weight)]
        assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
        keys = [memory.sample(500, weight=each, generator=torch.Generator().manual_seed(seed)) for each in (None, weight)]
        assert torch.equal(keys[0][0], keys[1][0]) and torch.equal(keys[0][1], keys[1][1])


def test_a_temper_of_nought_is_uniform_over_written_real_slots() -> None:
    memory = memory_of([0.3, 5.0, 7.25, 2.0, 0.0, 1.0], [1, 0, 1, 1, 1, 1], empty=(3,))
    assert shares(memory, tempered(memory, 0)).tolist() == pytest.approx([1 / 4, 0, 1 / 4, 0, 1 / 4, 1 / 4], abs=1e-3)


def test_a_tempered_prior_is_the_power_of_the_mass() -> None:
    memory = memory_of([1.0, 4.0, 9.0, 16.0])
    assert shares(memory, tempered(memory, 0.5)).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert shares(memory, None).tolist() == pytest.approx([each / 30 for each in (1, 4, 9, 16)], abs=1e-3)
    for wrong in (-0.5, math.nan, math.inf):
        with pytest.raises(ValueError, match="temper"):
            tempered(memory, wrong)


def test_a_tempered_density_draws_crowded_slots_less() -> None:
    """Three slots on one axis and one on another, orthogonal: the density is three times as high around the three."""
    memory = VMFMemory(5, 4, top_k=2, concentration=30.0)
    memory.keys.copy_(torch.eye(4)[[0, 0, 0, 1, 0]])
    memory.values.copy_(torch.tensor([1.0, 1, 1, 1, 0]))
    memory.mass.fill_(2.0)
    assert shares(memory, density_tempered(memory, 0)).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2, 0], abs=1e-3), "both axes alike"
    root = 3**0.5
    assert shares(memory, density_tempered(memory, 0.5)).tolist() == pytest.approx([root / 3 / (root + 1)] * 3 + [1 / (root + 1), 0], abs=1e-3)
    assert shares(memory, tempered(memory, 0)).tolist() == pytest.approx([1 / 4] * 4 + [0], abs=1e-3), "their masses tell nothing"
    memory.concentration = 5000.0
    assert torch.isfinite(density_tempered(memory, 0)).all()
    with pytest.raises(ValueError, match="temper"):
        density_tempered(memory, -1)


def test_rare_slots_are_light_and_confirmed() -> None:
    memory = memory_of([1.0, 2.0, 3.0, 4.0, 90.0, 0.5], [1, 1, 1, 1, 1, 0])
    best = torch.tensor([1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4, 0, -1])  # slot 0 is the lightest, and one image alone falls into it
    assert rare(memory, best, share=0.051, by="mass").nonzero()[:, 0].tolist() == [1, 2], "5 of the 99 that confirmed slots hold"
    assert rare(memory, best, share=0.05, by="mass").nonzero()[:, 0].tolist() == [1]
    assert rare(memory, best, share=1e-6, by="mass").nonzero()[:, 0].tolist() == [1], "one at least"
    assert rare(memory, best, share=1.0).nonzero()[:, 0].tolist() == [1, 2, 3, 4]
    assert rare(memory, best, share=1.0, least=1)[0] == 1
    assert not rare(memory, best[:1]).any()
    drawn = shares(memory, rare(memory, best, share=0.051, by="mass"))
    assert drawn.tolist() == pytest.approx([0, 0.5, 0.5, 0, 0, 0], abs=1e-3)
    memory.keys[1:5] = torch.eye(4)[[0, 0, 0, 1]]
    memory.mass.fill_(1.0)
    assert rare(memory, best, share=0.25).nonzero()[:, 0].tolist() == [4], "alone on its axis, where masses are alike"
    for wrong in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="share"):
            rare(memory, best, share=wrong)


def test_weights_that_draw_nothing_are_refused() -> None:
    memory = memory_of([1.0, 2.0, 3.0], [1, 1, 0])
    with pytest.raises(ValueError, match="one for each of 3 slots"):
        memory.sample(2, weight=torch.ones(2))
    for wrong in ([0.0, 0, 1], [-1.0, 2, 0], [math.nan, 1, 1], [math.inf, 1, 1]):
        with pytest.raises(ValueError, match="weight must be"):
            memory.sample(2, weight=torch.tensor(wrong))
