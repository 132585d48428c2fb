"""The equations: the normaliser against mpmath, Eq. 1-5 against NumPy, the identities of EM."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.memory import functional
from memogen.memory.functional import EMState, Statistics, em_step, log_normaliser, log_prior, m_step, unit

DIMS = (2, 3, 4, 5, 16, 33, 81, 82, 83, 128, 512, 4096)
KAPPAS = (1e-3, 0.1, 1.0, 7.3, 40.0, 500.0, 1e4, 1e5)


def exact_log_normaliser(kappa: float, dim: int) -> mpmath.mpf:
    order = mpmath.mpf(dim) / 2 - 1
    return order * mpmath.log(kappa) - mpmath.mpf(dim) / 2 * mpmath.log(2 * mpmath.pi) - mpmath.log(mpmath.besseli(order, kappa))


@pytest.mark.parametrize("dim", DIMS)
def test_normaliser_agrees_with_mpmath(dim: int) -> None:
    with mpmath.workdps(40):
        for kappa in KAPPAS:
            exact = float(exact_log_normaliser(kappa, dim))
            assert abs(float(log_normaliser(kappa, dim)) - exact) <= 1e-9 * max(1, abs(exact))


@pytest.mark.parametrize("dim", (2, 3, 17, 256, 4096))
def test_derivative_of_normaliser_is_minus_the_mean_resultant_length(dim: int) -> None:
    kappa = torch.tensor(KAPPAS, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_normaliser(kappa, dim).sum(), kappa)
    with mpmath.workdps(40):
        order = mpmath.mpf(dim) / 2 - 1
        length = [float(mpmath.besseli(order + 1, k) / mpmath.besseli(order, k)) for k in KAPPAS]
    np.testing.assert_allclose(slope, [-r for r in length], rtol=1e-7)


def test_normaliser_closed_form_on_the_ordinary_sphere() -> None:
    kappa = torch.tensor([0.5, 2.0, 30.0], dtype=torch.float64)
    torch.testing.assert_close(log_normaliser(kappa, 3), torch.log(kappa / (4 * math.pi * torch.sinh(kappa))))


def test_normaliser_keeps_the_dtype_and_refuses_a_line() -> None:
    assert log_normaliser(torch.tensor(2.0), 8).dtype == torch.float32
    with pytest.raises(ValueError, match="at least 2"):
        log_normaliser(1.0, 1)


def test_density_integrates_to_one_on_the_circle() -> None:
    angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
    for kappa in (0.3, 5.0, 60.0):
        density = torch.exp(log_normaliser(kappa, 2) + kappa * torch.cos(angle))
        assert math.isclose(float(density.mean() * 2 * math.pi), 1, rel_tol=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_priors_are_distributions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mass = torch.rand(11, generator=generator, dtype=torch.float64) * 3
    values = (torch.arange(11) < 4).double()
    joint = log_prior(mass, values, smoothing=0.1).exp()
    torch.testing.assert_close(joint, (mass + 0.1) / (mass + 0.1).sum())
    by_class = log_prior(mass, values, smoothing=0.1, prior="by_class").exp()
    torch.testing.assert_close(by_class[:4].sum(), torch.tensor(0.5, dtype=torch.float64))
    torch.testing.assert_close(by_class[4:] * (mass[4:] + 0.1).sum() * 2, mass[4:] + 0.1)


def numpy_em(keys, mass, queries, support, kappa, alpha, steps):
    """Eqs. 1 and 5 as the paper writes them, one slot and one query at a time, on unnormalised sums; normalised at the end of each iteration."""
    touched = support.any(0)
    start = np.where(touched, alpha * mass, mass)
    key_now, mass_now = keys.copy(), start.copy()
    for _ in range(steps):
        gamma = np.zeros(support.shape)
        for b, q in enumerate(queries):
            weight = np.where(support[b], np.exp(kappa * key_now @ q) * (mass_now + 1e-8), 0)
            gamma[b] = weight / weight.sum()
        mass_now, sums = start.copy(), start[:, None] * keys
        for b, q in enumerate(queries):
            for i in range(len(keys)):
                mass_now[i] += gamma[b, i]
                sums[i] += gamma[b, i] * q
        key_now = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return key_now, mass_now


@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([0.5, 0.9, 1.0]), st.sampled_from([1.0, 12.0]))
@settings(max_examples=25, deadline=None)
def test_em_step_is_equation_5(seed: int, steps: int, alpha: float, kappa: float) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(9, 5))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queries = rng.normal(size=(6, 5))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    mass, support = rng.uniform(0.1, 2, 9), rng.uniform(size=(6, 9)) < 0.5
    support[:, 0] = True
    key, weight = numpy_em(keys, mass, queries, support, kappa, alpha, steps)
    base = torch.where(torch.tensor(support).any(0), alpha * torch.tensor(mass), torch.tensor(mass))
    state = EMState(torch.tensor(keys), base, torch.tensor(keys), base)
    for _ in range(steps):
        state = em_step(state, torch.tensor(queries), torch.tensor(support), concentration=kappa)
    np.testing.assert_allclose(state.mass, weight, rtol=1e-10)
    np.testing.assert_allclose(state.keys, key, rtol=1e-8, atol=1e-10)


def test_one_query_one_iteration_is_the_incremental_formula() -> None:
    """K + gamma / h (q - K), normalised: Eq. 5 literally."""
    torch.manual_seed(0)
    keys, query = unit(torch.randn(4, 3, dtype=torch.float64)), unit(torch.randn(1, 3, dtype=torch.float64))
    mass, gamma = torch.rand(4, dtype=torch.float64), torch.softmax(torch.randn(1, 4, dtype=torch.float64), 1)
    state = m_step(EMState(keys, 0.5 * mass, keys, 0.5 * mass), Statistics.of(query, gamma))
    h = 0.5 * mass + gamma[0]
    torch.testing.assert_close(state.mass, h)
    torch.testing.assert_close(state.keys, unit(keys + (gamma[0] / h)[:, None] * (query - keys)))


def test_unit_histogram_never_overshoots() -> None:
    """64 clustered queries on one slot: the key lands on them, not beyond."""
    keys = torch.tensor([[1.0, 0.0]])
    query = torch.tensor([[0.0, 1.0]]).expand(64, 2)
    state = m_step(EMState(keys, torch.ones(1), keys, torch.ones(1)), Statistics.of(query, torch.ones(64, 1)), histogram="unit")
    torch.testing.assert_close(state.keys, torch.tensor([[0.0, 1.0]]))


def test_canonical_order_follows_content() -> None:
    torch.manual_seed(1)
    query, value = torch.randn(40, 7), (torch.rand(40) < 0.5).float()
    shuffle = torch.randperm(40)
    order, other = functional.canonical_order(query, value), functional.canonical_order(query[shuffle], value[shuffle])
    assert torch.equal(query[order], query[shuffle][other])
    assert torch.equal(value[order].sort().values, value[order])


def test_unit_leaves_a_zero_row_alone() -> None:
    assert torch.equal(unit(torch.zeros(2, 3)), torch.zeros(2, 3))
