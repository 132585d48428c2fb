"""Small extractors and models with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memogen.noise import normal
from memogen.types import ImageData, Latents


class Moments(nn.Module):
    """An extractor without training: features are four fixed projections of the pixels, logits ten others."""

    name, version, resize, accuracy = "moments", "moments:1", "none", None

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.register_buffer("project", torch.randn(size, 4, generator=generator, dtype=torch.float64))
        self.register_buffer("classify", torch.randn(size, 10, generator=generator, dtype=torch.float64))

    def features(self, image: Tensor) -> Tensor:
        return (image.flatten(1).double() / 255) @ self.project

    def forward(self, image: Tensor) -> Tensor:
        return (image.flatten(1).double() / 255) @ self.classify * 4


class ToyGenerator(nn.Module):
    """Addressed noise through one linear layer and batch norm, float64: a model whose images depend on (seed, index) alone in evaluation mode."""

    image_range = (-1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16)).double()

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        return Latents(normal(torch.arange(start, start + num), 6, seed=seed, dtype=torch.float64))

    def decode(self, latents: Latents) -> Tensor:
        return torch.tanh(self.layer(latents.noise)).view(-1, 1, 4, 4)

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        return self.decode(self.latents(num, seed=seed, start=start))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def extractor() -> Moments:
    return Moments()


@pytest.fixture
def generator() -> ToyGenerator:
    return ToyGenerator()


@pytest.fixture
def tiny() -> ImageData:
    """120 grey images of 4x4 pixels, sorted by class."""
    image = np.random.default_rng(0).integers(0, 256, (120, 1, 4, 4)).astype(np.uint8)
    return ImageData(image, np.arange(120) // 12, name="tiny", split="test", digest="tiny-1")
