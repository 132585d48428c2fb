"""Calls that a user gets wrong, of a small model of every family, in a process where nothing checks signatures: prints what each of them raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from memogen.models import AttentionConfig, MemoryConfig, MemoryGANConfig, MemVAEConfig, NoiseConfig, ReplayGANConfig
from memogen.types import InputError


def models() -> dict[str, tuple[Any, dict[str, Callable[[Any], Any]]]]:
    """A model of each family, and its ways to take images."""
    torch.manual_seed(0)
    gan = MemoryGANConfig(image_shape=(3, 8, 8), width=8, noise=NoiseConfig(4), memory=MemoryConfig(16, 8, top_k=8)).build()
    vae = MemVAEConfig((3, 8, 8), hidden=(6, 5), latent_dim=2, memory=AttentionConfig((4, 3)), pixel_levels=255).build()
    levels = MemVAEConfig((3, 8, 8), hidden=(6, 5), latent_dim=2, memory=AttentionConfig((4, 3)), pixel_levels=256).build()
    normal = MemVAEConfig((3, 8, 8), hidden=(6, 5), latent_dim=2, memory=AttentionConfig((4, 3)), output="gaussian").build()
    replay = ReplayGANConfig(image_shape=(3, 8, 8), width=2, noise_dim=4).build()
    replay.begin_task(0, [0, 1])
    replay.calibrate()
    takes: dict[str, Callable[[Any], Any]] = {
        "encode": vae.encode,
        "features": vae.features,
        "reconstruct": lambda image: vae.reconstruct(image, seed=0, step=0, start=0),
        "addresses": vae.addresses,
        "log_weights": lambda image: vae.log_weights(image, num_samples=2),
    }
    return {
        "memory_gan": (gan, {"encode": gan.encode, "score": gan.score}),
        "mem_vae": (vae, takes),
        "mem_vae_levels": (levels, {"encode": levels.encode}),
        "mem_vae_normal": (normal, {"encode": normal.encode}),
        "replay_gan": (replay, {"classify": replay.classify}),
        "replay_gan_batch": (replay.drawing_by("batch"), {}),
    }


IMAGES: dict[str, Any] = {
    "one": torch.zeros(3, 8, 8, dtype=torch.uint8),
    "grey": torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
    "last": torch.zeros(2, 8, 8, 3, dtype=torch.uint8),
    "large": torch.zeros(2, 3, 9, 8, dtype=torch.uint8),
    "flat": torch.zeros(2, 192),
    "bytes": torch.full((2, 3, 8, 8), 200.0),
    "below": torch.full((2, 3, 8, 8), -7.0),
    "nan": torch.full((2, 3, 8, 8), float("nan")),
    "int64": torch.zeros(2, 3, 8, 8, dtype=torch.int64),
    "array": np.zeros((2, 3, 8, 8), np.uint8),
}
COUNTS: dict[str, Any] = {"-1": -1, "2.5": 2.5, "True": True, "'3'": "3", "None": None}


def told(call: Callable[[], Any]) -> list[str]:
    """The kind of error, and its text."""
    try:
        call()
    except InputError as error:
        return ["InputError", str(error)]
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["", ""]


def main() -> None:
    found: dict[str, list[str]] = {}
    shapes: dict[str, list[int]] = {}
    for family, (model, takes) in models().items():
        for way, call in takes.items():
            for name, image in IMAGES.items():
                found[f"{family} {way} {name}"] = told(lambda call=call, image=image: call(image))
            for name, good in (("uint8", torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), ("float", torch.ones(2, 3, 8, 8))):
                found[f"{family} {way} good {name}"] = told(lambda call=call, good=good: call(good))
        for name, num in COUNTS.items():
            found[f"{family} sample {name}"] = told(lambda model=model, num=num: model.sample(num))
        for num in (0, np.int64(3)):
            shapes[f"{family} {int(num)}"] = list(model.sample(num).shape)
        if "encode" in takes:
            found[f"{family} own samples"] = told(lambda model=model, takes=takes: takes["encode"](model.sample(4)))
    print(json.dumps({"found": found, "shapes": shapes}))


if __name__ == "__main__":
    main()
