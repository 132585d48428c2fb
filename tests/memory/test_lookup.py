"""The lookup by class."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.memory import lookup


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
def test_a_lookup_by_class_takes_the_best_of_each_class(seed: int, k: int, num_real: int) -> None:
    """Odd k, unequal halves, a class with no slot at all: always k distinct slots, the unused places given to the other class."""
    torch.manual_seed(seed)
    score, values = torch.randn(5, 23), (torch.randperm(23) < num_real).float()
    slots = lookup.top_k_per_class(score, values, k)
    assert slots.shape == (5, k)
    assert [set(row.tolist()) for row in slots] == brute_force(score, values, k)
    if k < 23:
        masked = lookup._per_class_masks(score, values > 0.5, k)
        assert [set(row.tolist()) for row in masked] == brute_force(score, values, k)
