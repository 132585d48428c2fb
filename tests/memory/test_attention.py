"""The attention memory against its equations in NumPy, its start, and its absence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memogen.memory import AttentionMemory
from memogen.memory.attention import check_attention

KINDS = [(addressing, compose) for addressing in ("sigmoid", "softmax") for compose in ("ladder", "additive", "sum")]


def scrambled(query_dim: int = 5, num_slots: int = 4, *, addressing: str = "sigmoid", compose: str = "ladder") -> AttentionMemory:
    """A memory in double precision with random parameters."""
    memory = AttentionMemory(query_dim, num_slots, addressing=addressing, compose=compose).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return memory


def queries(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(memory: AttentionMemory, g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, mix and output as section 3 and appendix D have them, one image after the other."""
    part = {name: tensor.detach().numpy() for name, tensor in memory.named_parameters()}
    score = g @ part["address.weight"].T + part["address.bias"]
    weights = sigmoid(score) if memory.addressing == "sigmoid" else np.exp(score) / np.exp(score).sum(1, keepdims=True)
    m = np.stack([sum(w * slot for w, slot in zip(row, part["slots"], strict=True)) for row in weights])
    if memory.composition != "ladder":
        return weights, m, np.maximum(g + m, 0) if memory.composition == "additive" else g + m
    (a1, a2, a3, a4), (c1, c2, c3, c4) = part["linear"], part["gate"]
    out = a1 + a2 * m + a3 * g + a4 * g * m + part["gain"] * sigmoid(c1 + c2 * m + c3 * g + c4 * g * m)
    return weights, m, np.maximum(out, 0)


@pytest.mark.parametrize(("addressing", "compose"), KINDS)
@given(rows=st.integers(1, 6), seed=st.integers(0, 99))
def test_reading_and_composing_are_the_equations(addressing: str, compose: str, rows: int, seed: int) -> None:
    memory, g = scrambled(addressing=addressing, compose=compose), queries(rows, 5, seed)
    weights, mix, out = by_hand(memory, g.numpy())
    read = memory.read(g)
    np.testing.assert_allclose(read.weights.detach(), weights, rtol=1e-10)
    np.testing.assert_allclose(read.mix.detach(), mix, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(memory(g).detach(), out, rtol=1e-9, atol=1e-12)


@given(rows=st.integers(1, 4), slots=st.integers(1, 9), width=st.integers(1, 9))
def test_a_fresh_ladder_lets_its_input_through_and_learns_by_the_outer_coefficients_first(rows: int, slots: int, width: int) -> None:
    """a3 = c3 = 1 and the rest 0: relu(g) comes out; slots, addresses and gate have no gradient yet, a1, a2, a4 and b1 have one."""
    torch.manual_seed(rows)
    memory, g = AttentionMemory(width, slots), torch.rand(rows, width) + 0.1
    out = memory(g)
    assert torch.equal(out, g)
    out.square().sum().backward()
    for name, parameter in memory.named_parameters():
        assert parameter.grad is not None
        if name in ("slots", "address.weight", "address.bias", "gate"):
            assert (parameter.grad == 0).all(), name
        else:
            assert (parameter.grad != 0).all(), name


def test_initial_parameters() -> None:
    torch.manual_seed(0)
    memory = AttentionMemory(400, 300)
    assert float(memory.slots.detach().std()) == pytest.approx(0.01, rel=0.02)
    bound = (6 / 700) ** 0.5
    assert float(memory.address.weight.detach().abs().max()) <= bound
    assert float(memory.address.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert (memory.address.bias == 0).all()
    assert sum(p.numel() for p in memory.parameters()) == 2 * 400 * 300 + 300 + 9 * 400
    assert sum(p.numel() for p in AttentionMemory(400, 300, compose="additive").parameters()) == 2 * 400 * 300 + 300


@pytest.mark.parametrize(("addressing", "compose"), KINDS)
def test_every_parameter_learns(addressing: str, compose: str) -> None:
    memory, g = scrambled(addressing=addressing, compose=compose), queries(7, 5).requires_grad_()
    assert torch.autograd.gradcheck(memory, (g,))
    memory(g).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in memory.parameters())


def test_softmax_weights_are_a_distribution_and_sigmoid_weights_are_each_their_own() -> None:
    g = queries(6, 5)
    weights = scrambled(addressing="softmax").read(g).weights
    torch.testing.assert_close(weights.sum(1), torch.ones(6, dtype=torch.float64))
    memory = scrambled()
    before = memory.read(g).weights.detach().clone()
    with torch.no_grad():
        memory.address.bias[0] += 1
    after = memory.read(g).weights
    assert torch.equal(after[:, 1:], before[:, 1:]) and (after[:, 0] > before[:, 0]).all()


@pytest.mark.parametrize("compose", ["ladder", "additive", "sum"])
@pytest.mark.parametrize(("fill", "value"), [("ones", 1.0), ("zeros", 0.0)])
def test_without_a_memory_a_constant_answers(compose: str, fill: str, value: float) -> None:
    memory, g = scrambled(compose=compose), queries(3, 5)
    expected = memory.compose(g, torch.full_like(g, value))
    assert torch.equal(memory(g, without=fill), expected)
    assert not torch.equal(memory(g), expected)
    with torch.no_grad():
        memory.slots.add_(5)
    assert torch.equal(memory(g, without=fill), expected)


def test_reading_changes_nothing() -> None:
    memory = scrambled()
    before = {name: tensor.clone() for name, tensor in memory.state_dict().items()}
    memory(queries(3, 5)), memory.read(queries(3, 5)), memory(queries(3, 5), without="ones")
    assert all(torch.equal(tensor, before[name]) for name, tensor in memory.state_dict().items())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_slots": 0}, "num_slots 0"),
        ({"query_dim": 0}, "query_dim 0"),
        ({"addressing": "hard"}, "addressing is 'hard'"),
        ({"compose": "product"}, "compose is 'product'"),
        ({"slot_std": -1.0}, "slot_std is -1"),
    ],
)
def test_impossible_memories_are_refused(options: dict[str, object], complaint: str) -> None:
    good: dict[str, object] = {"query_dim": 4, "num_slots": 3, "addressing": "sigmoid", "compose": "ladder", "slot_std": 0.01}
    with pytest.raises(ValueError, match=complaint):
        check_attention(**{**good, **options})
