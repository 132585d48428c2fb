"""Identities of what inspection says about a memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.memory import AttentionMemory, VMFMemory
from memogen.memory.inspect import (
    best_slots,
    effective_number,
    mean_cosine,
    prior,
    slot_posterior,
    sorted_prior,
    spread_slots,
    top_slots,
    usage,
)
from memogen.memory.protocol import MixtureMemory, is_mixture


def filled(num_slots: int = 12, key_dim: int = 5, *, seed: int = 0) -> VMFMemory:
    """A memory with random keys, mass and age; its first slots are real."""
    generator = torch.Generator().manual_seed(seed)
    memory = VMFMemory(num_slots, key_dim, concentration=5.0)
    memory.keys.copy_(torch.nn.functional.normalize(torch.randn(num_slots, key_dim, generator=generator), dim=1))
    memory.mass.copy_(torch.rand(num_slots, generator=generator) + 0.1)
    memory.age.copy_(torch.randint(0, 50, (num_slots,), generator=generator).float())
    return memory


@given(st.integers(1, 300))
def test_a_flat_prior_uses_every_slot(slots: int) -> None:
    assert effective_number(torch.full((slots,), 1 / slots, dtype=torch.float64)) == pytest.approx(slots, rel=1e-9)


def test_a_one_hot_prior_uses_one_slot_and_an_empty_class_none() -> None:
    assert effective_number(torch.eye(7, dtype=torch.float64)[3]) == 1.0
    assert effective_number(torch.zeros(7, dtype=torch.float64)) == 0.0


@given(st.integers(2, 40), st.integers(2, 8), st.integers(0, 1000))
def test_mean_cosine_is_the_mean_over_all_pairs(slots: int, dim: int, seed: int) -> None:
    keys = filled(slots, dim, seed=seed).keys.double()
    rows = keys.numpy()
    pairs = [float(np.dot(rows[i], rows[j])) for i in range(slots) for j in range(slots) if i != j]
    assert mean_cosine(keys) == pytest.approx(float(np.mean(pairs)), abs=1e-12)


def test_mean_cosine_needs_two_keys() -> None:
    assert math.isnan(mean_cosine(torch.ones(1, 4)))


@pytest.mark.parametrize("value", [0, 1])
def test_prior_is_the_share_of_mass_within_the_class(value: int) -> None:
    memory = filled()
    member = memory.values == value
    expected = memory.mass.double() * member / memory.mass.double()[member].sum()
    torch.testing.assert_close(prior(memory, value=value), expected)
    ordered = sorted_prior(memory, value=value)
    assert len(ordered) == int(member.sum())
    assert float(ordered.sum()) == pytest.approx(1)
    assert bool((ordered[:-1] >= ordered[1:]).all())


def test_prior_agrees_with_what_the_memory_samples() -> None:
    memory = filled()
    _, slots = memory.sample(200_000, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(slots, minlength=memory.num_slots) / len(slots)
    torch.testing.assert_close(share.double(), prior(memory), atol=0.005, rtol=0)


def test_a_class_without_mass_is_flat_and_without_slots_empty() -> None:
    memory = filled()
    memory.mass.zero_()
    assert usage(memory).effective_real == pytest.approx(6)
    memory.values.fill_(0)
    assert usage(memory).effective_real == 0
    assert sorted_prior(memory).shape == (0,)
    assert slot_posterior(memory, torch.randn(1, 5)).slots == ()
    assert spread_slots(memory, 3) == ()


def test_usage_of_a_known_memory() -> None:
    memory = filled(8, 4)
    memory.mass.copy_(torch.tensor([1.0, 1, 1, 1, 0, 0, 3, 0]))
    memory.age.copy_(torch.arange(8.0))
    memory.keys[5] = 0
    told = usage(memory)
    assert (told.num_slots, told.real_share, told.unwritten) == (8, 0.5, 1)
    assert told.effective_real == pytest.approx(4)
    assert told.effective_fake == pytest.approx(1)
    assert told.mass_quantiles[0] == 0 and told.mass_quantiles[-1] == 3
    assert told.age_quantiles == (0, 1, 3, 4, 6, 7)  # the ages 0 1 2 3 4 6 7 of the written slots
    assert told.mean_cosine_real == pytest.approx(mean_cosine(memory.keys[:4]))


def test_a_fresh_memory_is_unwritten_and_evenly_spread() -> None:
    told = usage(VMFMemory(10, 4))
    assert told.unwritten == 10
    assert told.effective_real == pytest.approx(5)
    assert all(math.isnan(value) for value in (told.mean_cosine_real, *told.mass_quantiles))


def test_top_slots_are_the_heaviest_with_ties_by_index() -> None:
    memory = filled(6, 4)
    memory.mass.copy_(torch.tensor([1.0, 3, 1, 2, 2, 0]))
    assert [row.slot for row in top_slots(memory, 6)] == [1, 3, 4, 0, 2, 5]
    assert [row.slot for row in top_slots(memory, 6, value=0)] == [3, 4, 5]
    heaviest = top_slots(memory, 1)[0]
    assert (heaviest.value, heaviest.mass, heaviest.age) == (1, 3.0, int(memory.age[1]))
    assert heaviest.prior == pytest.approx(0.6)


def test_spread_slots_run_from_the_heaviest_to_the_lightest() -> None:
    memory = filled(20, 4)
    mass = [row.mass for row in spread_slots(memory, 4)]
    real = memory.mass[:10]
    assert len(mass) == 4
    assert mass == sorted(mass, reverse=True)
    assert (mass[0], mass[-1]) == (float(real.max()), float(real.min()))


@given(st.integers(1, 15), st.integers(0, 100))
def test_slot_posterior_sums_to_one_and_shows_the_best(num: int, seed: int) -> None:
    memory = filled(seed=seed)
    query = torch.randn(1, 5, generator=torch.Generator().manual_seed(seed + 1))
    found, dense = slot_posterior(memory, query, num), memory.posterior(query)[0]
    assert sum(found.probability) + found.other_real + found.fake == pytest.approx(1, abs=1e-5)
    assert list(found.probability) == sorted(found.probability, reverse=True)
    assert found.slots == tuple(dense[:6].argsort(descending=True)[:num].tolist())
    assert found.fake == pytest.approx(1 - float((dense * memory.values).sum()), abs=1e-5)


@given(st.integers(0, 100), st.sampled_from([0, 1]))
def test_best_slots_are_the_most_probable_of_their_class(seed: int, value: int) -> None:
    memory = filled(seed=seed)
    query = torch.randn(30, 5, generator=torch.Generator().manual_seed(seed + 1))
    expected = (memory.posterior(query) * (memory.values == value)).argmax(1)
    assert torch.equal(best_slots(memory, query, value=value), expected)


def test_a_key_finds_its_own_slot_however_sharp_the_memory() -> None:
    """At concentration 10,000 the probability of any slot but the nearest is 0 in float32; a far slot is still the best of its class."""
    memory = filled()
    memory.mass.fill_(1.0)
    for memory.concentration in (5.0, 10_000.0):
        assert best_slots(memory, 7 * memory.keys[:6]).tolist() == [0, 1, 2, 3, 4, 5]
        nearest = (memory.keys[6:] @ memory.keys[:6].T).argmax(1)
        assert best_slots(memory, memory.keys[6:]).tolist() == nearest.tolist()


def test_without_a_slot_of_the_class_there_is_no_best_one() -> None:
    memory = filled()
    memory.values.fill_(0)
    assert best_slots(memory, torch.randn(3, 5)).tolist() == [-1, -1, -1]


def test_inspection_changes_nothing() -> None:
    memory = filled()
    before = {name: buffer.clone() for name, buffer in memory.named_buffers()}
    usage(memory), top_slots(memory), sorted_prior(memory), slot_posterior(memory, torch.randn(1, 5)), best_slots(memory, torch.randn(2, 5))
    assert all(torch.equal(buffer, before[name]) for name, buffer in memory.named_buffers())


def test_a_mixture_memory_is_told_from_another() -> None:
    memory: MixtureMemory = filled()  # what mypy checks
    assert is_mixture(memory) and not is_mixture(AttentionMemory(4, 3)) and not is_mixture(None)
    assert (memory.num_slots, memory.key_dim, memory.concentration) == (12, 5, 5.0)
