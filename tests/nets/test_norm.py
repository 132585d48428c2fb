"""Normalisation: over an image, over a batch, over all the data; and the output ranges."""

from __future__ import annotations

import pytest
import torch

from memogen.nets.norm import FullDataNorm, ToRange, norm_layer, standardise


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_is_over_channels_and_space_with_a_gain_per_channel(memory_format: torch.memory_format) -> None:
    layer = norm_layer("layer", 6).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(6))
        layer.bias.copy_(torch.randn(6))
    image = torch.randn(3, 6, 5, 4, dtype=torch.float64).contiguous(memory_format=memory_format) * 3 + 1
    plain = torch.nn.functional.layer_norm(image, (6, 5, 4), eps=layer.eps)
    torch.testing.assert_close(layer(image), plain * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1))


def test_batch_norm_uses_the_epsilon_of_the_authors_code() -> None:
    for flat, image in ((True, torch.randn(16, 3)), (False, torch.randn(4, 3, 2, 2))):
        layer = norm_layer("batch", 3, flat=flat)
        mean = image.transpose(0, 1).flatten(1).mean(1)
        variance = image.transpose(0, 1).flatten(1).var(1, unbiased=False)
        shape = (1, 3) if flat else (1, 3, 1, 1)
        torch.testing.assert_close(layer(image), (image - mean.view(shape)) / (variance.view(shape) + 1e-3).sqrt())


def test_no_norm_changes_nothing() -> None:
    image = torch.randn(2, 3, 4, 4)
    assert torch.equal(norm_layer("none", 3)(image), image)


@pytest.mark.parametrize("image_range", [(0.0, 1.0), (-1.0, 1.0), (-0.5, 2.0)])
def test_output_fills_the_range_and_no_more(image_range: tuple[float, float]) -> None:
    out = ToRange(image_range)(torch.linspace(-30, 30, 61).view(1, 1, 1, -1))
    assert out.min().item() == pytest.approx(image_range[0], abs=1e-6)
    assert out.max().item() == pytest.approx(image_range[1], abs=1e-6)
    assert out[0, 0, 0, 30].item() == pytest.approx(sum(image_range) / 2)
    assert (out.diff() >= 0).all()


def test_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="image_range"):
        ToRange((1.0, -1.0))


def test_statistics_of_the_whole_are_those_of_its_pieces() -> None:
    """A column far from zero with a tiny spread, where E[x^2] - E[x]^2 in single precision would give nothing but rounding."""
    x = torch.randn(50, 3) * torch.tensor([1.0, 1e-3, 0.0]) + torch.tensor([0.0, 100.0, -2.0])
    norm = FullDataNorm(3)
    norm.store(x.split(8))
    torch.testing.assert_close(norm.mean, x.double().mean(0).float())
    torch.testing.assert_close(norm.variance, x.double().var(0, unbiased=False).float(), rtol=1e-4, atol=0)
    assert float(norm.variance[1]) == pytest.approx(1e-6, rel=0.5)


def test_training_uses_the_batch_and_evaluation_what_was_stored() -> None:
    x, norm = torch.randn(40, 2, dtype=torch.float64) * 5 + 3, FullDataNorm(2).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 0.5]))
        norm.bias.copy_(torch.tensor([-1.0, 4.0]))
    part = x[:7]
    by_batch = (part - part.mean(0)) / part.std(0, unbiased=False) * norm.weight + norm.bias
    torch.testing.assert_close(norm(part), by_batch)
    assert norm.mean.tolist() == [0, 0]  # training leaves them alone
    norm.eval().store(x.split(9))
    by_all = (part - x.mean(0)) / x.std(0, unbiased=False) * norm.weight + norm.bias
    torch.testing.assert_close(norm(part), by_all)
    torch.testing.assert_close(norm.parts(part)[1], by_all)
    torch.testing.assert_close(norm.parts(part)[0], (by_all - norm.bias) / norm.weight)


def test_standardised_columns_have_mean_0_and_variance_1_and_constants_become_0() -> None:
    x = torch.randn(30, 4)
    x[:, 3] = 7.25
    out = standardise(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(0, unbiased=False), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-5, rtol=0)
    assert (out[:, 3] == 0).all()
