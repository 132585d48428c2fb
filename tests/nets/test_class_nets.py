"""The networks of Memory Replay GANs: parameter counts, statistics by class, and layers against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from memogen.losses import input_gradient
from memogen.nets.class_dcgan import ClassDCGANCritic, ClassDCGANGenerator, DoublingConv
from memogen.nets.class_norm import ClassBatchNorm
from memogen.nets.class_resnet import ClassResNetCritic, ClassResNetGenerator
from memogen.nets.init import fans, scaled_uniform
from memogen.nets.same import SameConv2d, SameConvTranspose2d

SMALL = (1, 8, 8)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def in_turns(classes: list[int], each: int) -> torch.Tensor:
    return torch.tensor(classes).repeat(each)


@pytest.mark.parametrize(("channels", "generator", "critic"), [(1, 525_569, 279_563), (3, 527_171, 281_163)])
def test_the_32x32_networks_hold_the_printed_numbers_of_parameters(channels: int, generator: int, critic: int) -> None:
    """Layer by layer: 264,192 + 2,560 + 204,864 + 1,280 + 51,232 + 640 + 801 in grey; 832 + 51,264 + 204,928 + 2,049 + 20,490."""
    nets = ClassDCGANGenerator(128, (channels, 32, 32), 10), ClassDCGANCritic((channels, 32, 32), 10)
    assert (count(nets[0]), count(nets[1])) == (generator, critic)
    assert sum(count(norm) for norm in nets[0].norms) == 4480
    assert (count(nets[0].foot), count(nets[0].convs[0]), count(nets[0].convs[1])) == (264_192, 204_864, 51_232)


def test_the_64x64_networks_hold_the_printed_numbers_of_parameters() -> None:
    with torch.device("meta"):
        generator, critic = ClassResNetGenerator(128, (3, 64, 64), 10), ClassResNetCritic((3, 64, 64), 10)
    assert (count(generator), count(critic)) == (8_622_403, 7_573_771)
    assert [count(part) for part in (generator.foot, *generator.body, generator.norm, generator.head)] == [
        1_138_688,
        4_983_808,
        1_902_592,
        476_160,
        119_296,
        128,
        1_731,
    ]


GENERATORS = {
    "dcgan": lambda **options: ClassDCGANGenerator(6, SMALL, 4, width=4, **options),
    "resnet": lambda **options: ClassResNetGenerator(6, (3, 16, 16), 4, width=2, **options),
}


@pytest.mark.parametrize("conditioning", ["norm", "concat", "none"])
@pytest.mark.parametrize("net", GENERATORS)
def test_a_batch_in_turns_is_separate_batches_of_one_class(net: str, conditioning: str) -> None:
    torch.manual_seed(0)
    generator = GENERATORS[net](conditioning=conditioning).double()
    for norm in (part for part in generator.modules() if isinstance(part, ClassBatchNorm)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    classes, each = [3, 0, 2], 5
    noise, label = torch.randn(15, 6, dtype=torch.float64), in_turns(classes, each)
    joint = generator(noise, label, 3)
    for place, c in enumerate(classes):
        alone = generator(noise[place::3], torch.full((each,), c), 1)
        torch.testing.assert_close(joint[place::3], alone)
    assert not torch.allclose(joint, generator(noise, label, 0))


@given(classes=st.permutations(range(4)).map(lambda order: order[:3]), each=st.integers(2, 5))
def test_class_norm_against_its_definition(classes: list[int], each: int) -> None:
    torch.manual_seed(0)
    norm = ClassBatchNorm(4, 3).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x, label = torch.randn(3 * each, 3, 2, 2, dtype=torch.float64), in_turns(classes, each)
    out = norm(x, label, 3).detach().numpy()
    for c in classes:
        own = x[label == c].numpy()
        mean, variance = own.mean((0, 2, 3), keepdims=True), own.var((0, 2, 3), keepdims=True)
        gain, shift = (part[c].detach().numpy()[:, None, None] for part in (norm.weight, norm.bias))
        np.testing.assert_allclose(out[label == c], (own - mean) / np.sqrt(variance + 1e-5) * gain + shift, rtol=1e-9, atol=1e-9)
    assert torch.equal(norm.mean, torch.zeros_like(norm.mean)), "nothing is stored without a momentum"


def test_rows_of_absent_classes_get_no_gradient_and_an_unseen_class_is_plain() -> None:
    norm = ClassBatchNorm(5, 3)
    norm(torch.randn(6, 3, 2, 2), in_turns([1, 4], 3), 2).square().sum().backward()
    assert norm.weight.grad[[0, 2, 3]].abs().max() == 0 == norm.bias.grad[[0, 2, 3]].abs().max()
    assert norm.weight.grad[[1, 4]].abs().min() > 0
    assert norm.weight.tolist() == [[1.0] * 3] * 5


def test_stored_statistics_make_an_image_independent_of_its_batch() -> None:
    """After enough batches the stored statistics are those of the population, and one image alone is that image among others."""
    torch.manual_seed(0)
    norm = ClassBatchNorm(2, 3).double()
    scale, shift = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    label = in_turns([1, 0], 500)
    for number in range(20):
        norm.momentum = 1 / (number + 1)
        x = torch.randn(1000, 3, 2, 2, dtype=torch.float64) * scale[label][..., None, None] + shift[label][..., None, None]
        norm(x, label, 2)
    torch.testing.assert_close(norm.mean, shift.double(), atol=0.05, rtol=0)
    torch.testing.assert_close(norm.variance, scale.double().square(), atol=0, rtol=0.03)
    out = norm(x, label, None)
    torch.testing.assert_close(out[7:8], norm(x[7:8], label[7:8], None))
    torch.testing.assert_close(out, norm(x, label, 2), atol=0.2, rtol=0)


def test_mixed_statistics_are_shared_and_only_gains_belong_to_classes() -> None:
    torch.manual_seed(0)
    norm = ClassBatchNorm(3, 2).double()
    nn.init.normal_(norm.weight)
    x, label = torch.randn(7, 2, 3, 3, dtype=torch.float64), torch.tensor([0, 2, 2, 1, 0, 0, 2])
    plain = F.batch_norm(x, None, None, training=True, eps=1e-5)
    torch.testing.assert_close(norm(x, label, 0), plain * norm.weight[label][..., None, None] + norm.bias[label][..., None, None])
    norm.momentum = 1.0
    norm(x, label, 0)
    torch.testing.assert_close(norm.mean, x.mean((0, 2, 3)).expand(3, 2))


@given(into=st.integers(1, 4), out=st.integers(1, 4), height=st.integers(1, 6), width=st.integers(1, 6))
def test_doubling_is_the_transposed_convolution_with_same_padding(into: int, out: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    fast = DoublingConv(into, out).double()
    plain = SameConvTranspose2d(into, out, 5, 2, size=(2 * height, 2 * width)).double()
    plain.load_state_dict(fast.state_dict())
    image = torch.randn(2, into, height, width, dtype=torch.float64)
    torch.testing.assert_close(fast(image), plain(image))


def test_a_generator_of_either_memory_format_draws_the_same_images_in_its_own() -> None:
    torch.manual_seed(0)
    generator, noise, label = ClassDCGANGenerator(16, (1, 16, 16), 3, width=8), torch.randn(6, 16), torch.arange(6) % 3
    formats: list[bool] = []
    for conv in generator.convs:
        conv.register_forward_pre_hook(lambda _, given: formats.append(given[0].is_contiguous(memory_format=torch.channels_last)))
    plain = generator(noise, label, 3)
    last = generator.to(memory_format=torch.channels_last)(noise, label, 3)
    assert formats == [False] * 3 + [True] * 3
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


def test_the_critic_pads_as_tensorflow_does() -> None:
    critic = ClassDCGANCritic(SMALL, 3, width=4).double()
    image = feature = torch.randn(5, *SMALL, dtype=torch.float64)
    for conv in critic.convs:
        same = SameConv2d(conv.in_channels, conv.out_channels, 5, 2).double()
        same.load_state_dict(conv.state_dict())
        feature = nn.functional.leaky_relu(same(feature), 0.2)
    scores, logits = critic(image)
    torch.testing.assert_close(scores, critic.score(feature.flatten(1))[:, 0])
    torch.testing.assert_close(logits, critic.classes(feature.flatten(1)))


@pytest.mark.parametrize("critic", [ClassDCGANCritic(SMALL, 3, width=4), ClassResNetCritic((3, 16, 16), 3, width=2)], ids=["dcgan", "resnet"])
def test_the_input_gradient_and_its_own_gradient_are_those_of_automatic_differentiation(critic: nn.Module) -> None:
    torch.manual_seed(0)
    critic = critic.double()
    shape = SMALL if isinstance(critic, ClassDCGANCritic) else (3, 16, 16)
    image = torch.randn(5, *shape, dtype=torch.float64, requires_grad=True)
    wanted, found = input_gradient(critic(image)[0], image), critic.input_gradient(image)
    torch.testing.assert_close(found, wanted)
    parameters = dict(critic.named_parameters())
    for name, parameter in parameters.items():
        mine, theirs = (_penalty_slope(gradient, parameter) for gradient in (found, wanted))
        torch.testing.assert_close(mine, theirs, msg=name)


def _penalty_slope(gradient: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """The gradient of the penalty; zeros for a parameter that it does not depend on."""
    penalty = (torch.linalg.vector_norm(gradient.flatten(1), dim=1) - 1).square().mean()
    (slope,) = torch.autograd.grad(penalty, parameter, allow_unused=True, retain_graph=True)
    return torch.zeros_like(parameter) if slope is None else slope


def test_initial_weights_have_the_authors_variance() -> None:
    torch.manual_seed(0)
    conv, up, line = SameConv2d(16, 32, 5, 2), DoublingConv(64, 32), nn.Linear(200, 300)
    assert fans(conv) == (16 * 25, 32 * 25 // 4)
    assert fans(up) == (64 * 25 // 4, 32 * 25)
    net = nn.ModuleList([conv, up, line])
    scaled_uniform(net)
    for part, gain in ((conv, 4), (up, 4), (line, 2)):
        assert float(part.weight.detach().var()) == pytest.approx(gain / sum(fans(part)), rel=0.05)
        assert float(part.weight.detach().abs().max()) <= math.sqrt(3 * gain / sum(fans(part)))
        assert not part.bias.any()
    scaled_uniform(net, glorot=[conv])
    assert float(conv.weight.detach().var()) == pytest.approx(2 / sum(fans(conv)), rel=0.05)


def test_without_classes_there_is_no_head() -> None:
    score, logits = ClassDCGANCritic(SMALL, 0, width=4)(torch.zeros(2, *SMALL))
    assert score.shape == (2,)
    assert logits is None


@pytest.mark.parametrize("net", GENERATORS)
def test_generators_give_images_in_range_under_autocast_in_full_precision(net: str) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        image = GENERATORS[net]()(torch.randn(4, 6), torch.tensor([0, 1, 0, 1]), 2)
    assert image.dtype == torch.float32
    assert float(image.abs().max()) <= 1
