"""VMFMemory: what reading, writing and sampling promise."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from memogen.memory import MemoryWrite, Policy, VMFMemory, lookup
from memogen.memory.functional import canonical_order, unit

PRESETS = ("paper", "code", "robust")
ROBUST = Policy.preset("robust")


def random_memory(seed: int, num_slots: int = 24, key_dim: int = 6, *, real: float = 0.5, **options) -> VMFMemory:
    """A memory in the middle of its life, in float64."""
    torch.manual_seed(seed)
    memory = VMFMemory(num_slots, key_dim, **options).double()
    memory.keys.copy_(unit(torch.randn(num_slots, key_dim, dtype=torch.float64)))
    memory.values.copy_((torch.rand(num_slots) < real).double())
    memory.mass.copy_(torch.rand(num_slots, dtype=torch.float64) + 0.05)
    memory.age.copy_(torch.randint(0, 50, (num_slots,)))
    return memory


def labelled(seed: int, num: int = 10, key_dim: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, key_dim, generator=generator, dtype=torch.float64), (torch.rand(num, generator=generator) < 0.5).double()


def state(memory: VMFMemory) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in memory.named_buffers()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("preset", PRESETS)
def test_reading_changes_no_buffer(preset: str) -> None:
    memory = random_memory(0, policy=preset)
    before, (query, _) = state(memory), labelled(1)
    memory.train()
    memory(query), memory.posterior(query), memory.log_likelihood(query), memory.sample(5), memory(query)
    assert same(before, state(memory))


@given(st.integers(0, 10_000), st.sampled_from(["joint", "by_class"]), st.sampled_from(["joint", "by_class"]), st.floats(0, 1), st.integers(5, 24))
@settings(max_examples=40, deadline=None)
def test_covering_lookup_is_the_dense_posterior(seed: int, how: str, prior: str, real: float, num_slots: int) -> None:
    memory = random_memory(seed, num_slots, real=real, top_k=num_slots, policy=replace(ROBUST, lookup=how, prior=prior))
    query, _ = labelled(seed)
    read, dense = memory(query), memory.posterior(query)
    torch.testing.assert_close(torch.zeros_like(dense).scatter(1, read.slots, read.weights), dense)
    torch.testing.assert_close(read.value, dense @ memory.values)


@given(st.integers(0, 10_000), st.sampled_from(["joint", "by_class"]), st.floats(0.1, 0.9), st.integers(1, 24))
@settings(max_examples=40, deadline=None)
def test_values_weighted_by_the_posterior_give_the_value_and_its_logit(seed: int, how: str, real: float, top_k: int) -> None:
    memory = random_memory(seed, real=real, top_k=top_k, policy=replace(ROBUST, lookup=how))
    read = memory(labelled(seed)[0])
    torch.testing.assert_close((read.weights * memory.values[read.slots]).sum(1), read.value)
    torch.testing.assert_close(torch.sigmoid(read.logit), read.value)


def test_equations_1_to_4_against_numpy() -> None:
    for seed in range(10):
        memory = random_memory(seed, top_k=7, concentration=1.0, policy="paper")
        query, _ = labelled(seed)
        keys, mass, values = (getattr(memory, name).numpy() for name in ("keys", "mass", "values"))
        for q, logit, value in zip(unit(query).numpy(), memory(query).logit, memory(query).value, strict=True):
            weight = np.exp(keys @ q) * (mass + 1e-8)
            best = np.argsort(-weight)[:7]
            p = (weight * values)[best].sum() / weight[best].sum()
            assert math.isclose(float(value), p, rel_tol=1e-10, abs_tol=1e-12)
            clipped = min(max(p, 1e-3), 1 - 1e-3)
            assert math.isclose(float(logit), math.log(clipped / (1 - clipped)), rel_tol=1e-8, abs_tol=1e-8)


def numpy_write(memory: VMFMemory, query: np.ndarray, label: float) -> dict[str, np.ndarray]:
    """Section 3.1.2 for a single query, T = 1, alpha = 0.5, kappa = 1, as the paper reads."""
    keys, mass, values, age = (getattr(memory, name).numpy().copy() for name in ("keys", "mass", "values", "age"))
    weight, age = np.exp(keys @ query) * (mass + 1e-8), age + 1
    if values[np.argmax(weight)] != label:
        oldest = np.argmax(age)
        keys[oldest], values[oldest], age[oldest], mass[oldest] = query, label, 0, mass.mean()
    else:
        right = np.flatnonzero(values == label)
        chosen = right[np.argsort(-weight[right])][: memory.top_k]
        gamma = weight[chosen] / weight[chosen].sum()
        mass[chosen] = 0.5 * mass[chosen] + gamma
        keys[chosen] += (gamma / mass[chosen])[:, None] * (query - keys[chosen])
        keys[chosen] /= np.linalg.norm(keys[chosen], axis=1, keepdims=True)
        age[chosen] = 0
    return {"keys": keys, "mass": mass, "values": values, "age": age}


@pytest.mark.parametrize("shared_slot", ["merged", "last"])
def test_write_of_one_query_against_numpy(shared_slot: str) -> None:
    for seed in range(20):
        memory = random_memory(seed, top_k=5, concentration=1.0, policy=replace(Policy.preset("paper"), shared_slot=shared_slot))
        query, value = labelled(seed, num=1)
        expected = numpy_write(memory, unit(query)[0].numpy(), float(value))
        memory.write(query, value)
        for name, array in expected.items():
            np.testing.assert_allclose(getattr(memory, name), array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_last_query_of_a_shared_slot_wins() -> None:
    """In canonical order, whatever the order they come in: a write of both moves the slot as a write of the last one alone."""
    policy = replace(Policy.preset("paper"), shared_slot="last")
    for seed in range(5):
        query, value = labelled(seed, num=2)[0], torch.ones(2)
        both, alone = (random_memory(seed, real=1.0, top_k=24, policy=policy) for _ in range(2))
        both.write(query, value)
        last = canonical_order(unit(query), value)[-1]
        alone.write(query[last][None], 1)
        for name in ("keys", "mass"):
            torch.testing.assert_close(getattr(both, name), getattr(alone, name))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_em_never_lowers_the_likelihood(preset: str, spread: float) -> None:
    """Decay 1, all slots, fixed concentration, one fixed batch; all slots are real, so none is overwritten. Only gamma counts are promised this."""
    policy = replace(Policy.preset(preset), histogram="fraction", shared_slot="merged", label_match="hard")
    memory = random_memory(0, 40, 8, real=1.0, top_k=40, decay=1.0, policy=policy)
    query = spread * labelled(1, 60, 8)[0] + torch.eye(8, dtype=torch.float64)[0]
    likelihood = []
    for _ in range(40):
        assert not memory.write(query, 1).overwrites.any()
        likelihood.append(float(memory.log_likelihood(query).mean()))
    steps = np.diff(likelihood)
    assert steps.min() > -1e-10
    assert likelihood[-1] > likelihood[0] + 0.01


def test_em_iterations_climb_the_penalised_likelihood() -> None:
    """With T iterations in one write the old statistics act as a prior; log-likelihood plus that prior never falls with T."""
    kappa, query = 15.0, unit(labelled(5, 30)[0])
    before = random_memory(4, real=1.0)
    climbed = []
    for steps in range(1, 9):
        memory = random_memory(4, real=1.0, top_k=24, em_steps=steps, concentration=kappa, policy=replace(ROBUST, mass_floor=0.0))
        memory.write(query, 1)
        weight = torch.log(memory.mass / memory.mass.sum())
        prior = (0.5 * before.mass * (weight + kappa * (before.keys * memory.keys).sum(1))).sum()
        climbed.append(float(torch.logsumexp(kappa * query @ memory.keys.T + weight, 1).sum() + prior))
    assert np.diff(climbed).min() > -1e-6
    assert climbed[-1] > climbed[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_order_inside_a_batch_does_not_matter(preset: str) -> None:
    for seed in range(5):
        one, other = (random_memory(seed, top_k=8, policy=preset) for _ in range(2))
        query, value = labelled(seed, 12)
        shuffle = torch.randperm(12)
        told, told_other = one.write(query, value), other.write(query[shuffle], value[shuffle])
        torch.testing.assert_close(state(one), state(other), rtol=1e-12, atol=1e-12)
        assert torch.equal(told.overwrites[shuffle], told_other.overwrites)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_read_given_to_write_changes_nothing(preset: str) -> None:
    for seed in range(5):
        one, other = (random_memory(seed, top_k=8, policy=preset) for _ in range(2))
        query, value = labelled(seed, 12)
        one.write(query, value)
        other.write(query, value, other(query))
        torch.testing.assert_close(state(one), state(other), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
def test_invariants_of_any_history(preset: str) -> None:
    """Unit rows once written, values 0 or 1, mass positive, ages counted, replaced and touched slots apart."""
    torch.manual_seed(0)
    memory = VMFMemory(32, 6, top_k=8, policy=preset)
    for step in range(30):
        age = memory.age.clone()
        query, value = labelled(step, 16)
        done = memory.write(query, value)
        norm = memory.keys.norm(dim=1)
        assert bool(((norm - 1).abs() < 1e-5).logical_or(norm == 0).all())
        assert bool(((memory.values == 0) | (memory.values == 1)).all())
        assert bool((memory.mass > 0).all())
        assert not bool((done.touched & done.replaced).any())
        used = done.touched | done.replaced
        torch.testing.assert_close(memory.age, torch.where(used, 0, age + 1))
        assert int(done.replaced.sum()) == int(done.overwrites.sum())


def test_replacement_takes_the_oldest_untouched_slot_of_the_class() -> None:
    memory = random_memory(0, 8, 2, top_k=2, policy=replace(ROBUST, fill_empty=False, age_reset="looked_up"))
    memory.values.copy_(torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]))
    memory.keys.copy_(unit(torch.tensor([[1.0, 0], [1, 0.1], [1, -0.1], [1, 0.2], [-1, 0], [-1, 0.1], [-1, 0.2], [-1, 0.3]]).double()))
    memory.age.copy_(torch.tensor([3.0, 9, 9, 1, 50, 2, 3, 4]))
    done = memory.write(torch.tensor([[-1.0, 0.0]]), 1)  # a real query amid the fakes
    assert done.replaced.nonzero().flatten().tolist() == [1]
    torch.testing.assert_close(memory.keys[1], torch.tensor([-1.0, 0.0], dtype=torch.float64))
    assert float(memory.values[1]) == 1


def test_only_the_best_slot_of_a_query_counts_as_used() -> None:
    for age_reset, touched in (("best", [True, False, False]), ("looked_up", [True, True, True])):
        memory = random_memory(0, 6, 2, top_k=6, policy=replace(ROBUST, fill_empty=False, age_reset=age_reset))
        memory.values.copy_(torch.tensor([1.0, 1, 1, 0, 0, 0]))
        memory.keys.copy_(unit(torch.tensor([[1.0, 0], [1, 0.3], [1, 0.6], [-1, 0], [-1, 0.1], [-1, 0.2]]).double()))
        before = memory.keys.clone()
        done = memory.write(torch.tensor([[1.0, -0.1]]), 1)
        assert done.touched[:3].tolist() == touched
        assert (memory.age[:3] == 0).tolist() == touched
        assert not torch.isclose(before, memory.keys)[1].all()  # EM moves every slot looked up all the same


def test_queries_without_a_free_slot_are_dropped_and_told() -> None:
    memory = random_memory(0, 4, 2, top_k=4, policy=replace(ROBUST, fill_empty=False, age_reset="looked_up"))
    memory.values.copy_(torch.tensor([1.0, 1, 0, 0]))
    memory.keys.copy_(unit(torch.tensor([[1.0, 0], [1, 0.1], [-1, 0], [-1, 0.1]]).double()))
    done = memory.write(torch.tensor([[-1.0, 0.0]]).repeat(3, 1) + torch.tensor([[0.0, 0.0], [0.0, 0.01], [0.0, 0.02]]), 1)
    assert int(done.overwrites.sum()) == 2
    assert int(done.dropped.sum()) == 1


def test_first_queries_fill_the_unwritten_slots() -> None:
    memory = VMFMemory(20, 5, top_k=20)
    query = torch.randn(6, 5)
    memory.write(query, 1)
    assert int((memory.keys.norm(dim=1) > 0).sum()) == 6
    torch.testing.assert_close((unit(query) @ memory.keys.T).amax(1), torch.ones(6))
    memory.write(torch.randn(30, 5), 1)
    assert int((memory.keys.norm(dim=1) > 0).sum()) == 10


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("addressed", [False, True])
def test_sampled_frequencies_match_the_mass(value: int, addressed: bool) -> None:
    memory = random_memory(7, 30)
    uniform = torch.rand(50_000, generator=torch.Generator().manual_seed(3)) if addressed else None
    keys, slots = memory.sample(50_000, value=value, generator=torch.Generator().manual_seed(2), uniform=uniform)
    assert torch.equal(keys, memory.keys[slots])
    right = memory.values == value
    counts = torch.bincount(slots, minlength=30).double()
    assert float(counts[~right].sum()) == 0
    expected = memory.mass[right] / memory.mass[right].sum() * 50_000
    assert stats.chisquare(counts[right], expected).pvalue > 1e-3


def test_sampling_at_the_edges_stays_inside_the_class() -> None:
    memory = random_memory(7, 30)
    memory.mass[memory.values == 1] *= torch.arange(int(memory.values.sum())) % 2
    _, slots = memory.sample(2, uniform=torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert bool(((memory.values[slots] == 1) & (memory.mass[slots] > 0)).all())


def test_log_likelihood_integrates_to_one() -> None:
    memory = random_memory(1, 12, 3, concentration=9.0)
    generator = torch.Generator().manual_seed(0)
    points = unit(torch.randn(200_000, 3, generator=generator, dtype=torch.float64))
    for value in (0, 1):
        density = memory.log_likelihood(points, value=value).exp()
        assert abs(float(density.mean()) * 4 * math.pi - 1) < 0.02


def test_gradient_reaches_the_query_and_no_key() -> None:
    memory = random_memory(2)
    query = labelled(2)[0].requires_grad_()
    torch.autograd.gradcheck(lambda q: memory(q).logit, (query,))
    assert all(not buffer.requires_grad for buffer in memory.buffers())


def test_float32_whatever_the_autocast() -> None:
    memory = VMFMemory(16, 8, top_k=16)
    memory.write(torch.randn(20, 8), torch.arange(20) % 2)
    query = torch.randn(5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, half = memory(query), memory(query.bfloat16())
    assert inside.logit.dtype == half.logit.dtype == torch.float32
    assert torch.equal(inside.logit, memory(query).logit)


def test_state_dict_keeps_the_memory() -> None:
    memory, other = random_memory(5), random_memory(6)
    other.load_state_dict(memory.state_dict())
    assert same(state(memory), state(other))


def test_kaiser_rule_moves_the_nearest_slot_to_the_sum() -> None:
    for seed in range(5):
        memory = random_memory(seed, policy=replace(ROBUST, rule="kaiser"))
        query = unit(memory.keys[memory.values == 1][:1] + 0.05 * labelled(seed, num=1)[0])  # next to a real slot, so that none is overwritten
        keys = memory.keys.clone()
        nearest = torch.where(memory.values == 1, 20 * (query @ keys.T)[0] + memory.log_prior(), -torch.inf).argmax()
        assert not memory.write(query, 1).overwrites.any()
        keys[nearest] = unit(keys[nearest] + query[0])
        torch.testing.assert_close(memory.keys, keys)


def test_the_oldest_slot_is_of_the_query_s_class_or_of_all() -> None:
    for oldest, slot in (("of_class", 1), ("of_all", 3)):
        memory = random_memory(0, 4, 2, top_k=1, policy=replace(Policy.preset("paper"), oldest=oldest))
        memory.values.copy_(torch.tensor([1.0, 1, 0, 0]))
        memory.keys.copy_(unit(torch.tensor([[1.0, 0], [1, 0.1], [-1, 0], [0, 1]]).double()))
        memory.age.copy_(torch.tensor([1.0, 5, 3, 9]))
        done = memory.write(torch.tensor([[-1.0, 0.0]]), 1)  # a real query beside a fake key
        assert done.replaced.nonzero().flatten().tolist() == [slot]
        assert float(memory.values[slot]) == 1


def test_presets_are_the_readings_of_the_paper_and_of_its_code() -> None:
    paper, code = (Policy.preset(name) for name in ("paper", "code"))
    assert code == replace(paper, decayed_mass=True, histogram="unit", shared_slot="last", label_match="soft")
    assert (paper.lookup, paper.prior, paper.clip, paper.mass_floor, paper.oldest) == ("joint", "joint", 1e-3, 0, "of_all")
    assert (ROBUST.lookup, ROBUST.prior, ROBUST.clip, ROBUST.mass_floor, ROBUST.oldest) == ("by_class", "by_class", 0, 2, "of_class")
    for name in PRESETS:
        assert VMFMemory(4, 3, policy=name).policy == Policy.preset(name)


def test_bad_arguments_are_refused() -> None:
    for wrong in ({"num_slots": 1}, {"key_dim": 1}, {"top_k": 0}, {"concentration": 0.0}, {"decay": 1.5}, {"em_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            VMFMemory(**{"num_slots": 8, "key_dim": 4, **wrong})
    with pytest.raises(ValueError, match=r"expected \(batch, 4\)"):
        VMFMemory(8, 4)(torch.randn(3, 5))
    for wrong in ({"clip": 0.7}, {"mass_floor": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(ROBUST, **wrong)


# --- few slots of many: sums over rows in place of matrix products ---


def both_ways(preset: str, monkeypatch: pytest.MonkeyPatch, work: Callable[[VMFMemory], object]) -> list[tuple[VMFMemory, object]]:
    """The same work by rows and by matrix products, on the same memory of 96 slots and lookups of 6."""
    done = []
    for sparse in (1, 1000):
        monkeypatch.setattr(lookup, "SPARSE", sparse)
        memory = random_memory(7, 96, real=0.6, top_k=6, policy=preset)
        assert lookup.is_sparse(memory.top_k, memory.num_slots) == (sparse == 1)
        done.append((memory, work(memory)))
    return done


@pytest.mark.parametrize("preset", PRESETS)
def test_a_gradient_by_rows_is_the_one_by_products(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query = torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def gradients(memory: VMFMemory) -> tuple[torch.Tensor, torch.Tensor]:
        logit = memory(query).logit
        first = torch.autograd.grad(logit.sum(), query, create_graph=True)[0]
        return first, torch.autograd.grad((first**2).sum(), query)[0]

    (_, rows), (_, products) = both_ways(preset, monkeypatch, gradients)
    for mine, other in zip(rows, products, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_write_by_rows_is_the_one_by_products(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(1)
    batches = [torch.randn(12, 6, dtype=torch.float64, generator=draws) for _ in range(4)]

    def writes(memory: VMFMemory) -> list[MemoryWrite]:
        return [memory.write(batch, (torch.arange(12) % 3 > 0).double()) for batch in batches]

    (rows, told), (products, others) = both_ways(preset, monkeypatch, writes)
    for name, buffer in rows.named_buffers():
        torch.testing.assert_close(buffer, dict(products.named_buffers())[name], rtol=1e-9, atol=1e-12, msg=name)
    for mine, other in zip(told, others, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


def test_a_write_by_rows_leaves_the_other_slots_to_the_bit() -> None:
    memory = random_memory(3, 256, top_k=4)
    assert lookup.is_sparse(memory.top_k, memory.num_slots)
    keys, mass = memory.keys.clone(), memory.mass.clone()
    done = memory.write(memory.keys[:5] + 0.01, memory.values[:5])
    looked_up = memory(memory.keys[:5]).slots.unique()
    still = torch.ones(256, dtype=torch.bool).index_fill_(0, looked_up, False) & ~done.replaced & ~done.touched
    assert int(still.sum()) > 200
    same = (memory.keys == keys).all(1) & (memory.mass == mass)
    assert int((~same).sum()) <= 5 * 4


def test_a_backward_pass_after_a_write_is_refused() -> None:
    memory, query = random_memory(3, 256, top_k=4), torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    read = memory(query)
    memory.write(query, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        read.logit.sum().backward()
