"""Annealing against the exact likelihood of a linear-Gaussian model, from below and from above."""

from __future__ import annotations

import pytest
import torch

from memogen.metrics.log_likelihood import Annealing, anneal, anneal_back, log_likelihood
from memogen.types import InputError
from tests.metrics.linear_gaussian import Beside, LinearGaussian, floats, pictures

SHORT = Annealing(temperatures=100, chains=32, leapfrog=5)


@pytest.mark.parametrize("schedule", ["sigmoid", "linear"])
def test_forwards_is_the_exact_value(schedule: str) -> None:
    model = LinearGaussian()
    x, _ = model.draw(12)
    found = anneal(Beside(model, x), Annealing(250, 64, 5, schedule=schedule))  # type: ignore[arg-type]
    error = found.log_weights.exp().std(0) / found.log_weights.exp().mean(0) / 64**0.5
    assert float(((found.log_likelihood - model.exact(x)) / error).abs().max()) < 5
    assert float((found.log_likelihood - model.exact(x)).abs().mean()) < 0.06
    assert 0.5 < found.accepted < 0.9


def test_the_truth_lies_between_forwards_and_backwards() -> None:
    model = LinearGaussian()
    x, z = model.draw(30)
    few = Annealing(temperatures=10, chains=2, leapfrog=3)
    below, above = anneal(Beside(model, x), few).log_likelihood.mean(), -anneal_back(Beside(model, x), z, few).log_likelihood.mean()
    exact = model.exact(x).mean()
    assert below < exact < above
    longer = -anneal_back(Beside(model, x), z, SHORT).log_likelihood.mean()
    assert exact - 0.02 < longer < above


def test_weights_are_unbiased_with_frozen_steps() -> None:
    """The mean of the weights, not of their logarithms, is p(x) whatever the number of temperatures."""
    model = LinearGaussian()
    x, _ = model.draw(3)
    found = anneal(Beside(model, x), Annealing(temperatures=5, chains=8000, leapfrog=2))
    ratio = (found.log_weights - model.exact(x)).exp()
    assert float(((ratio.mean(0) - 1) / (ratio.std(0) / 8000**0.5)).abs().max()) < 4


def test_agrees_with_importance_sampling() -> None:
    model, data = LinearGaussian(), pictures(5)
    by_weights = log_likelihood(model, data, num_samples=3000).log_likelihood[:, -1]
    found = anneal(Beside(model, floats(torch.from_numpy(data.image))), SHORT).log_likelihood
    assert float((found - torch.from_numpy(by_weights)).abs().max()) < 0.15


def test_is_a_function_of_the_seed() -> None:
    model = LinearGaussian()
    beside = Beside(model, model.draw(2)[0])
    few = Annealing(temperatures=4, chains=3, leapfrog=2)
    first, again, other = (anneal(beside, few, seed=seed).log_weights for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_schedules_rise_from_zero_to_one() -> None:
    for schedule in ("sigmoid", "linear"):
        betas = Annealing(temperatures=7, schedule=schedule).betas()  # type: ignore[arg-type]
        assert betas[0] == 0 and betas[-1] == 1 and len(betas) == 8 and (betas.diff() > 0).all()
    with pytest.raises(InputError, match="counts must be at least 1"):
        Annealing(chains=0)
