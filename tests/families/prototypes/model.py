"""Prototypes: k images learned by online k-means; a sample is one of them, with noise of the size that was seen around it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from memogen import noise
from memogen.types import Batch, ImageData, InputError, Latents, Loss, OptimiserConfig, Phase, to_range


@dataclass(frozen=True)
class PrototypesConfig:
    image_shape: tuple[int, int, int] = (1, 8, 8)
    num_prototypes: int = 16

    def build(self) -> Prototypes:
        return Prototypes(self)


class Prototypes(nn.Module):
    image_range = (0.0, 1.0)
    averaged_parts = ()

    def __init__(self, config: PrototypesConfig) -> None:
        super().__init__()
        self.config = config
        self.mean = nn.Parameter(torch.rand(config.num_prototypes, *config.image_shape))
        self.log_spread = nn.Parameter(torch.full((config.num_prototypes,), -2.0))

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        if label is not None or slot is not None:
            raise InputError("label: prototypes are told nothing: leave label and slot out")
        index = torch.arange(start, start + num)
        return Latents(noise.normal(index, 1 + self.mean[0].numel(), seed=seed).to(self.mean))

    @torch.no_grad()
    def decode(self, latents: Latents) -> Tensor:
        chosen = (torch.special.ndtr(latents.noise[:, 0]) * len(self.mean)).long().clamp_max(len(self.mean) - 1)
        spread = self.log_spread.exp()[chosen, None, None, None]
        return (self.mean[chosen] + spread * latents.noise[:, 1:].view(-1, *self.config.image_shape)).clamp(0, 1)

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Tensor:
        return self.decode(self.latents(num, label=label, slot=slot, seed=seed, start=start))

    def calibrate(self, data: ImageData | None = None, *, seed: int = 0) -> None:
        """There are no batch statistics to set."""


@dataclass(frozen=True)
class PrototypesObjective:
    adam: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(learning_rate=1e-2))

    def phases(self, model: Prototypes, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        def likelihood(batch: Batch) -> Loss:
            """The negative log-likelihood of each image under its nearest prototype, in nats for each pixel."""
            assert batch.image is not None
            image = to_range(batch.image, model.image_range).to(model.mean).flatten(1)
            squared = torch.cdist(image, model.mean.flatten(1)).square()
            nearest = squared.argmin(1, keepdim=True)
            log_spread = model.log_spread[nearest[:, 0]]
            total = (log_spread + 0.5 * squared.gather(1, nearest)[:, 0] / image.shape[1] * torch.exp(-2 * log_spread)).mean()
            return Loss(total, {"loss": total.detach()})

        return (Phase("prototypes", (model,), likelihood, optimiser=self.adam),)
