"""Images of four classes under a brightness that says nothing of them, and models whose slots know the classes, or do not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from memogen.memory.functional import unit
from memogen.models import MemoryConfig, MemoryGAN, MemoryGANConfig, NoiseConfig
from memogen.types import ImageData

CLASSES = ("bars", "beams", "boxes", "bows")


def patterns(num: int, *, seed: int = 0, split: str = "test", shuffled: bool = False) -> ImageData:
    """A pattern of 8 x 8 pixels for each class, seen dimly under noise and a brightness of its own; ``shuffled`` labels tell nothing."""
    random = np.random.default_rng(seed)
    label = np.arange(num) % 4
    image = 100 + 12 * _pattern()[label] + random.normal(0, 8, (num, 1, 8, 8)) + random.uniform(-60, 60, (num, 1, 1, 1))
    label = random.permutation(label) if shuffled else label
    return ImageData(image.clip(0, 255).astype(np.uint8), label, CLASSES, name="patterns", split=split)


def _pattern() -> np.ndarray:
    return np.random.default_rng(9).choice([-1.0, 1.0], (4, 1, 8, 8))


class _Query(nn.Module):
    """What is left of the pixels without their brightness, seen in eight directions."""

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(1)
        return (pixels - pixels.mean(1, keepdim=True)) @ self.directions


def model(*, knows: bool) -> MemoryGAN:
    """Four real slots: the means of the queries of each class, or random keys."""
    config = MemoryGANConfig(image_shape=(1, 8, 8), width=4, norm="none", noise=NoiseConfig(3), memory=MemoryConfig(8, 8, top_k=8))
    torch.manual_seed(0)
    built = config.build().eval()
    assert built.memory is not None
    directions = torch.from_numpy(_pattern()).float().flatten(1)
    directions = directions - directions.mean(1, keepdim=True)
    built.critic = _Query(torch.cat([directions, torch.zeros_like(directions)]).T if knows else torch.randn(64, 8))
    data = patterns(200, seed=5)
    query, label = built.encode(torch.from_numpy(data.image)), torch.arange(200) % 4
    means = torch.stack([query[label == each].mean(0) for each in range(4)])
    built.memory.keys[:4] = unit(means if knows else torch.randn(4, 8))
    return built
