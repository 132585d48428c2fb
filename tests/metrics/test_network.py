"""Folding the batch norm leaves the function as it was."""

from __future__ import annotations

import torch

from memogen.metrics.classifiers import SmallResNet, Unit, fold


def test_folded_network_computes_the_same() -> None:
    torch.manual_seed(0)
    network = SmallResNet(3, 5, (4, 6, 8))
    for _ in range(5):
        network(torch.randn(32, 3, 9, 7) * 2 + 1)
    image = torch.randn(4, 3, 9, 7)
    expected = network.eval()(image)
    folded = SmallResNet(3, 5, (4, 6, 8), folded=True)
    folded.load_state_dict(fold(network, dtype=torch.float32))
    torch.testing.assert_close(folded(image), expected, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())


def test_features_have_the_last_width_at_any_size() -> None:
    network = SmallResNet(1, 10, (4, 6, 8)).eval()
    for size in ((4, 4), (8, 8), (28, 28), (40, 33)):
        assert network.features(torch.zeros(2, 1, *size)).shape == (2, 8)
    assert sum(isinstance(part, Unit) for part in network.modules()) == 7
