"""What a step of a MEM-VAE is held against: the matrix products of its layers as a floor, and pythae's VAE or IWAE with the same layers.

pythae's step (``pip install pythae``) is that of its trainer, on images that are black and white already. It is always in float32: its trainer has no
half precision on a CPU, and on a GPU its loss refuses it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.speed.timing import Floor, Work
from memogen.models import MemVAEConfig
from memogen.recipes import Recipe
from memogen.training.runtime import Runtime

ABSENT = "pythae is not installed: make bench installs it"


def pixels_of(config: MemVAEConfig) -> int:
    return torch.Size(config.image_shape).numel()


def below(config: MemVAEConfig) -> list[tuple[int, int]]:
    """(in, out) of the encoder's hidden layers."""
    return list(zip((pixels_of(config), *config.hidden), config.hidden, strict=False))


def above(config: MemVAEConfig) -> list[tuple[int, int]]:
    """(in, out) of the decoder's layers, from z down to the pixels."""
    widths = (config.latent_dim, *config.hidden[::-1])
    heads = 2 if config.output == "gaussian" else 1
    return [*pairwise(widths), (config.hidden[0], heads * pixels_of(config))]


def products(recipe: Recipe, runtime: Runtime, batch_size: int) -> Floor:
    """For each layer its product, and in the backward pass those with its weights' and, but for the pixels, its input's gradient."""
    config, rows = recipe.model, batch_size * recipe.objective.num_samples
    encoder = [(batch_size, *sides) for sides in (*below(config), (config.hidden[-1], 2 * config.latent_dim))]
    slots = [side for width, num in zip(config.hidden, config.memory.slots, strict=False) for side in ((width, num), (num, width))]
    decoder = [(rows, *sides) for sides in (*above(config), *slots)]
    dtype = torch.bfloat16 if runtime.precision == "bf16" else torch.float32
    shapes = [((n, i), (i, o), (n, o)) for n, i, o in (*encoder, *decoder)]
    layers = [tuple(torch.randn(shape, device=runtime.device, dtype=dtype) for shape in layer) for layer in shapes]

    def work() -> list[Tensor]:
        forward = [x @ weight for x, weight, _ in layers]
        to_weights = [x.T @ gradient for x, _, gradient in layers]
        return [*forward, *to_weights, *(gradient @ weight.T for _, weight, gradient in layers[1:])]

    return Floor(work)


def pythae_step(config: MemVAEConfig, samples: int, runtime: Runtime, batch_size: int, *, fused: bool | None = None) -> Work:
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
