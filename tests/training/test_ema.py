"""Averages against their closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.training.ema import averaged_model, start_averages
from tests.training.toy import DATA, ToyConfig


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=12), decay=st.floats(0.01, 0.999))
def test_the_average_is_the_weighted_sum_of_the_weights(values: list[float], decay: float) -> None:
    """a_T = sum_t (1 - d_t) w_t prod_{s > t} d_s, with d_t = min(decay, (1 + t) / (10 + t)) and the initial weights weighing prod d_s."""
    model = ToyConfig().build().double()
    torch.nn.init.ones_(model.generator[0].bias)
    averages = start_averages(model, decay)
    for t, value in enumerate(values):
        torch.nn.init.constant_(model.generator[0].bias, value)
        averages.update(t)
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(len(values))]
    rest = [torch.tensor(decays[t + 1 :]).double().prod().item() for t in range(len(values))]
    expected = rest[0] * decays[0] + sum((1 - d) * value * r for d, value, r in zip(decays, values, rest, strict=True))
    assert averages.values["generator.0.bias"].tolist() == pytest.approx([expected] * 6, abs=1e-6)


def test_only_the_named_parts_are_averaged() -> None:
    model = ToyConfig().build()
    assert set(start_averages(model, 0.9).values) == {f"generator.{name}" for name, _ in model.generator.named_parameters()}
    assert start_averages(model, 0.0) is None


def test_an_averaged_model_is_an_independent_calibrated_copy_with_the_live_buffers() -> None:
    model = ToyConfig().build()
    averages = start_averages(model, 0.9)
    with torch.no_grad():
        model.generator[0].weight.add_(1)
        model.critic[0].weight.add_(1)
        model.memory.fill_(3)
        model.generator[1].running_mean.fill_(2)
    copied = averaged_model(model, averages, DATA)
    assert torch.equal(copied.generator[0].weight, averages.values["generator.0.weight"])
    assert torch.equal(copied.critic[0].weight, model.critic[0].weight)
    assert copied.memory.tolist() == [3] * 16
    assert copied.generator[1].running_mean.tolist() == [2] * 6
    assert (copied.calibrations, copied.training, model.training, model.calibrations) == (1, False, True, 0)
    copied.memory.zero_()
    assert model.memory.tolist() == [3] * 16
    assert torch.equal(averaged_model(model, None, DATA).generator[0].weight, model.generator[0].weight)
