"""What a decoder's memory is worth: nothing where every image gets the same answer, and the bound's own difference where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memogen.metrics.memory_use import BATCH, SAMPLES, effective_slots, memory_use
from memogen.metrics.registry import METRICS
from memogen.metrics.slot_contents import Preferences
from memogen.models import AttentionConfig, MemoryGANConfig, MemVAE, MemVAEConfig
from memogen.types import ImageData, InputError

LABEL = np.arange(150) % 2


def model(slots: tuple[int, ...] = (6, 5)) -> MemVAE:
    torch.manual_seed(0)
    config = MemVAEConfig((1, 4, 4), hidden=(12, 8), latent_dim=3, memory=AttentionConfig(slots, slot_std=1.0), pixel_levels=255)
    built = config.build().eval()
    for layer in built.decoder.stack:
        if layer.memory is not None:
            torch.nn.init.normal_(layer.memory.linear)
            torch.nn.init.normal_(layer.memory.gate)
            torch.nn.init.normal_(layer.memory.gain)
    return built


def pictures() -> ImageData:
    image = (np.random.default_rng(0).random((150, 1, 4, 4)) < 0.5).astype(np.uint8) * 255
    return ImageData(image, LABEL, ("a", "b"), "pictures", "test")


def test_a_memory_that_answers_every_query_alike_is_worth_nothing() -> None:
    plain = model()
    for layer in plain.decoder.stack:
        assert layer.memory is not None
        torch.nn.init.zeros_(layer.memory.address.weight)
    found = memory_use(plain, pictures())
    np.testing.assert_allclose(found.of_all, 0, atol=1e-4)
    assert abs(found.mean) < 1e-5


def test_it_is_the_difference_of_the_bounds_with_the_mean_answer_in_place_of_each() -> None:
    memory, data = model(), pictures()
    found = memory_use(memory, data, seed=3)
    image, index = torch.from_numpy(data.image[:BATCH]), torch.arange(BATCH)
    whole = memory.log_weights(image, num_samples=SAMPLES, seed=3, index=index)

    def with_mean_answer(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], read: object) -> torch.Tensor:
        (g,) = inputs
        weights = torch.sigmoid(module.address(g))  # type: ignore[operator]
        mix = (weights @ module.slots).mean(0)  # type: ignore[operator]
        composed: torch.Tensor = module.compose(g, mix.expand_as(g))  # type: ignore[operator]
        return composed

    lowest = memory.decoder.stack[0]
    before = type(lowest).forward

    def forward(self: object, h: torch.Tensor, *, without: object = None) -> object:
        layer = before(self, h)  # type: ignore[arg-type]
        if self is not lowest:
            return layer
        g = lowest.dense(h)
        assert lowest.memory is not None
        return layer._replace(output=with_mean_answer(lowest.memory, (g,), None))

    type(lowest).forward = forward  # type: ignore[assignment,method-assign]
    try:
        replaced = memory.log_weights(image, num_samples=SAMPLES, seed=3, index=index)
    finally:
        type(lowest).forward = before  # type: ignore[method-assign]
    expected = (whole.mean(0) - replaced.mean(0)).double().numpy()
    np.testing.assert_allclose(found.of_layer[0][:BATCH], expected, atol=1e-4)
    assert np.abs(expected).max() > 0.01


def test_effective_slots_count_equal_shares_as_whole_slots() -> None:
    alike = Preferences((np.full((2, 4), 0.25),), np.zeros((2, 1)), ("a", "b"), (3, 1))
    assert effective_slots(alike, 0) == (pytest.approx(4), (pytest.approx(4), pytest.approx(4)))
    apart = Preferences((np.eye(2),), np.zeros((2, 1)), ("a", "b"), (5, 5))
    assert effective_slots(apart, 0) == (pytest.approx(2), (pytest.approx(1), pytest.approx(1)))


def test_a_model_without_such_a_memory_is_refused() -> None:
    from memogen.metrics.metric import Asked

    for subject in (model(()), MemoryGANConfig((1, 8, 8), width=4).build()):
        with pytest.raises(InputError, match="memory_use"):
            METRICS["memory_use"].check(Asked(subject, pictures()))


def test_its_row_tells_every_layer_and_the_slots_in_use() -> None:
    from memogen.metrics.metric import Asked

    (row,) = METRICS["memory_use"].compute(Asked(model(), pictures(), num_samples=100))  # type: ignore[misc]
    assert row.metric == "memory_use" and row.spread > 0
    assert len(row.protocol["by_layer"]) == len(row.protocol["effective_slots"]) == 2
    assert 1 <= row.protocol["effective_slots"][0]["all"] <= 6
