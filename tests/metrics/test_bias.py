"""Real data against itself gives what theory says: the Fréchet distance its bias, the kernel distance none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memogen.data import load
from memogen.metrics import FeatureStatistics, classifier, frechet_distance, kernel_distance
from memogen.metrics.fid import expected_self_distance


def statistics(features: torch.Tensor) -> FeatureStatistics:
    found = FeatureStatistics(features.shape[1])
    found.update(features)
    return found


@pytest.mark.parametrize("sizes", [(1000, 1000), (600, 3000)])
@pytest.mark.parametrize("values", [[1.0] * 6, [4.0, 1.0, 0.3, 0.05, 0.01, 0.001]], ids=["round", "long"])
def test_two_samples_of_one_gaussian_are_as_far_apart_as_the_wishart_approximation_says(values: list[float], sizes: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    covariance = torch.tensor(values, dtype=torch.float64)
    drawn = [[torch.randn(num, 6, generator=generator, dtype=torch.float64) * covariance.sqrt() for num in sizes] for _ in range(80)]
    found = np.array([frechet_distance(statistics(a), statistics(b)) for a, b in drawn])
    expected, spread = expected_self_distance(covariance.diag(), *sizes)
    assert found.std() == pytest.approx(spread, rel=0.35)
    assert abs(found.mean() - expected) < 4 * found.std() / 80**0.5 + 0.02 * expected  # the next order is a few per cent at most


def test_the_bias_falls_as_one_over_the_number() -> None:
    expected = [expected_self_distance(torch.eye(64), num, num)[0] for num in (1001, 10_001)]
    assert expected[0] / expected[1] == pytest.approx(10, rel=2e-3)
    assert expected[0] == pytest.approx(2 * 64 / 1001 + (64**2 + 64) / (2 * 1000))


def test_a_direction_without_spread_costs_nothing() -> None:
    flat = torch.diag(torch.tensor([1.0, 0.0, 0.0]))
    assert expected_self_distance(flat, 100, 100) == pytest.approx(expected_self_distance(torch.eye(1), 100, 100))


def test_halves_of_the_digits() -> None:
    """Real features are no Gaussian, so their bias is known but roughly; the kernel distance needs no such thing."""
    features = classifier("digits").features(torch.from_numpy(load("digits", progress=False).image.copy()))
    generator = torch.Generator().manual_seed(1)
    halves = [features[torch.randperm(len(features), generator=generator)].tensor_split(2) for _ in range(12)]
    frechet = np.mean([frechet_distance(statistics(a), statistics(b)) for a, b in halves])
    expected, _ = expected_self_distance(statistics(features).covariance, len(halves[0][0]), len(halves[0][1]))
    assert 0.6 < frechet / expected < 1.6
    kernel = [kernel_distance(a[:700], b[:700]).mean for a, b in halves]
    assert abs(np.mean(kernel)) < 3 * np.std(kernel) / 12**0.5
