"""The learned prior of a MEM-VAE: its density, its draws, and that the bound which is trained is the one that is scored."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from memogen.export.graphs import latent_distributions
from memogen.metrics.ais import Annealing, anneal
from memogen.models import AttentionConfig, MemVAE, MemVAEConfig, MemVAEObjective
from memogen.models.mem_vae.prior import Mixture, StandardNormal
from memogen.models.mem_vae.replay import SampleTeacher
from memogen.types import InputError, Latents
from tests.models.mem_vae import PLAIN, SMALL, built, images, scored
from tests.models.test_mem_vae_objective import NOTHING, batch, loss_of

VAMP = replace(SMALL, prior_slots=5)
FLAT = MemVAEConfig((1, 2, 3), hidden=(6, 5), latent_dim=2, memory=AttentionConfig((4, 3)), prior_slots=4)


def by_hand(model: MemVAE) -> MixtureSameFamily:
    """1/K sum_k q(z | u_k), from what the model says of its pseudo-inputs as of any images."""
    mean, log_variance = model.encode(model.prior_picture())
    return MixtureSameFamily(Categorical(torch.ones(len(mean))), Independent(Normal(mean, torch.exp(0.5 * log_variance)), 1))


def test_the_prior_is_the_mean_of_the_posteriors_of_the_pseudo_inputs() -> None:
    model = built(VAMP)
    z = 3 * torch.randn(7, 4, 3)
    picture = model.prior_picture()
    assert picture.shape == (5, 1, 4, 3) and 0 < float(picture.min()) < float(picture.max()) < 1
    torch.testing.assert_close(model.prior().log_prob(z), by_hand(model).log_prob(z), rtol=1e-5, atol=1e-4)
    mean, _ = model.encode(picture)
    assert torch.equal(model.prior_picture(decoded=True), model.decode(Latents(mean)))
    torch.testing.assert_close(model.beside(scored(4)).log_prior(z), by_hand(model).log_prob(z), rtol=1e-5, atol=1e-4)


def test_narrow_components_lose_no_digits() -> None:
    """Standard deviations of 1/1000 in 100 dimensions, where the terms of the square are a million times as large as their sum."""
    generator = torch.Generator().manual_seed(0)
    mean, scale = 3 * torch.randn(6, 100, generator=generator), 1e-3
    prior = Mixture(mean, torch.full((6, 100), 2 * math.log(scale)))
    eps = torch.randn(1, 6, 100, generator=generator)
    z = mean.double() + scale * eps.double()
    expected = Normal(mean.double(), scale).log_prob(z).sum(-1) - math.log(6)
    torch.testing.assert_close(prior.log_prob(z), expected, rtol=1e-6, atol=1e-4)


def test_the_divergence_is_the_difference_of_the_two_log_densities() -> None:
    mean, log_variance, eps = torch.randn(4, 3), torch.randn(4, 3), torch.randn(6, 4, 3)
    z = mean + torch.exp(0.5 * log_variance) * eps
    posterior = Normal(mean, torch.exp(0.5 * log_variance)).log_prob(z).sum(-1)
    for prior in (StandardNormal(), Mixture(torch.randn(5, 3), torch.randn(5, 3))):
        found = prior.divergence(z, log_variance, eps)
        torch.testing.assert_close(found, posterior - prior.log_prob(z), rtol=1e-4, atol=1e-4)


def test_a_mixture_of_one_standard_normal_is_the_standard_normal() -> None:
    z, lv, eps = torch.randn(6, 4, 3), torch.randn(4, 3), torch.randn(6, 4, 3)
    one = Mixture(torch.zeros(1, 3), torch.zeros(1, 3))
    torch.testing.assert_close(one.log_prob(z), StandardNormal().log_prob(z))
    torch.testing.assert_close(one.divergence(z, lv, eps), StandardNormal().divergence(z, lv, eps))


def test_importance_sampling_and_annealing_find_the_integral_over_the_latents() -> None:
    """log p(x) = log of the integral of p(z) p(x | z), by the trapezoidal rule on a square of 321 x 321 points."""
    model, image = built(FLAT, spread=0.3).double(), scored(6, FLAT)
    with torch.no_grad():  # of one width, so that no weight is rare and large
        model.encoder.head.weight[2:].zero_()
        model.encoder.head.bias[2:].fill_(0.5)
    axis = torch.linspace(-12, 12, 321, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    beside = model.beside(image)
    z = grid[:, None].expand(-1, 6, -1)
    with torch.no_grad():
        joint = beside.log_prior(z) + beside.log_likelihood(z)
        mass = beside.log_prior(z)[:, 0].logsumexp(0) + 2 * math.log(24 / 320)
        truth = joint.logsumexp(0) + 2 * math.log(24 / 320)
    assert float(mass) == pytest.approx(0, abs=1e-6), "the grid holds the whole prior"
    weights = model.log_weights(image, num_samples=20_000)
    found, error = weights.logsumexp(0) - math.log(20_000), (weights - truth).exp().std(0) / 20_000**0.5
    assert float(((found - truth).abs() / error).max()) < 4 and float(error.max()) < 0.02
    annealed = anneal(beside, Annealing(temperatures=60, chains=64), seed=1).log_likelihood
    np.testing.assert_allclose(annealed, truth, atol=0.15)


def test_draws_choose_all_components_alike_and_have_the_moments_of_the_mixture() -> None:
    model, num = built(VAMP), 20_000
    with torch.no_grad():  # apart, so that the component of a draw can be told
        model.encoder.head.weight[:3].mul_(30)
        model.encoder.head.bias[3:].fill_(-9)
    law, z = by_hand(model), model.latents(num, seed=3).noise
    component = law.component_distribution.log_prob(z[:, None]).argmax(1)
    share = torch.bincount(component, minlength=5) / num
    assert float((share - 0.2).abs().max()) < 4 * (0.2 * 0.8 / num) ** 0.5
    assert float(((z.mean(0) - law.mean).abs() / (law.variance / num).sqrt()).max()) < 4
    torch.testing.assert_close(z.var(0), law.variance, rtol=0.04, atol=0)
    within = (z - law.component_distribution.mean[component]) / law.component_distribution.variance[component].sqrt()
    torch.testing.assert_close(within.T.cov(), torch.eye(3), rtol=0, atol=0.04)
    chains = model.beside(scored(2)).draw_prior(num // 2, generator=torch.Generator().manual_seed(0)).flatten(0, 1)
    assert float(((chains.mean(0) - law.mean).abs() / (law.variance / num).sqrt()).max()) < 4


def test_trained_on_all_images_at_once_the_bound_is_the_one_of_evaluation() -> None:
    """The statistics of the batch normalise pseudo-inputs in training, those that calibration stores in evaluation."""
    model, data = built(VAMP), images(37)
    index = torch.arange(37)
    x = model.observed(torch.from_numpy(data.image), index, seed=4, stream=7201)
    model.calibrate(data, seed=4)
    found = []
    for mode in (True, False):
        model.train(mode)
        prior = model.prior(x)
        assert isinstance(prior, Mixture)
        found.append(prior)
    torch.testing.assert_close(found[0].mean, found[1].mean, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(found[0].log_variance, found[1].log_variance, rtol=2e-3, atol=2e-3)
    same = model.prior()
    assert isinstance(same, Mixture) and torch.equal(found[1].mean, same.mean)


def test_a_batch_as_pseudo_inputs_has_its_own_posteriors() -> None:
    """Normalised beside itself, a batch is encoded as it is by itself; gradients agree too."""
    model, x = built(VAMP).double().train(), torch.rand(9, 1, 4, 3, dtype=torch.float64)
    one, other = model.encoder(x), model.encoder.beside(x, x)
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.log_variance, other.log_variance)
    weights = list(model.encoder.parameters())
    alone, beside = (torch.autograd.grad(found.mean.square().sum(), weights, allow_unused=True) for found in (one, other))
    for a, b in zip(alone, beside, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_the_bound_is_that_of_the_mixture() -> None:
    """reconstruction + log p(z) - log q(z | x) of the same draws, with the statistics of evaluation."""
    model, given = built(VAMP), batch()
    loss = loss_of(model, replace(NOTHING, num_samples=3), given)
    assert given.image is not None
    x = model.observed(given.image, given.index, seed=0, stream=1 << 21)
    mean, log_variance = model.encode(x)
    scale = torch.exp(0.5 * log_variance)
    z = mean + scale * model.draws(given.index, 3, seed=0, stream=0)
    likelihood = model.log_prob(x, model.decoder(z.flatten(0, 1)).raw, 3)
    weights = likelihood + by_hand(model).log_prob(z) - Normal(mean, scale).log_prob(z).sum(-1)
    torch.testing.assert_close(loss.terms["bound"], (weights.logsumexp(0) - math.log(3)).mean().detach(), rtol=1e-5, atol=1e-4)


def test_the_same_seed_gives_the_same_networks_with_either_prior() -> None:
    normal, learned, again = (
        built(PLAIN, spread=0.0),
        built(replace(PLAIN, prior_slots=5), spread=0.0),
        built(replace(PLAIN, prior_slots=5), spread=0.0),
    )
    assert all(torch.equal(learned.get_parameter(name), value) for name, value in normal.named_parameters())
    assert torch.equal(learned.prior_picture(), again.prior_picture())
    assert (normal.prior_slots, learned.prior_slots) == (0, 5) and normal.averaged_parts == ("encoder", "decoder")


def test_a_copy_replays_the_learned_prior() -> None:
    model = built(VAMP)
    teacher = SampleTeacher(model)
    teacher.follow(model)
    index = torch.arange(10)
    drawn = teacher.mixed(torch.zeros(10, 1, 4, 3), replace(batch(10), index=index, seed=2))
    replayed = index % 2 == 0
    z = model.drawn_latents(index, seed=2, stream=1 << 24)
    torch.testing.assert_close(drawn[replayed], model.decode(Latents(z))[replayed])
    assert torch.equal(drawn[~replayed], torch.zeros(5, 1, 4, 3))


def test_what_cannot_be_is_refused() -> None:
    for options in ({"prior_slots": -1}, {"prior_slots": 3, "num_classes": 2}):
        with pytest.raises(ValueError, match="prior_slots is"):
            replace(SMALL, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no pseudo-inputs"):
        built().prior_picture()
    with pytest.raises(InputError, match="a mixture of 5 posteriors, and exported files draw standard normal noise"):
        latent_distributions(built(VAMP))


def test_half_precision_keeps_the_density_of_the_prior() -> None:
    """The matrix products are in double precision, which autocast leaves alone."""
    model, given = built(VAMP).train(), batch()
    plain = loss_of(model, MemVAEObjective(), given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss_of(model, MemVAEObjective(), given)
    assert half.total.dtype == torch.float32
    assert float(half.total.detach()) == pytest.approx(float(plain.total.detach()), rel=0.03)


def test_a_step_of_training_can_be_recorded() -> None:
    """On the meta device, which holds no numbers, any look at one and any shape that depends on one is an error, as it is in a CUDA graph."""
    model, given = built(VAMP).to("meta").train(), batch()
    assert given.image is not None
    there = replace(given, index=given.index.to("meta"), image=given.image.to("meta"), label=None)
    total = loss_of(model, MemVAEObjective(num_samples=2), there).total
    total.backward()
    assert total.shape == () and model.pseudo_inputs is not None and model.pseudo_inputs.raw.grad is not None
