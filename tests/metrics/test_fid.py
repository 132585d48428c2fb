"""The Fréchet distance: closed forms, merging, and agreement with the matrix square root."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from memogen.metrics.fid import FeatureStatistics, frechet_distance, gaussian_distance
from memogen.types import InputError


def _random(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _statistics(features: torch.Tensor, batch: int = 1000) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    for part in features.split(batch):
        statistics.update(part)
    return statistics


def test_diagonal_gaussians_have_a_closed_form() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 9.0]).double()
    mean = torch.tensor([1.0, 2.0, 0.0]).double()
    expected = 1 + 4 + (1 - 2) ** 2 + (2 - 1) ** 2
    assert gaussian_distance(torch.zeros(3), a.diag(), mean, b.diag()) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 10_000), dim=st.integers(1, 12))
@settings(max_examples=40)
def test_agrees_with_the_matrix_square_root(seed: int, dim: int) -> None:
    x, y, mean = _random(seed, dim, dim), _random(seed + 1, dim, dim), _random(seed + 2, dim)
    a, b = x @ x.T + 0.1 * torch.eye(dim), y @ y.T + 0.1 * torch.eye(dim)
    root = np.real(np.atleast_2d(sqrtm((a @ b).numpy())))
    expected = float(mean.square().sum() + a.trace() + b.trace()) - 2 * np.trace(root)
    assert gaussian_distance(mean, a, torch.zeros(dim), b) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("rank", [20, 3])
def test_distance_to_itself_is_zero_even_when_singular(rank: int) -> None:
    features = _random(0, 300, rank) @ _random(1, rank, 20) * 100
    statistics = _statistics(features)
    assert frechet_distance(statistics, statistics) == pytest.approx(0.0, abs=1e-9 * float(statistics.covariance.trace()))


def test_symmetric_and_unmoved_by_a_rotation() -> None:
    x, y = _random(0, 200, 6), _random(1, 200, 6) * 2 + 1
    rotation = torch.linalg.qr(_random(2, 6, 6)).Q
    distance = frechet_distance(_statistics(x), _statistics(y))
    assert frechet_distance(_statistics(y), _statistics(x)) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(_statistics(x @ rotation), _statistics(y @ rotation)) == pytest.approx(distance, rel=1e-10)


@given(num=st.integers(5, 80), batch=st.integers(1, 90), offset=st.sampled_from([0.0, 1e4]))
def test_streamed_statistics_are_those_of_the_whole(num: int, batch: int, offset: float) -> None:
    features = _random(num, num, 4) + offset
    statistics = _statistics(features, batch)
    torch.testing.assert_close(statistics.mean, features.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(statistics.covariance, features.T.cov(), rtol=1e-9, atol=1e-9)


def test_too_few_samples_say_how_many_are_needed() -> None:
    with pytest.raises(InputError, match=r"64 images cannot .* at least 65"):
        frechet_distance(_statistics(_random(0, 64, 64)), _statistics(_random(0, 65, 64)))


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"give \(batch, 3\)"):
        FeatureStatistics(3).update(torch.zeros(2, 4))
