"""The adversarial terms and variational bounds against closed forms, their gradients, and the limits where naive forms overflow."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memogen import losses

KINDS = ("saturating", "non_saturating", "reverse_kl", "updown")
LOGITS = st.lists(st.floats(-12, 12), min_size=1, max_size=8).map(lambda values: torch.tensor(values, dtype=torch.float64))

CLOSED_FORMS = {  # of D, for the generator
    "saturating": lambda d: torch.log(1 - d),
    "non_saturating": lambda d: -torch.log(d),
    "reverse_kl": lambda d: torch.log((1 - d) / d),
    "updown": lambda d: -d,
}
SLOPES = {  # d loss / d logit
    "saturating": lambda d: -d,
    "non_saturating": lambda d: d - 1,
    "reverse_kl": lambda d: -torch.ones_like(d),
    "updown": lambda d: -d * (1 - d),
}


def gradient(loss: Tensor, logit: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(loss, logit)
    return slope * len(logit)


@pytest.mark.parametrize("kind", KINDS)
@given(logit=LOGITS)
def test_generator_loss_is_its_closed_form(kind: str, logit: Tensor) -> None:
    logit.requires_grad_(True)
    loss = losses.generator_loss(logit, kind)
    d = torch.sigmoid(logit.detach())
    torch.testing.assert_close(loss.detach(), CLOSED_FORMS[kind](d).mean(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient(loss, logit), SLOPES[kind](d), rtol=1e-9, atol=1e-12)


@given(real=LOGITS, fake=LOGITS)
def test_critic_loss_is_cross_entropy_with_each_class_by_its_own_mean(real: Tensor, fake: Tensor) -> None:
    expected = -torch.log(torch.sigmoid(real)).mean() - torch.log(torch.sigmoid(-fake)).mean()
    for kind in ("saturating", "non_saturating", "reverse_kl"):
        torch.testing.assert_close(losses.critic_loss(real, fake, kind), expected)
    torch.testing.assert_close(losses.critic_loss(real, fake, "updown"), torch.sigmoid(fake).mean() - torch.sigmoid(real).mean())


@given(logit=LOGITS)
def test_reverse_kl_is_the_difference_of_the_other_two_halved_terms(logit: Tensor) -> None:
    total = losses.generator_loss(logit, "non_saturating") + losses.generator_loss(logit, "saturating")
    torch.testing.assert_close(losses.generator_loss(logit, "reverse_kl"), total)


def test_saturating_is_the_critics_fake_term_with_the_sign_turned() -> None:
    logit = torch.randn(9)
    assert losses.generator_loss(logit, "saturating") == -losses.fake_term(logit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_logits_stay_finite_with_the_right_gradient(kind: str, logit: float) -> None:
    value = torch.full((3,), logit, requires_grad=True)
    loss = losses.generator_loss(value, kind)
    assert torch.isfinite(loss)
    torch.testing.assert_close(gradient(loss, value), SLOPES[kind](torch.sigmoid(value.detach())))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    logit = torch.tensor([-60.0, 3.0, 20.0], dtype=dtype)
    for kind in KINDS:
        loss = losses.generator_loss(logit, kind)
        assert loss.dtype == torch.float32
        assert loss == losses.generator_loss(logit.float(), kind)
    assert losses.critic_loss(logit, logit).dtype == torch.float32


@given(logit=LOGITS, eps=st.floats(1e-6, 0.4))
def test_clipping_a_logit_clips_the_probability(logit: Tensor, eps: float) -> None:
    logit.requires_grad_(True)
    clipped = losses.clip_logit(logit, eps)
    d = torch.sigmoid(logit.detach())
    torch.testing.assert_close(torch.sigmoid(clipped.detach()), d.clamp(eps, 1 - eps))
    inside = (d > eps * (1 + 1e-9)) & (d < 1 - eps * (1 + 1e-9))
    outside = (d < eps * (1 - 1e-9)) | (1 - d < eps * (1 - 1e-9))
    (slope,) = torch.autograd.grad(clipped.sum(), logit)
    assert (slope[inside] == 1).all()
    assert (slope[outside] == 0).all()


@pytest.mark.parametrize("kind", ["saturating", "non_saturating", "reverse_kl"])
def test_clip_kills_the_gradient_of_a_hopeless_generator(kind: str) -> None:
    logit = torch.tensor([-20.0, -8.0], requires_grad=True)
    assert (gradient(losses.generator_loss(logit, kind, clip=1e-3), logit) == 0).all()
    if kind == "non_saturating":
        torch.testing.assert_close(losses.generator_loss(logit, kind, clip=1e-3).detach(), torch.tensor(-math.log(1e-3)))


def test_clip_bounds_even_an_infinite_logit() -> None:
    assert losses.critic_loss(torch.tensor([-math.inf]), torch.tensor([math.inf]), clip=1e-3).item() == pytest.approx(-2 * math.log(1e-3), rel=1e-5)


@pytest.mark.parametrize("eps", [-0.1, 0.5])
def test_impossible_clip_is_refused(eps: float) -> None:
    with pytest.raises(ValueError, match="eps"):
        losses.clip_logit(torch.zeros(1), eps)


def test_at_the_optimal_critic_the_loss_is_the_jensen_shannon_divergence() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    logit, middle = torch.log(p / q), (p + q) / 2
    loss = (p * torch.nn.functional.softplus(-logit) + q * torch.nn.functional.softplus(logit)).sum()
    by_function = sum(p[i] * losses.real_term(logit[i : i + 1]) + q[i] * losses.fake_term(logit[i : i + 1]) for i in range(3))
    divergence = 0.5 * ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum())
    torch.testing.assert_close(by_function, loss)
    torch.testing.assert_close(loss, 2 * math.log(2) - 2 * divergence)


def quadratic(image: Tensor) -> Tensor:
    return image.square().flatten(1).sum(1) / 2


def test_r1_of_a_quadratic_critic_is_the_mean_squared_norm() -> None:
    image = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    penalty = losses.r1_penalty(quadratic(image), image)
    torch.testing.assert_close(penalty, image.square().flatten(1).sum(1).mean())
    (slope,) = torch.autograd.grad(penalty, image)
    torch.testing.assert_close(slope, 2 * image.detach() / 4)


def test_wgan_penalty_of_linear_and_quadratic_critics() -> None:
    real, fake = torch.randn(5, 1, 2, 2), torch.randn(5, 1, 2, 2)
    mix = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    weight = torch.randn(4)
    linear = losses.wgan_penalty(lambda image: image.flatten(1) @ weight, real, fake, mix)
    torch.testing.assert_close(linear, (weight.norm() - 1) ** 2)
    between = mix.view(-1, 1, 1, 1) * real + (1 - mix.view(-1, 1, 1, 1)) * fake
    torch.testing.assert_close(losses.wgan_penalty(quadratic, real, fake, mix), (between.flatten(1).norm(dim=1) - 1).square().mean())


def test_penalties_reach_the_critics_weights() -> None:
    layer = torch.nn.Linear(4, 1)
    real, fake = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    losses.wgan_penalty(lambda image: torch.tanh(layer(image.flatten(1)))[:, 0], real, fake, torch.rand(3)).backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0


# --- variational bounds ---

LOG_WEIGHTS = st.integers(1, 6).flatmap(lambda k: st.lists(st.lists(st.floats(-600, 20), min_size=3, max_size=3), min_size=k, max_size=k))


@given(rows=LOG_WEIGHTS)
def test_the_importance_bound_is_the_log_of_a_mean_between_the_mean_and_the_largest(rows: list[list[float]]) -> None:
    log_w = torch.tensor(rows, dtype=torch.float64)
    bound = losses.importance_bound(log_w)
    top = log_w.amax(0)
    torch.testing.assert_close(bound, ((log_w - top).exp().mean(0).log() + top).mean())
    assert log_w.mean() - 1e-9 <= bound <= log_w.amax(0).mean() + 1e-9
    torch.testing.assert_close(losses.importance_bound(log_w[:1]), log_w[0].mean())
    torch.testing.assert_close(losses.importance_bound(log_w.repeat(3, 1)), bound)


def test_log_probabilities_are_those_of_the_distributions() -> None:
    logit, x = torch.randn(4, 5, 7, dtype=torch.float64) * 9, (torch.rand(5, 7) < 0.5).double()
    torch.testing.assert_close(losses.bernoulli_log_prob(logit, x), torch.distributions.Bernoulli(logits=logit).log_prob(x.expand(4, -1, -1)).sum(-1))
    mean, log_variance = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(losses.normal_log_prob(mean, log_variance, x), normal.log_prob(x).sum(-1))


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_certain_pixels_have_finite_log_probabilities_and_gradients(logit: float) -> None:
    value = torch.full((1, 2, 1), logit, requires_grad=True)
    losses.bernoulli_log_prob(value, torch.tensor([[0.0], [1.0]])).sum().backward()
    assert value.grad is not None and float(value.grad.sum()) == pytest.approx(-1.0 if logit > 0 else 1.0)


def test_local_reconstruction_of_equals_is_zero_and_of_strangers_about_two() -> None:
    """Of normalised features, 2 (1 - correlation) each."""
    torch.manual_seed(0)
    e, d = torch.randn(2, 4000, 6, dtype=torch.float64)
    e, d = (e - e.mean(0)) / e.std(0, unbiased=False), (d - d.mean(0)) / d.std(0, unbiased=False)
    assert losses.local_reconstruction(e, e[None]) == 0
    apart = losses.local_reconstruction(e, d[None])
    assert float(apart) == pytest.approx(2, abs=0.1)
    torch.testing.assert_close(apart, 2 * (1 - (e * d).mean(0)).mean())


def test_local_reconstruction_averages_the_samples_before_it_compares() -> None:
    e, d = torch.randn(5, 3), torch.randn(4, 5, 3)
    torch.testing.assert_close(losses.local_reconstruction(e, d), (e - d.mean(0)).square().mean())
    opposite = torch.stack([e + 1, e - 1])
    assert float(losses.local_reconstruction(e, opposite)) == pytest.approx(0, abs=1e-12)
