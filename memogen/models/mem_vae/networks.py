"""The recognition network and the generative network with its memories (Li, Zhu and Zhang, ICML 2016, sections 3 and 4).

Layers are numbered from the data up: layer 0 is next to the image in both networks, and layer i of one is as wide as layer i of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...losses import widen
from ...memory import AttentionMemory
from ...memory.attention import Fill
from ...nets.conv import ConvStem, ConvTail
from ...nets.mlp import Dense, glorot_linear
from .config import MemVAEConfig

_CONV_WIDTH = 32  # channels of the convolution next to the image

Condition = Float[Tensor, "_ classes"] | None
"""One-hot labels, of a model that is conditional on them."""


class Layer(NamedTuple):
    """The values of one hidden layer: the normalised linear output (None unless asked for), the output, and the weights of the memory's slots."""

    normalised: Tensor | None
    output: Tensor
    weights: Tensor | None


class Encoded(NamedTuple):
    """The posterior q(z | x), a diagonal normal, and the values of the hidden layers."""

    mean: Float[Tensor, "b z"]
    log_variance: Float[Tensor, "b z"]
    layers: tuple[Layer, ...]


class Decoded(NamedTuple):
    """``raw``: logits, or means and log variances side by side, for every pixel; and the values of the hidden layers."""

    raw: Float[Tensor, "b p"]
    layers: tuple[Layer, ...]


class Encoder(nn.Module):
    """q(z | x): dense layers above the image, then mean and log variance. It never has a memory."""

    def __init__(self, config: MemVAEConfig) -> None:
        super().__init__()
        if config.network == "conv":
            self.stem: nn.Module = ConvStem(config.image_shape, width=_CONV_WIDTH)
            seen = self.stem.out_dim
        else:
            self.stem, seen = nn.Flatten(), torch.Size(config.image_shape).numel()
        widths = (seen + config.num_classes, *config.hidden)
        self.layers = nn.ModuleList(Dense(below, above) for below, above in zip(widths, config.hidden, strict=False))
        self.head = glorot_linear(widths[-1], config.latent_dim, heads=2)

    def forward(self, image: Float[Tensor, "b c h w"], condition: Condition = None, *, normalised: bool = False) -> Encoded:
        """``normalised`` keeps every layer's normalised linear output."""
        layers: list[Layer] = []
        h = self.seen(image, condition)
        for dense in self.stack:
            linear, h = dense.parts(h) if normalised else (None, dense(h))
            layers.append(Layer(linear, h, None))
        return self._encoded(h, layers)

    def beside(self, image: Float[Tensor, "n c h w"], given: Float[Tensor, "b c h w"]) -> Encoded:
        """The posteriors of ``image`` where every layer is normalised as it is for ``given``; of a model without labels."""
        h, other = self.seen(image, None), self.seen(given, None)
        for dense in self.stack:
            h, other = dense.beside(h, other)
        return self._encoded(h, [])

    def calibrate(self, images: Iterable[tuple[Tensor, Condition]]) -> list[Encoded]:
        """Set the statistics of every norm, layer after layer, to those of all images; returns the posteriors under them."""
        chunks: Iterable[Tensor] = (self.seen(image, condition) for image, condition in images)
        for dense in self.stack:
            chunks = dense.calibrate(chunks)
        return [self._encoded(chunk, []) for chunk in chunks]

    @property
    def stack(self) -> tuple[Dense, ...]:
        """The hidden layers, from the data up."""
        return tuple(cast(Iterable[Dense], self.layers))

    def _encoded(self, h: Tensor, layers: list[Layer]) -> Encoded:
        mean, log_variance = self.head(h).chunk(2, dim=1)
        return Encoded(mean, log_variance, tuple(layers))

    def seen(self, image: Tensor, condition: Condition) -> Tensor:
        """The input of the first layer."""
        return _beside(self.stem(image), condition)


class DecoderLayer(nn.Module):
    """A dense layer and, where it has one, the memory that it reads."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.dense = Dense(in_dim, out_dim)
        self.memory: AttentionMemory | None = None

    def forward(self, h: Tensor, *, without: Fill | None = None) -> Layer:
        g = self.dense(h)
        if self.memory is None:
            return Layer(None, g, None)
        if without is not None:
            return Layer(None, self.memory(g, without=without), None)
        weights, mix = self.memory.read(g)
        return Layer(None, self.memory.compose(g, mix), weights)


class Decoder(nn.Module):
    """p(x | z): from z down to the pixels."""

    def __init__(self, config: MemVAEConfig) -> None:
        super().__init__()
        above = (*config.hidden[1:], config.latent_dim + config.num_classes)
        self.layers = nn.ModuleList(DecoderLayer(wide, width) for wide, width in zip(above, config.hidden, strict=True))
        channels, height, width = config.image_shape
        self.real = config.output == "gaussian"
        heads = 2 if self.real else 1
        if config.network == "conv":
            self.head: nn.Module = nn.Sequential(ConvTail(config.hidden[0], (heads * channels, height, width), width=_CONV_WIDTH), nn.Flatten())
        else:
            self.head = glorot_linear(config.hidden[0], torch.Size(config.image_shape).numel(), heads=heads)
        for number in range(len(config.memory.slots)):  # drawn last, so that the same seed gives the same networks with memory and without
            self.stack[number].memory = _memory(config, number)

    def forward(
        self,
        z: Float[Tensor, "b z"],
        condition: Condition = None,
        *,
        without: Collection[int] = (),
        fill: Fill = "ones",
    ) -> Decoded:
        """In the layers ``without`` the memory's answer is replaced by ``fill``."""
        h = _beside(z, condition)
        layers: list[Layer] = []
        for number, part in reversed(list(enumerate(self.stack))):
            layer: Layer = part(h, without=fill if number in without else None)
            layers.insert(0, layer)
            h = layer.output
        return Decoded(self.raw(h), tuple(layers))

    def below(self, h: Float[Tensor, "b d"], number: int) -> Float[Tensor, "b p"]:
        """The raw output that follows from the output ``h`` of layer ``number``."""
        for layer in reversed(self.stack[:number]):
            h = layer(h).output
        return self.raw(h)

    def raw(self, h: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """The raw output from the lowest hidden layer; for real-valued pixels in float32 at least, also under autocast."""
        raw: Tensor
        if self.real:  # bfloat16 would round the means of bright pixels to 1/256, and no density could be sharper
            with torch.autocast(h.device.type, enabled=False):
                raw = self.head(widen(h))
        else:
            raw = self.head(h)
        return raw

    def calibrate(self, z: Sequence[tuple[Tensor, Condition]]) -> None:
        """Set the statistics of every norm, layer after layer, to those of all latents."""
        h = [_beside(chunk, condition) for chunk, condition in z]
        for layer in reversed(self.stack):
            g = layer.dense.calibrate(h)
            h = g if layer.memory is None else [layer.memory(chunk) for chunk in g]

    @property
    def stack(self) -> tuple[DecoderLayer, ...]:
        """The hidden layers, from the data up."""
        return tuple(cast(Iterable[DecoderLayer], self.layers))


def _memory(config: MemVAEConfig, layer: int) -> AttentionMemory:
    options = config.memory
    return AttentionMemory(
        config.hidden[layer], options.slots[layer], addressing=options.addressing, compose=options.compose, slot_std=options.slot_std
    )


def _beside(x: Tensor, condition: Condition) -> Tensor:
    return x if condition is None else torch.cat([x, condition.to(x.dtype)], 1)
