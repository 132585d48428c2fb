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
from memogen.metrics.ais import Annealing, anneal, anneal_back
from memogen.metrics.log_likelihood import Binarisation, LikelihoodInterrupted, WeightSums, log_likelihood
from memogen.types import ImageData, InputError, LikelihoodModel
from tests.metrics.linear_gaussian import LATENT, Beside, LinearGaussian, floats, pictures

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
            if len(self.asked) == 3:  # images
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


# --- Black and white images: one draw, addressed by image and pixel, with the right means ---


def test_a_pixel_is_white_as_often_as_it_is_bright() -> None:
    image = np.tile(np.array([0, 64, 128, 255], np.uint8), (20_000, 1))[:, None, :, None]
    white = Binarisation().apply(ImageData(image)).image
    assert set(np.unique(white)) == {0, 1} and white.dtype == np.float32
    for pixel, mean in zip((0, 64, 128, 255), white.mean(axis=(0, 1, 3)), strict=True):
        p = pixel / 255
        assert abs(mean - p) <= 4 * (p * (1 - p) / 20_000) ** 0.5
    dark = Binarisation(levels=256).apply(ImageData(image)).image
    assert 0 < (dark[..., 3, :] == 0).mean() < 0.01


def test_black_and_white_stay_and_real_numbers_are_probabilities() -> None:
    letters = np.random.default_rng(0).integers(0, 2, (50, 1, 16, 8)).astype(np.uint8)
    np.testing.assert_array_equal(Binarisation().apply(ImageData(letters * 255)).image, letters)
    real = np.full((20_000, 1, 1, 2), [0.3, 1.0], np.float32)
    found = Binarisation(levels=256).apply(ImageData(real)).image.mean(axis=(0, 1, 2))
    assert abs(found[0] - 0.3) < 4 * (0.21 / 20_000) ** 0.5 and found[1] == 1


def test_the_same_draw_for_everybody_and_another_for_another_seed() -> None:
    data = ImageData(np.random.default_rng(0).integers(0, 256, (1200, 1, 3, 3)).astype(np.uint8), np.arange(1200), digest="grey")
    first, again, other = (Binarisation(seed).apply(data) for seed in (1, 1, 2))
    assert np.array_equal(first.image, again.image) and first.digest == again.digest
    assert first.digest not in (other.digest, data.digest) and first.label is data.label
    part = Binarisation(1).apply(ImageData(data.image[:7]))
    assert np.array_equal(part.image, first.image[:7])


def test_it_names_itself_and_knows_two_scales() -> None:
    assert Binarisation(3, 256).protocol == {"binarisation": "one draw, p = v / 256", "binarisation_seed": 3}
    with pytest.raises(InputError, match="choose 255, or 256"):
        Binarisation(levels=1)


# --- Annealing against the exact likelihood of a linear-Gaussian model, from below and from above ---


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
