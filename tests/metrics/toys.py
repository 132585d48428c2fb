"""Models and data for the tests that score across processes, by label, and until stopped."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from memogen.models import MemoryConfig, MemoryGANConfig, NoiseConfig
from memogen.models.memory_gan import MemoryGAN
from memogen.types import ImageData, Latents

EVERYTHING = ("is", "fid", "prdc", "kid", "mifid", "copies")


def small_gan() -> MemoryGAN:
    """A memoryGAN of 8x8 pixels with batch norm and a memory in use, untrained."""
    torch.manual_seed(2)
    model = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(5), memory=MemoryConfig(32, 16, top_k=8)).build()
    assert model.memory is not None
    model.memory.keys.copy_(torch.nn.functional.normalize(torch.randn(32, 16), dim=1))
    model.memory.mass.fill_(1.0)
    model.memory.values.fill_(1.0)
    return model.eval()


def noise(num: int, split: str, seed: int) -> ImageData:
    """Random pictures of 8x8 pixels."""
    image = np.random.default_rng(seed).integers(0, 256, (num, 1, 8, 8)).astype(np.uint8)
    return ImageData(image, np.arange(num) % 10, tuple("0123456789"), name="noise", split=split, digest=f"noise-{split}-{seed}")


class Recalling:
    """A conditional model that draws real digits of the class it is asked for; every ``wrong``-th image is of the next class."""

    image_range = (0.0, 255.0)

    def __init__(self, data: ImageData, *, wrong: int = 0) -> None:
        assert data.label is not None
        self.by_class = [torch.from_numpy(data.image[data.label == label].copy()) for label in range(10)]
        self.wrong = wrong
        self.asked: list[tuple[int | None, int]] = []

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        raise NotImplementedError

    def decode(self, latents: Latents) -> Tensor:
        raise NotImplementedError

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        chosen = []
        for number in range(start, start + num):
            self.asked.append((label, number))
            missed = bool(self.wrong) and number % self.wrong == 0
            pool = self.by_class[((label or 0) + missed) % 10]
            chosen.append(pool[(number * 7 + seed) % len(pool)])
        return torch.stack(chosen).float()
