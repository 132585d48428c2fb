"""The kernel distance: the formula written out, its lack of bias, its subsets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.metrics.kid import _of_all, kernel_distance, squared_discrepancy
from memogen.types import InputError


def _random(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """Every pair of images by itself (Binkowski et al. 2018, Eq. 4)."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    within = [np.mean([kernel(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j]) for rows in (x, y)]
    return float(within[0] + within[1] - 2 * np.mean([kernel(a, b) for a in x for b in y]))


@given(seed=st.integers(0, 1000), real=st.integers(2, 9), fake=st.integers(2, 9), dim=st.integers(1, 6))
def test_equals_the_formula_pair_by_pair(seed: int, real: int, fake: int, dim: int) -> None:
    x, y = _random(seed, real, dim), _random(seed + 1, fake, dim) + 0.5
    assert squared_discrepancy(x, y) == pytest.approx(_by_hand(x.numpy(), y.numpy()), rel=1e-10, abs=1e-12)


def test_large_sets_are_halved_and_chunked_without_a_trace() -> None:
    x, y = _random(0, 1300, 7), _random(1, 900, 7) * 1.2
    kernels = [(a @ b.T / 7 + 1).pow(3) for a, b in ((x, x), (y, y), (x, y))]
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernels[:2]]
    assert squared_discrepancy(x, y) == pytest.approx(float(within[0] + within[1] - 2 * kernels[2].mean()), rel=1e-10)
    assert squared_discrepancy(x.float(), y.float()) == pytest.approx(squared_discrepancy(x, y), rel=1e-5)


def test_without_bias_real_data_against_itself_is_zero_on_average() -> None:
    found = [squared_discrepancy(*_random(seed, 2, 60, 5).unbind()) for seed in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert min(found) < 0 < max(found)


def test_two_gaussians_have_the_discrepancy_of_their_moments() -> None:
    """For x ~ N(0, 1) and y ~ N(m, 1) in one dimension: E k from the moments of the products."""
    m = 0.7
    own, shifted, mixed = 1 + 3 * 1, (m**3 + 3 * m) ** 2 + 3 * (m**2 + 1) ** 2 + 3 * m**2 + 1, 3 * (m**2 + 1) + 1
    expected = own + shifted - 2 * mixed
    found = [squared_discrepancy(_random(seed, 400, 1), _random(seed + 500, 400, 1) + m) for seed in range(60)]
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(len(found))


def test_subsets_are_drawn_by_the_seed() -> None:
    x, y = _random(2, 300, 4), _random(3, 250, 4) + 0.2
    first, again, other = (kernel_distance(x, y, subsets=20, subset_size=100, seed=seed) for seed in (1, 1, 2))
    assert first == again and first.mean != other.mean
    assert (first.subsets, first.subset_size) == (20, 100) and first.spread > 0
    assert abs(first.mean - squared_discrepancy(x, y)) < first.spread


def test_subsets_shrink_to_the_smaller_set_and_all_of_it_is_one_subset() -> None:
    x, y = _random(4, 30, 4), _random(5, 80, 4)
    assert kernel_distance(x, y, subsets=7).subset_size == 30 and kernel_distance(x, y, subsets=7).subsets == 7
    whole = kernel_distance(x, y[:30], subsets=7)
    assert (whole.subsets, whole.spread) == (1, 0.0) and whole.mean == pytest.approx(squared_discrepancy(x, y[:30]), rel=1e-12)


def test_subsets_that_share_kernels_give_what_each_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the kernels of all pairs are computed in several blocks."""
    monkeypatch.setattr("memogen.metrics.kid._PAIRS", 7 * 40)
    x, y = _random(6, 40, 5), _random(7, 31, 5) + 0.3
    random = np.random.default_rng(0)
    chosen = [[torch.from_numpy(random.choice(len(rows), 25, replace=False)) for rows in (x, y)] for _ in range(4)]
    together = _of_all(x, y, *map(torch.stack, zip(*chosen, strict=True)))
    assert together == pytest.approx([squared_discrepancy(x[of_x], y[of_y]) for of_x, of_y in chosen], rel=1e-10)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="use at least 2,"):
        kernel_distance(torch.zeros(1, 3), torch.zeros(5, 3))
