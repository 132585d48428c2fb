"""The floor under a step of a MEM-VAE: the matrix products of its layers, at their own sizes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.speed.timing import Floor
from memogen.models import MemVAEConfig
from memogen.recipes import Recipe
from memogen.training.runtime import Runtime


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
