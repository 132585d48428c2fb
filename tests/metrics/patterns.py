"""Images of four classes, and models whose slots know the classes, or sort by a brightness that says nothing of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from memogen.memory.functional import unit
from memogen.models import MemoryConfig, MemoryGAN, MemoryGANConfig, NoiseConfig
from memogen.types import ImageData

CLASSES = ("bars", "beams", "boxes", "bows")
BRIGHTNESS = 10.0


def patterns(num: int, *, seed: int = 0, split: str = "test", shuffled: bool = False) -> ImageData:
    """A pattern of 8 x 8 pixels for each class under noise and a brightness of its own; ``shuffled`` labels tell nothing."""
    random = np.random.default_rng(seed)
    label = np.arange(num) % 4
    bright = random.uniform(-BRIGHTNESS, BRIGHTNESS, (num, 1, 1, 1))
    image = 100 + 12 * _pattern()[label] + random.normal(0, 8, (num, 1, 8, 8)) + bright
    label = random.permutation(label) if shuffled else label
    return ImageData(image.clip(0, 255).astype(np.uint8), label, CLASSES, name="patterns", split=split)


def _pattern() -> np.ndarray:
    """Half of the pixels of each are bright."""
    half = np.repeat([-1.0, 1.0], 32)
    return np.stack([np.random.default_rng(seed).permutation(half).reshape(1, 8, 8) for seed in range(4)])


class _Patterns(nn.Module):
    """How much of each pattern there is."""

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(1)
        found = (pixels - pixels.mean(1, keepdim=True)) @ torch.from_numpy(_pattern()).float().flatten(1).T
        return torch.cat([found, torch.zeros_like(found)], 1)


class _Brightness(nn.Module):
    """A direction for every brightness."""

    def forward(self, image: Tensor) -> Tensor:
        angle = (255 * image.mean((1, 2, 3)) - 100) / BRIGHTNESS
        return torch.cat([torch.stack([angle.cos(), angle.sin()], 1), torch.zeros(len(image), 6)], 1)


def model(*, knows: bool) -> MemoryGAN:
    """Four real slots: the mean queries of the classes, or four levels of brightness."""
    config = MemoryGANConfig(image_shape=(1, 8, 8), width=4, norm="none", noise=NoiseConfig(3), memory=MemoryConfig(8, 8, top_k=8))
    torch.manual_seed(0)
    built = config.build().eval()
    assert built.memory is not None
    built.critic = _Patterns() if knows else _Brightness()
    data = patterns(200, seed=5)
    query, label = built.encode(torch.from_numpy(data.image)), torch.arange(200) % 4
    level = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    bright = torch.cat([torch.stack([level.cos(), level.sin()], 1), torch.zeros(4, 6)], 1)
    built.memory.keys[:4] = unit(torch.stack([query[label == each].mean(0) for each in range(4)])) if knows else bright
    return built
