"""The paper's stacks: shapes for any image, the published sizes, the authors' initial weights, and gradients to every weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from memogen.nets import DCGANCritic, DCGANGenerator, ResNetCritic, ResNetGenerator
from memogen.nets.resnet import DownBlock, grow, grown_conv, shrink, shrunk_conv
from memogen.nets.same import SameConv2d

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 45), st.integers(1, 45))
NORMS = st.sampled_from(["batch", "layer", "none"])


def size(*nets: nn.Module) -> int:
    return sum(parameter.numel() for net in nets for parameter in net.parameters())


def layers(net: nn.Module, *kinds: type[nn.Module]) -> list[tuple[int, ...]]:
    return [tuple(part.weight.shape) for part in net.modules() if isinstance(part, kinds)]


@settings(max_examples=40)
@given(shape=SHAPES, norm=NORMS, pointwise=st.booleans())
def test_dcgan_fits_any_image(shape: tuple[int, int, int], norm: str, pointwise: bool) -> None:
    generator = DCGANGenerator(5, shape, width=2, norm=norm, pointwise=pointwise)
    critic = DCGANCritic(shape, 7, width=2, norm=norm, pointwise=pointwise)
    image = generator(torch.randn(3, 5))
    assert image.shape == (3, *shape)
    assert image.min() >= 0 and image.max() <= 1
    assert critic(image).shape == (3, 7)


@settings(max_examples=25)
@given(shape=SHAPES, norm=NORMS)
def test_resnet_fits_any_image(shape: tuple[int, int, int], norm: str) -> None:
    image = ResNetGenerator(5, shape, width=2, norm=norm)(torch.randn(3, 5))
    assert image.shape == (3, *shape)
    assert image.min() >= -1 and image.max() <= 1
    assert ResNetCritic(shape, 1, pooled_dim=6, width=2, norm=norm)(image).shape == (3, 7)


def test_cifar10_memory_gan_has_the_papers_number_of_parameters() -> None:
    assert size(ResNetCritic((3, 32, 32), 512), ResNetGenerator(512 + 16, (3, 32, 32))) == 4_128_259


@pytest.mark.parametrize("make", [DCGANCritic, ResNetCritic])
def test_pooled_numbers_come_first_and_are_of_means_over_space(make: type[nn.Module]) -> None:
    """They know what is on the last map and not where; the head's numbers after them are those of the critic without."""
    critic, plain = make((3, 32, 32), 2, pooled_dim=5, width=8, norm="none"), make((3, 32, 32), 2, width=8, norm="none")
    plain.load_state_dict({name: value for name, value in critic.state_dict().items() if not name.startswith("pooled")})
    image = torch.randn(4, 3, 32, 32)
    out, maps = critic(image), critic.body(image)
    torch.testing.assert_close(out[:, 5:], plain(image))
    torch.testing.assert_close(out[:, :5], maps.mean((2, 3)) @ critic.pooled.weight.T + critic.pooled.bias)


def test_cifar10_stacks_with_one_logit() -> None:
    critic = ResNetCritic((3, 32, 32), 1)
    assert size(critic, ResNetGenerator(32, (3, 32, 32))) == 2_065_412
    assert size(critic, ResNetGenerator(100, (3, 32, 32))) == 2_204_676


def test_resnet_at_64_has_one_more_block_each() -> None:
    block = 2 * (9 * 128 * 128 + 128) + (128 * 128 + 128) + 2 * (128 + 128)  # two 3x3 convolutions, the shortcut, two norms
    assert size(ResNetCritic((3, 64, 64), 512)) - size(ResNetCritic((3, 32, 32), 512)) == block
    assert size(ResNetGenerator(528, (3, 64, 64))) - size(ResNetGenerator(528, (3, 32, 32))) == block


def test_fashion_stacks_are_the_papers() -> None:
    critic, generator = DCGANCritic((1, 28, 28), 256), DCGANGenerator(258, (1, 28, 28))
    assert layers(critic, nn.Conv2d) == [(64, 1, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4)]
    assert layers(critic, nn.Linear) == [(256, 256 * 4 * 4)]
    assert layers(generator, nn.Linear) == [(1024, 258), (128 * 7 * 7, 1024)]
    assert layers(generator, nn.ConvTranspose2d) == [(128, 128, 4, 4), (128, 1, 4, 4)]


def test_affine_stacks_are_the_papers() -> None:
    critic = DCGANCritic((1, 40, 40), 256, pointwise=True)
    generator = DCGANGenerator(258, (1, 40, 40), pointwise=True)
    assert [shape[:3] for shape in layers(critic, nn.Conv2d)] == [
        (64, 1, 4), (128, 64, 4), (128, 128, 1), (256, 128, 4), (256, 256, 1),
    ]  # fmt: skip
    assert layers(critic, nn.Linear) == [(256, 256 * 5 * 5)]
    assert layers(generator, nn.Linear) == [(256 * 5 * 5, 258)]
    assert layers(generator, nn.ConvTranspose2d) == [(256, 128, 4, 4), (128, 64, 4, 4), (64, 1, 4, 4)]
    assert layers(generator, nn.Conv2d) == [(128, 128, 1, 1), (64, 64, 1, 1)]


BUILDERS = {
    "dcgan_critic": lambda: DCGANCritic((1, 28, 28), 32, width=16),
    "dcgan_generator": lambda: DCGANGenerator(8, (1, 28, 28), width=16),
    "resnet_critic": lambda: ResNetCritic((3, 16, 16), 32, width=16),
    "resnet_generator": lambda: ResNetGenerator(8, (3, 16, 16), width=16),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_initial_weights_are_normal_cut_at_two_deviations(name: str) -> None:
    parts = [part for part in BUILDERS[name]().modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    weights = torch.cat([part.weight.flatten() for part in parts])
    assert weights.abs().max() <= 0.04
    assert weights.abs().max() > 0.039
    assert weights.std().item() == pytest.approx(0.02 * 0.87962566, rel=0.05)  # the deviation of a standard normal cut at two
    assert abs(weights.mean().item()) < 4 * 0.02 / len(weights) ** 0.5
    assert all((part.bias == 0).all() for part in parts if part.bias is not None)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    net = BUILDERS[name]()
    shape = {"dcgan_critic": (4, 1, 28, 28), "resnet_critic": (4, 3, 16, 16)}.get(name, (4, 8))
    net(torch.randn(shape)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize("norm", ["layer", "none"])
@pytest.mark.parametrize("critic", [DCGANCritic, ResNetCritic])
def test_without_batch_norm_images_do_not_see_each_other(critic: type[nn.Module], norm: str) -> None:
    net = critic((2, 13, 10), 6, width=4, norm=norm).double()
    image = torch.rand(5, 2, 13, 10, dtype=torch.float64)
    torch.testing.assert_close(net(image)[1:3], net(image[1:3]))


def test_shortcut_after_the_pooling_is_the_shortcut_before_it() -> None:
    shortcut = DownBlock(3, 5).shortcut.double()
    nn.init.normal_(shortcut.bias)
    for shape in ((2, 3, 8, 6), (2, 3, 7, 5)):
        image = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(shortcut(shrink(image)), shrink(shortcut(image)))
        larger = (2 * shape[2] - 1, 2 * shape[3])
        torch.testing.assert_close(grow(shortcut(image), larger), shortcut(grow(image, larger)))


@given(height=st.integers(1, 9), breadth=st.integers(1, 9), cut=st.booleans())
def test_one_convolution_for_two_operations(height: int, breadth: int, cut: bool) -> None:
    conv = SameConv2d(2, 3, 3).double()
    nn.init.normal_(conv.bias)
    image = torch.randn(2, 2, height, breadth, dtype=torch.float64)
    torch.testing.assert_close(shrunk_conv(conv, image), shrink(conv(image)))
    larger = (2 * height - cut, 2 * breadth)
    torch.testing.assert_close(grown_conv(conv, image, larger), conv(grow(image, larger)))


def test_channels_last_gives_the_same_features() -> None:
    net = ResNetCritic((3, 16, 16), 8, width=8).double()
    image = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    expected = net(image)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last)), expected)


def test_a_second_derivative_passes_through_the_critics() -> None:
    for net in (DCGANCritic((1, 9, 9), 1, width=2, norm="none"), ResNetCritic((1, 9, 9), 1, width=2)):
        image = torch.rand(2, 1, 9, 9, requires_grad=True)
        (slope,) = torch.autograd.grad(net(image).sum(), image, create_graph=True)
        slope.square().sum().backward()
        gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
