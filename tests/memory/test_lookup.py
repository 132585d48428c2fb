"""The lookups: exact, chunked and stratified top-k."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.memory import lookup


@given(st.integers(0, 1000), st.integers(1, 50), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_chunked_equals_exact(seed: int, k: int, chunk: int) -> None:
    torch.manual_seed(seed)
    query, keys, bias = torch.randn(4, 6), torch.randn(50, 6), torch.randn(50)
    score, slots = lookup.exact(query, keys, bias, k)
    chunked_score, chunked_slots = lookup.chunked(query, keys, bias, k, chunk=chunk)
    torch.testing.assert_close(chunked_score, score)
    assert torch.equal(chunked_slots, slots)


def test_approximate_finds_the_exact_neighbours_when_it_probes_every_cell() -> None:
    pytest.importorskip("faiss")
    torch.manual_seed(0)
    query, keys, bias = torch.randn(4, 6), torch.randn(900, 6), torch.randn(900)
    score, slots = lookup.exact(query, keys, bias, 5)
    found_score, found = lookup.approximate(query, keys, bias, 5, probes=900)
    torch.testing.assert_close(found_score, score)
    assert torch.equal(found, slots)


def brute_force(score: torch.Tensor, values: torch.Tensor, k: int) -> list[set[int]]:
    num_real = int(values.sum())
    real_share = min(num_real, max((k + 1) // 2, k - (len(values) - num_real)))
    chosen = []
    for row in score:
        best = row.argsort(descending=True).tolist()
        real, fake = [i for i in best if values[i] == 1], [i for i in best if values[i] == 0]
        chosen.append({*real[:real_share], *fake[: k - real_share]})
    return chosen


@given(st.integers(0, 1000), st.integers(1, 23), st.integers(0, 23))
@settings(max_examples=60, deadline=None)
def test_stratified_takes_the_best_of_each_class(seed: int, k: int, num_real: int) -> None:
    """Odd k, unequal halves, a class with no slot at all: always k distinct slots, the unused places given to the other class."""
    torch.manual_seed(seed)
    score, values = torch.randn(5, 23), (torch.randperm(23) < num_real).float()
    slots = lookup.top_k_per_class(score, values, k)
    assert slots.shape == (5, k)
    assert [set(row.tolist()) for row in slots] == brute_force(score, values, k)
    if k < 23:
        masked = lookup._per_class_masks(score, values > 0.5, k)
        assert [set(row.tolist()) for row in masked] == brute_force(score, values, k)
