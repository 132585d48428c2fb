"""Small models of every family and every kind of network, with statistics and memories that matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.models import mem_vae, test_memory_gan, test_replay_gan

GAN = test_memory_gan.TINY
SHAPES = {
    "pointwise": replace(GAN, network="dcgan_pointwise", image_shape=(1, 20, 17)),
    "resnet": replace(GAN, network="resnet", norm="layer", image_shape=(3, 9, 7), width=4, image_range=(-1.0, 1.0)),
    "resnet_batch": replace(GAN, network="resnet", norm="batch", image_shape=(3, 16, 16), width=4),
    "odd": replace(GAN, image_shape=(3, 13, 11), norm="none"),
}
CLASSES = {"class_resnet_norm": replace(test_replay_gan.KINDS["resnet"], conditioning="norm", image_shape=(3, 20, 17))}
KINDS = [
    *(f"memory_gan/{name}" for name in (*test_memory_gan.VARIANTS, *SHAPES)),
    *(f"replay_gan/{name}" for name in (*test_replay_gan.KINDS, *CLASSES)),
    *(f"mem_vae/{name}" for name in mem_vae.VARIANTS if not mem_vae.VARIANTS[name].prior_slots),
]


def built(kind: str) -> Any:
    """The model of that kind, in evaluation."""
    family, name = kind.split("/")
    if family == "mem_vae":
        return mem_vae.built(mem_vae.VARIANTS[name])
    if family == "replay_gan":
        return test_replay_gan.built((test_replay_gan.KINDS | CLASSES)[name]).eval()
    model = test_memory_gan.built((test_memory_gan.VARIANTS | SHAPES)[name])
    model.calibrate()
    return model.eval()
