"""Importance sampling against the exact likelihood of a linear-Gaussian model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memogen import noise
from memogen.metrics.log_likelihood import LikelihoodInterrupted, WeightSums, log_likelihood
from memogen.types import InputError, LikelihoodModel
from tests.metrics.linear_gaussian import LATENT, LinearGaussian, floats, pictures

DATA = pictures(40)
EXACT = LinearGaussian().exact(floats(torch.from_numpy(DATA.image))).numpy()


def test_estimates_lie_around_the_exact_value_as_their_errors_say() -> None:
    found = log_likelihood(LinearGaussian(), DATA, num_samples=4000)
    deviation = (found.log_likelihood[:, -1] - EXACT) / found.error[:, -1]
    assert np.abs(deviation).max() < 4 and 0.7 < deviation.std() < 1.4
    assert abs(found.value - EXACT.mean()) < 4 * found.sampling_error
    assert found.spread == pytest.approx(EXACT.std(ddof=1) / math.sqrt(40), rel=0.02)


def test_the_exact_posterior_needs_one_sample() -> None:
    found = log_likelihood(LinearGaussian(width=1.0), DATA, num_samples=50)
    np.testing.assert_allclose(found.log_likelihood, np.repeat(EXACT[:, None], 3, 1), atol=1e-9)
    np.testing.assert_allclose(found.effective, np.array([[1.0, 10, 50]]).repeat(40, 0), rtol=1e-9)
    np.testing.assert_allclose(found.bound, np.repeat(EXACT[:, None], 3, 1), atol=1e-9)
    assert found.at == (1, 10, 50) and found.sampling_error < 1e-6


def test_the_bound_rises_with_the_samples_and_the_elbo_stays_below() -> None:
    found = log_likelihood(LinearGaussian(width=2.5), DATA, num_samples=2000, at=(1, 5, 50))
    curve = found.log_likelihood.mean(0)
    assert found.at == (1, 5, 50, 2000) and list(curve) == sorted(curve) and curve[-1] == pytest.approx(EXACT.mean(), abs=0.02)
    assert found.elbo < curve[-1] - 0.3
    assert (np.diff(found.effective, axis=1) > 0).all() and (found.effective <= np.array(found.at) + 1e-9).all()


def test_a_hundred_thousand_samples_in_bounded_memory() -> None:
    model = LinearGaussian()
    found = log_likelihood(model, pictures(2), num_samples=100_000)
    assert max(model.asked) == 1000 and sum(model.asked) == 200_000
    assert np.abs(found.log_likelihood[:, -1] - EXACT[:2]).max() < 4 * found.error[:, -1].max() < 0.02


def test_an_image_has_the_same_estimate_in_any_company() -> None:
    whole, part = (log_likelihood(LinearGaussian(), data, num_samples=300, seed=4) for data in (DATA, pictures(3)))
    assert np.array_equal(part.log_likelihood, whole.log_likelihood[:3])
    other = log_likelihood(LinearGaussian(), pictures(3), num_samples=300, seed=5)
    assert not np.array_equal(part.log_likelihood, other.log_likelihood)


def test_the_generator_is_put_back() -> None:
    state = torch.get_rng_state()
    log_likelihood(LinearGaussian(), pictures(1), num_samples=10)
    assert torch.equal(torch.get_rng_state(), state) and isinstance(LinearGaussian(), LikelihoodModel)


@given(size=st.integers(2, 60), chunk=st.integers(1, 70), shift=st.sampled_from([-900.0, 0.0, 700.0]), seed=st.integers(0, 100))
def test_streamed_sums_are_those_of_the_whole(size: int, chunk: int, shift: float, seed: int) -> None:
    log_w = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + shift
    sums = WeightSums()
    for part in log_w.split(chunk):
        sums.update(part)
    weights = (log_w - shift).exp().numpy()
    assert float(sums.log_mean) == pytest.approx(math.log(weights.mean()) + shift, abs=1e-9)
    assert float(sums.effective) == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-9)
    assert float(sums.error) == pytest.approx(weights.std(ddof=1) / math.sqrt(size) / weights.mean(), rel=1e-6)
    assert float(sums.mean_log) == pytest.approx(float(log_w.mean()), abs=1e-9)


def test_weights_may_be_zero_but_not_nan() -> None:
    sums = WeightSums()
    sums.update(torch.full((3,), -torch.inf))
    assert float(sums.effective) == 0.0 and torch.isnan(sums.error)
    sums.update(torch.tensor([0.0, -torch.inf]))
    assert float(sums.log_mean) == pytest.approx(-math.log(5)) and float(sums.effective) == pytest.approx(1.0)
    with pytest.raises(InputError, match="nan or infinite"):
        sums.update(torch.tensor([torch.nan]))


class Addressed(LinearGaussian):
    """The same with counted samples, as a MEM-VAE has them."""

    def log_weights(self, image: Tensor, *, num_samples: int, seed: int, start: int, index: Tensor) -> Tensor:
        self.asked.append(num_samples * len(image))
        x = floats(image)
        eps = noise.normal(index, num_samples * LATENT, seed=seed, first=start * LATENT, dtype=torch.float64).view(len(x), num_samples, LATENT)
        scale = torch.linalg.cholesky(self.covariance * self.width**2)
        z = self.posterior_mean(x) + (eps @ scale.T).transpose(0, 1)
        return self.log_joint(x, z) - torch.distributions.MultivariateNormal(self.posterior_mean(x), scale_tril=scale).log_prob(z)


def test_addressed_samples_do_not_depend_on_how_many_are_drawn_at_a_time() -> None:
    whole, small, wide = (log_likelihood(Addressed(), DATA, num_samples=90, chunk=chunk) for chunk in (None, 7, 1000))
    for other in (small, wide):
        np.testing.assert_allclose(other.log_likelihood, whole.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(other.error, whole.error, rtol=1e-9)
    assert "chunk" not in whole.protocol
    deviation = (whole.log_likelihood[:, -1] - EXACT) / whole.error[:, -1]
    assert np.abs(deviation).max() < 4 and 0.6 < deviation.std() < 1.5


def test_images_share_a_call_within_the_same_bound_of_memory() -> None:
    one, many = Addressed(), Addressed()
    found = log_likelihood(one, DATA, num_samples=1)
    log_likelihood(many, DATA, num_samples=2500, chunk=1000)
    assert one.asked == [40] and max(many.asked) == 1000 and sum(many.asked) == 40 * 2500
    assert np.isnan(found.error).all() and found.effective.tolist() == [[1.0]] * 40


def test_what_was_computed_before_a_stop_is_kept() -> None:
    class Stopping(LinearGaussian):
        def log_weights(self, image: Tensor, *, num_samples: int) -> Tensor:
            if len(self.asked) == 6:  # three images, each in two parts
                raise KeyboardInterrupt
            return super().log_weights(image, num_samples=num_samples)

    with pytest.raises(LikelihoodInterrupted) as caught:
        log_likelihood(Stopping(), DATA, num_samples=10)
    whole = log_likelihood(LinearGaussian(), DATA, num_samples=10)
    assert caught.value.found is not None
    np.testing.assert_array_equal(caught.value.found.log_likelihood, whole.log_likelihood[:3])


def test_a_protocol_tells_everything_and_is_json() -> None:
    protocol = log_likelihood(LinearGaussian(), pictures(4), num_samples=20, seed=2).protocol
    assert protocol["importance_samples"] == 20 and protocol["num_samples"] == 4 and protocol["seed"] == 2 and protocol["chunk"] == 1000
    assert set(protocol["by_importance_samples"]) == {"1", "10", "20"}  # type: ignore[call-overload]
    json.dumps(protocol, allow_nan=False)
    json.dumps(log_likelihood(LinearGaussian(), pictures(1), num_samples=1).protocol, allow_nan=False)


def test_unusable_numbers_are_refused() -> None:
    for num, at in ((0, ()), (10, (11,)), (10, (0,))):
        with pytest.raises(InputError, match="give at least 1"):
            log_likelihood(LinearGaussian(), pictures(1), num_samples=num, at=at)
