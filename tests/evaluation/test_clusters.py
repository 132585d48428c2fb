"""What clusters explain and what neighbours know, against definitions written out row by row."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.evaluation.clusters import agreement, effective_rank, neighbour_accuracy, variance_between
from memogen.types import InputError


def _variance(rows: np.ndarray) -> float:
    return float(((rows - rows.mean(0)) ** 2).sum())


@given(seed=st.integers(0, 1000), groups=st.integers(1, 6), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_between_is_one_less_the_pooled_variance_within(seed: int, groups: int, scale: float, shift: float) -> None:
    """n - 1 for every cluster of n; and neither the origin, the scale nor the cluster's names matter."""
    random = np.random.default_rng(seed)
    cluster, rows = random.integers(0, groups, 20), random.normal(size=(20, 3))
    members = [rows[cluster == name] for name in np.unique(cluster)]
    within = sum(_variance(part) for part in members) / sum(len(part) - 1 for part in members)
    expected = 1 - within / (_variance(rows) / 19)
    found = variance_between(torch.from_numpy(rows), torch.from_numpy(cluster))
    assert found == pytest.approx(expected, abs=1e-12)
    moved = variance_between(torch.from_numpy(scale * rows + shift), torch.from_numpy(100 - 7 * cluster))
    assert moved == pytest.approx(expected, abs=1e-9)


def test_between_is_all_where_clusters_are_points_and_nothing_where_they_are_drawn() -> None:
    cluster = torch.arange(400) % 100
    point = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))[cluster]
    assert variance_between(point, cluster) == pytest.approx(1, abs=1e-12)
    drawn = [variance_between(torch.randn(400, 5, generator=torch.Generator().manual_seed(seed)), cluster) for seed in range(40)]
    assert abs(np.mean(drawn)) < 4 * np.std(drawn) / math.sqrt(40), "100 clusters of four explain nothing, where a plain R squared would be 0.25"
    assert np.mean(drawn) < 0.02


def test_between_is_not_a_number_where_nothing_can_be_told() -> None:
    rows = torch.randn(5, 2)
    assert math.isnan(variance_between(rows, torch.arange(5)))
    assert math.isnan(variance_between(rows[:1].expand(5, -1), torch.zeros(5, dtype=torch.long)))
    assert math.isnan(variance_between(torch.full((360, 1), 0.1 / 3, dtype=torch.float64), torch.arange(360) % 7))


@given(seed=st.integers(0, 1000), rank=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_effective_rank_counts_equal_directions_and_is_at_most_the_rank(seed: int, rank: int) -> None:
    random = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.cat([torch.ones(30, 1), torch.randn(30, rank, generator=random)], 1).double())
    flat = basis[:, 1:]  # columns of mean 0, equally long, at right angles
    assert effective_rank(3 * flat + 2) == pytest.approx(rank, abs=1e-9)
    mixed = flat @ torch.randn(rank, 8, generator=random).double()
    assert 1 - 1e-9 <= effective_rank(mixed) <= rank + 1e-9
    assert effective_rank(torch.cat([flat, torch.full((30, 2), 7.0)], 1)) == pytest.approx(rank, abs=1e-9), "a column that never moves is none"


def test_effective_rank_is_that_of_the_correlations() -> None:
    rows = (
        torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double()
        @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double()
    )
    share = np.linalg.eigvalsh(np.corrcoef(rows.numpy().T)) / 6
    assert effective_rank(rows) == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-9)


def test_effective_rank_of_nothing_is_not_a_number() -> None:
    assert math.isnan(effective_rank(torch.ones(6, 3)))


@given(seed=st.integers(0, 1000), k=st.integers(1, 5), chunk=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_neighbours_vote_and_the_nearest_decides_a_draw(seed: int, k: int, chunk: int) -> None:
    random = np.random.default_rng(seed)
    rows, label = random.normal(size=(17, 2)), random.integers(0, 3, 17)
    right = 0
    for i in range(17):
        others = sorted((j for j in range(17) if j != i), key=lambda j: ((rows[i] - rows[j]) ** 2).sum())[:k]
        votes = Counter(int(label[j]) for j in others)
        winner = next(int(label[j]) for j in others if votes[int(label[j])] == max(votes.values()))
        right += winner == label[i]
    assert neighbour_accuracy(torch.from_numpy(rows), torch.from_numpy(label), k=k, chunk=chunk) == right / 17


def test_neighbours_need_to_be_there() -> None:
    with pytest.raises(InputError, match="at least 6"):
        neighbour_accuracy(torch.randn(5, 2), torch.zeros(5, dtype=torch.long))


def test_agreement_is_one_for_the_same_partition_and_none_for_a_drawn_one() -> None:
    label = torch.arange(600) % 10
    assert agreement(label * 3 + 1, label) == pytest.approx(1)
    drawn = torch.randint(0, 200, (600,), generator=torch.Generator().manual_seed(0))
    assert abs(agreement(drawn, label)) < 0.03
