"""A step of pythae's VAE or IWAE (``pip install pythae``) with the same layers, as its trainer does one, on images that are black and white already.

Always in float32: its trainer knows no half precision on a CPU, and on a GPU its loss refuses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.speed.timing import Work
from benchmarks.speed.vae_products import above, below, pixels_of
from memogen.models import MemVAEConfig
from memogen.training.runtime import Runtime

ABSENT = "pythae is not installed: make bench installs it"


def training_step(config: MemVAEConfig, samples: int, runtime: Runtime, batch_size: int, *, fused: bool | None = None) -> Work:
    """Of its IWAE with so many importance samples; of its VAE with one."""
    from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class TheirEncoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.mean, self.log_variance = (stack(below(config)), *(nn.Linear(config.hidden[-1], config.latent_dim) for _ in range(2)))

        def forward(self, x: Tensor) -> ModelOutput:
            h = self.body(x.flatten(1))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))

    class TheirDecoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            *inner, _ = above(config)
            self.body = nn.Sequential(stack(inner), nn.Linear(config.hidden[0], pixels_of(config)), nn.Sigmoid())

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.body(z))

    torch.manual_seed(0)
    shared = {"input_dim": config.image_shape, "latent_dim": config.latent_dim, "reconstruction_loss": "bce"}
    networks = TheirEncoder(), TheirDecoder()
    model = VAE(VAEConfig(**shared), *networks) if samples == 1 else IWAE(IWAEConfig(**shared, number_samples=samples), *networks)
    model = model.to(runtime.device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    image = torch.randint(0, 256, (batch_size, *config.image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    given = {"data": (image > 127).float().to(runtime.device)}

    def step() -> float:
        loss = model(given, epoch=1, dataset_size=batch_size, uses_ddp=False).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss.item())  # its trainer looks at every loss

    return step


def stack(sides: list[tuple[int, int]]) -> nn.Sequential:
    """Linear, batch norm, ReLU, for each (in, out)."""
    return nn.Sequential(*(part for wide, width in sides for part in (nn.Linear(wide, width), nn.BatchNorm1d(width), nn.ReLU())))
