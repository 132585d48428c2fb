"""The von Mises-Fisher distribution: its mean cosine and concentration against mpmath, its draws by their moments, the memory's fit and draws."""

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from memogen.memory import DrawNumbers, Policy, VMFMemory
from memogen.memory.functional import fit_concentration, mean_cosine, unit, vmf_draw

DIMS = (2, 3, 4, 8, 17, 64, 256, 1024)
COSINES = (0.05, 0.2, 0.5, 0.7, 0.88, 0.95, 0.98)


def exact_mean_cosine(kappa: float, dim: int) -> float:
    with mpmath.workdps(40):
        return float(mpmath.besseli(mpmath.mpf(dim) / 2, kappa) / mpmath.besseli(mpmath.mpf(dim) / 2 - 1, kappa))


@pytest.mark.parametrize("dim", DIMS)
def test_mean_cosine_is_the_ratio_of_bessel_functions(dim: int) -> None:
    for kappa in (0.01, 0.5, 3.0, 20.0, 300.0, 5000.0):
        exact = exact_mean_cosine(kappa, dim)
        assert abs(float(mean_cosine(kappa, dim)) - exact) <= 2e-4 * min(exact, 1 - exact)


@pytest.mark.parametrize("dim", DIMS)
def test_fitted_concentration_has_the_mean_cosine_asked_for(dim: int) -> None:
    for cosine in COSINES:
        kappa = float(fit_concentration(cosine, dim))
        with mpmath.workdps(30):
            order = mpmath.mpf(dim) / 2
            root = mpmath.findroot(lambda k, order=order, c=cosine: mpmath.besseli(order, k) / mpmath.besseli(order - 1, k) - c, kappa)
        assert abs(kappa - float(root)) <= 1e-3 * float(root)


def test_fit_at_the_edges_is_finite_and_never_negative() -> None:
    cosine = torch.tensor([-0.3, 0.0, 1e-9, 1e-4, 1 - 1e-4, 1.0])
    for dim in DIMS:
        kappa = fit_concentration(cosine, dim)
        assert kappa.dtype == torch.float32
        assert bool(torch.isfinite(kappa).all())
        assert float(kappa[0]) == float(kappa[1]) == 0
        assert bool((kappa.diff() >= 0).all())
        assert math.isclose(float(kappa[3]), 1e-4 * dim, rel_tol=1e-3)


def draws(dim: int, kappa: float, num: int = 40_000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws around one mean, and the mean."""
    generator = torch.Generator().manual_seed(seed)
    mean = unit(torch.randn(1, dim, generator=generator, dtype=torch.float64))
    uniform = torch.rand(num, 16, 3, generator=generator, dtype=torch.float64)
    normal = torch.randn(num, dim, generator=generator, dtype=torch.float64)
    return vmf_draw(mean.expand(num, dim), torch.tensor(kappa), uniform, normal), mean[0]


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.0), (2, 1.0), (2, 30.0), (3, 5.0), (5, 0.5), (16, 200.0), (64, 20.0), (64, 240.0)])
def test_draws_have_the_moments_of_the_distribution(dim: int, kappa: float) -> None:
    drawn, mean = draws(dim, kappa)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(len(drawn), dtype=torch.float64))
    cosine, num = drawn @ mean, len(drawn)
    length = exact_mean_cosine(kappa, dim) if kappa else 0.0
    variance = 1 - length**2 - (dim - 1) * length / kappa if kappa else 1 / dim
    assert abs(float(cosine.mean()) - length) < 4.5 * math.sqrt(variance / num)
    spread = float((cosine - length).square().std()) / math.sqrt(num)
    assert abs(float((cosine - length).square().mean()) - variance) < 4.5 * spread
    tangent = unit(drawn - cosine[:, None] * mean)
    # the tangent directions fill the sphere of the hyperplane evenly: no mean, and the covariance (1 - mean mean^T) / (d - 1)
    torch.testing.assert_close(tangent @ mean, torch.zeros(num, dtype=torch.float64), rtol=0, atol=1e-5)
    assert float(tangent.mean(0).norm()) < 4.5 / math.sqrt(num)
    even = (torch.eye(dim, dtype=torch.float64) - torch.outer(mean, mean)) / (dim - 1)
    assert float((tangent.T @ tangent / num - even).norm()) < 3 / math.sqrt(num)


@pytest.mark.parametrize("kappa", [0.3, 4.0, 50.0])
def test_cosine_on_the_ordinary_sphere_has_the_exponential_distribution(kappa: float) -> None:
    """d = 3: P(cosine <= w) = (e^(kappa w) - e^(-kappa)) / (e^kappa - e^(-kappa))."""
    drawn, mean = draws(3, kappa, 20_000)
    cumulative = lambda w: np.expm1(kappa * (w + 1)) / np.expm1(2 * kappa)  # noqa: E731
    assert stats.kstest((drawn @ mean).numpy(), cumulative).pvalue > 1e-3


@pytest.mark.parametrize(("dim", "kappa"), [(2, 3.0), (8, 10.0), (33, 400.0)])
def test_cosine_has_the_density_in_any_dimension(dim: int, kappa: float) -> None:
    drawn, mean = draws(dim, kappa, 20_000)
    angle = np.linspace(0, math.pi, 200_001)
    weight = np.exp(kappa * (np.cos(angle) - 1)) * np.sin(angle) ** (dim - 2)
    cumulative = np.cumsum(weight) / weight.sum()
    assert stats.kstest(np.arccos((drawn @ mean).numpy()), lambda a: np.interp(a, angle, cumulative)).pvalue > 1e-3


def test_each_row_draws_at_its_own_concentration_and_from_its_own_numbers() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, kappa = unit(torch.randn(9, 5, generator=generator)), torch.rand(9, generator=generator) * 50
    uniform, normal = torch.rand(9, 16, 3, generator=generator, dtype=torch.float64), torch.randn(9, 5, generator=generator)
    together = vmf_draw(mean, kappa, uniform, normal)
    alone = torch.cat([vmf_draw(mean[i : i + 1], kappa[i], uniform[i : i + 1], normal[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(together, alone)


def test_a_zero_mean_has_no_direction_so_its_draws_are_even() -> None:
    drawn = vmf_draw(
        torch.zeros(20_000, 4),
        torch.tensor(30.0),
        torch.rand(20_000, 16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        torch.randn(20_000, 4, generator=torch.Generator().manual_seed(1)),
    )
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(20_000))
    assert float(drawn.mean(0).norm()) < 4.5 / math.sqrt(20_000)


# --- the memory's fit and draws ---


def clustered(num_slots: int, dim: int, kappa: float, steps: int, **options) -> tuple[VMFMemory, torch.Tensor]:
    """A memory whose real slots sit on given centres, written with draws around them; fakes are draws at a fifth of the concentration."""
    generator = torch.Generator().manual_seed(0)
    centres = unit(torch.randn(num_slots // 2, dim, generator=generator))
    memory = VMFMemory(num_slots, dim, concentration=100.0, **options)
    memory.keys.copy_(torch.cat([centres, centres]))
    memory.values.copy_((torch.arange(num_slots) < num_slots // 2).float())
    memory.mass.fill_(50.0)
    for _ in range(steps):
        which = torch.randint(len(centres), (2, 64), generator=generator)
        parts = []
        for row, concentration in zip(which, (kappa, kappa / 5), strict=True):
            numbers = DrawNumbers.random(64, dim, generator=generator)
            parts.append(vmf_draw(centres[row], torch.tensor(concentration), numbers.uniform[:, 1:].unflatten(1, (-1, 3)), numbers.normal))
        memory.write(torch.cat(parts), (torch.arange(128) < 64).float())
        memory.keys.copy_(torch.cat([centres, centres]))
        memory.values.copy_((torch.arange(num_slots) < num_slots // 2).float())
        memory.mass.fill_(50.0)
    return memory, centres


@pytest.mark.parametrize("policy", ["robust", "paper", "code"])
def test_fitted_concentration_is_that_of_the_queries_written(policy: str) -> None:
    memory, _ = clustered(8, 32, 600.0, 60, top_k=8, policy=policy)
    assert math.isclose(float(memory.fitted_concentration()), 600, rel_tol=0.03)
    assert math.isclose(float(memory.fitted_concentration(0)), 120, rel_tol=0.03)


def test_running_cosine_is_the_decayed_mean_over_queries_of_a_full_class() -> None:
    torch.manual_seed(0)
    memory = VMFMemory(12, 5, top_k=12)
    assert float(memory.fitted_concentration()) == memory.concentration
    memory.write(torch.randn(6, 5), 1)  # these queries become the keys
    assert float(memory.fitted_concentration()) == memory.concentration
    total = number = 0.0
    for step in range(5):
        query = unit(torch.randn(4 + step, 5))
        real = memory.values > 0.5
        best = (memory.concentration * query @ memory.keys.T + memory.log_prior()).masked_fill(~real, -torch.inf).argmax(1)
        cosine = (query * memory.keys[best]).sum(1)
        total, number = 0.99 * total + float(cosine.sum()), 0.99 * number + len(query)
        memory.write(query, 1)
        memory.write(torch.randn(2, 5), 0)  # the other class changes nothing
        assert math.isclose(float(memory.fitted_concentration()), float(fit_concentration(total / number, 5)), rel_tol=1e-4)


def test_queries_that_find_no_key_leave_the_cosine_alone() -> None:
    torch.manual_seed(0)
    memory = VMFMemory(10, 4, top_k=10, policy=replace(Policy.preset("robust"), fill_empty=False))
    assert not bool(memory.write(torch.randn(3, 4), 1).overwrites.any())
    assert not bool(memory.cosine.any())


def test_draws_gather_around_keys_of_the_class_at_the_fitted_concentration() -> None:
    memory, centres = clustered(8, 32, 600.0, 60, top_k=8)
    query, slots = memory.draw(20_000, generator=torch.Generator().manual_seed(3))
    assert bool((memory.values[slots] == 1).all())
    assert stats.chisquare(torch.bincount(slots, minlength=8)[:4]).pvalue > 1e-3
    cosine = (query * memory.keys[slots]).sum(1)
    assert math.isclose(float(cosine.mean()), float(mean_cosine(memory.fitted_concentration(), 32)), abs_tol=1e-3)
    query, slots = memory.draw(50, slot=2, generator=torch.Generator().manual_seed(3))
    assert slots.tolist() == [2] * 50
    assert bool((query @ centres.T).argmax(1).eq(2).all())


def test_draws_are_a_function_of_the_numbers_given() -> None:
    memory, _ = clustered(8, 32, 600.0, 2, top_k=8)
    numbers = DrawNumbers.random(30, 32, generator=torch.Generator().manual_seed(4))
    query, slots = memory.draw(30, numbers=numbers)
    part, part_slots = memory.draw(7, numbers=DrawNumbers(*(each[11:18] for each in numbers)))
    assert torch.equal(slots[11:18], part_slots)
    torch.testing.assert_close(query[11:18], part)
    assert torch.equal(slots, memory.sample(30, uniform=numbers.uniform[:, 0])[1])
    assert torch.equal(query, memory.draw(30, generator=torch.Generator().manual_seed(4))[0])


def test_unwritten_slots_are_drawn_only_where_there_are_no_others() -> None:
    torch.manual_seed(0)
    memory = VMFMemory(20, 5, top_k=20)
    _, slots = memory.sample(50)
    assert len(slots.unique()) > 1
    assert bool((memory.values[slots] == 1).all())
    memory.write(torch.randn(3, 5), 1)
    memory.mass[memory.keys.any(1)] = 1e-6  # next to no mass beside the unwritten slots
    keys, slots = memory.draw(200)
    assert bool(memory.keys[slots].any(1).all())
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(200))
