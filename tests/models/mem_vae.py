"""Small MEM-VAEs for tests: of random weights, and one whose likelihood has a closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from memogen.models import AttentionConfig, GaussianConfig, MemVAE, MemVAEConfig
from memogen.types import ImageData

SMALL = MemVAEConfig(image_shape=(1, 4, 3), hidden=(6, 5), latent_dim=3, memory=AttentionConfig((4, 2)))
PLAIN = replace(SMALL, memory=AttentionConfig(()))
VARIANTS = {
    "mem_vae": SMALL,
    "vae": PLAIN,
    "vis_mem_vae": replace(SMALL, memory=AttentionConfig((4, 2), addressing="softmax", compose="additive")),
    "vis_mem_vae_as_printed": replace(SMALL, memory=AttentionConfig((4, 2), addressing="softmax", compose="sum")),
    "gaussian": replace(SMALL, output="gaussian"),
    "bounded_gaussian": replace(SMALL, output="gaussian", gaussian=GaussianConfig(mean="sigmoid", least_log_variance=-4.0)),
    "vamp_mem_vae": replace(SMALL, prior_slots=5),
    "conditional": replace(SMALL, num_classes=3),
    "conv": replace(SMALL, network="conv", image_shape=(2, 9, 8)),
    "conv_gaussian": replace(SMALL, network="conv", output="gaussian", hidden=(6,), memory=AttentionConfig((4,))),
}


def built(config: MemVAEConfig = SMALL, *, spread: float = 0.3, seed: int = 0) -> MemVAE:
    """In evaluation, every parameter moved at random by ``spread``, so that memories matter, and with statistics of a norm."""
    torch.manual_seed(seed)
    model = config.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, dtype=parameter.dtype))
    if spread:
        model.calibrate(images(40, config))
    return model.eval()


def images(num: int, config: MemVAEConfig = SMALL, *, seed: int = 0) -> ImageData:
    """Grey images with labels."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (num, *config.image_shape), dtype=np.uint8)
    return ImageData(image, generator.integers(0, max(2, config.num_classes), num), digest=f"random {num} {seed}")


def scored(num: int, config: MemVAEConfig = SMALL, *, seed: int = 0) -> Tensor:
    """Images that have a likelihood: black and white where pixels are so."""
    image = torch.from_numpy(images(num, config, seed=seed).image)
    return (image > 127).to(torch.uint8) * 255 if config.output == "bernoulli" else image


def labels(num: int, config: MemVAEConfig) -> Tensor | None:
    return torch.arange(num) % config.num_classes if config.num_classes else None


# --- a model that is linear and normal ---

DIM, LATENT, NOISE = 6, 2, 0.25


def linear_gaussian(*, width: float = 1.0) -> tuple[MemVAE, Tensor]:
    """x = W z + mean + noise, in double precision, and its exact posterior ``width`` times as wide; also the covariance of x.

    The hidden layers carry a vector u as (relu(u), relu(-u)), the norms stand at mean 0 and variance 1, and W has orthogonal columns, so that the
    posterior is diagonal. The image of zeros and ones' mean is 0.5.
    """
    generator = torch.Generator().manual_seed(3)
    basis, _ = torch.linalg.qr(torch.randn(DIM, LATENT, generator=generator, dtype=torch.float64))
    weight = basis * torch.tensor([0.5, 0.2], dtype=torch.float64)
    variance = 1 / (1 + weight.square().sum(0) / NOISE**2)
    gain = variance[:, None] * weight.T / NOISE**2
    config = MemVAEConfig((1, 2, 3), hidden=(2 * LATENT,), latent_dim=LATENT, memory=AttentionConfig(()), output="gaussian", pixel_levels=255)
    model = config.build().double().eval()
    both = torch.cat([torch.eye(LATENT), -torch.eye(LATENT)]).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        encoder, decoder = model.encoder.layers[0], model.decoder.layers[0].dense
        for layer in (encoder, decoder):
            layer.norm.weight.fill_((1 + layer.norm.eps) ** 0.5)
        encoder.linear.weight.copy_(both @ gain)
        encoder.linear.bias.copy_(-both @ gain @ torch.full((DIM,), 0.5, dtype=torch.float64))
        model.encoder.head.weight[:LATENT].copy_(both.T)
        model.encoder.head.bias[LATENT:].copy_((variance * width**2).log())
        decoder.linear.weight.copy_(both)
        model.decoder.head.weight[:DIM].copy_(weight @ both.T)
        model.decoder.head.bias[:DIM].fill_(0.5)
        model.decoder.head.bias[DIM:].fill_(2 * np.log(NOISE))
    return model, weight @ weight.T + NOISE**2 * torch.eye(DIM, dtype=torch.float64)


def exact(covariance: Tensor, image: Tensor) -> Tensor:
    """log p(x) of bytes under the linear model."""
    mean = torch.full((DIM,), 0.5, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(image.flatten(1).double() / 255)
