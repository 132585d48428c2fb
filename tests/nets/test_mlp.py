"""Dense layers: their initial weights, and the statistics that one pass over the data gives them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memogen.nets.mlp import Dense, glorot_linear


def test_each_head_is_drawn_as_a_layer_of_its_own() -> None:
    torch.manual_seed(0)
    layer = glorot_linear(300, 100, heads=2)
    assert layer.weight.shape == (200, 300) and (layer.bias == 0).all()
    for part in layer.weight.detach().chunk(2):
        bound = (6 / 400) ** 0.5
        assert 0.99 * bound < float(part.abs().max()) <= bound
        assert float(part.std()) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_a_layer_is_linear_then_norm_then_relu() -> None:
    torch.manual_seed(1)
    layer, x = Dense(4, 3).double(), torch.randn(9, 4, dtype=torch.float64)
    with torch.no_grad():
        layer.norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
        layer.norm.bias.copy_(torch.tensor([0.3, 0.0, 1.0]))
    u = x.numpy() @ layer.linear.weight.detach().numpy().T
    normal = (u - u.mean(0)) / u.std(0)
    shifted = normal * layer.norm.weight.detach().numpy() + layer.norm.bias.detach().numpy()
    normalised, out = layer.parts(x)
    np.testing.assert_allclose(normalised.detach(), normal, atol=1e-9)
    np.testing.assert_allclose(out.detach(), np.maximum(shifted, 0), atol=1e-9)
    torch.testing.assert_close(layer(x), out)
    with torch.no_grad():
        layer.linear.bias.add_(3)  # the norm takes it out again
    torch.testing.assert_close(layer(x), out)


def test_calibrated_in_pieces_a_layer_evaluates_as_it_trains_on_the_whole() -> None:
    torch.manual_seed(2)
    layer, x = Dense(5, 4), torch.randn(23, 5) * 3 + 1
    trained = layer(x)
    with torch.no_grad():
        chunks = layer.eval().calibrate(iter(x.split(7)))
    torch.testing.assert_close(torch.cat(chunks), trained.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(x[:2]), trained[:2], rtol=1e-4, atol=1e-5)
