"""A small untrained memoryGAN whose memory has been written, its baseline, some data, and a run folder made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from memogen import configs
from memogen.models import MemoryConfig, MemoryGAN, MemoryGANConfig, NoiseConfig
from memogen.pretrained import save_pretrained
from memogen.report.figures import sample_grid
from memogen.types import ImageData, Latents

SHAPE = (1, 8, 8)


def model(*, memory: bool = True, conditional: bool = True, channels: int = 1) -> MemoryGAN:
    """64 slots that have seen ten batches of random queries, and a generator whose outputs differ visibly."""
    config = MemoryGANConfig(
        image_shape=(channels, *SHAPE[1:]),
        width=4,
        norm="none",
        noise=NoiseConfig(dim=3),
        memory=MemoryConfig(num_slots=64, key_dim=8, top_k=16) if memory else None,
        condition="draw" if conditional else "none",
    )
    torch.manual_seed(0)
    built = config.build().eval()
    for parameter in built.generator.parameters():
        parameter.data.normal_(0, 0.3)
    if built.memory is not None:
        generator = torch.Generator().manual_seed(1)
        for _ in range(10):
            built.memory.write(torch.randn(32, 8, generator=generator), (torch.arange(32) < 16).float())
    return built


def images(num: int = 40, channels: int = 1, *, seed: int = 0) -> ImageData:
    pixels = np.random.default_rng(seed).integers(0, 256, (num, channels, *SHAPE[1:]), dtype=np.uint8)
    return ImageData(pixels, None, name="toys")


class Drawing:
    """A generative model of no family, which draws the images of a seed."""

    image_range = (0.0, 1.0)

    def __init__(self, seed: int = 0) -> None:
        self.pixels = torch.from_numpy(images(50, seed=seed).image).float() / 255

    def latents(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> Latents:
        return Latents(torch.arange(start, start + num)[:, None].float())

    def decode(self, latents: Latents) -> torch.Tensor:
        return self.pixels[latents.noise[:, 0].long() % len(self.pixels)]

    def sample(self, num: int, *, label: int | None = None, slot: int | None = None, seed: int = 0, start: int = 0) -> torch.Tensor:
        return self.decode(self.latents(num, start=start))


def metrics(steps: int) -> str:
    rows = [
        {
            "step": step,
            "images_seen": 64 * step,
            "seconds": 0.5 * step,
            "critic/loss": 1 / step,
            "generator/loss": 0.1 * step,
            "critic/real": 0.7,
            "critic/fake": 0.3,
            "critic/effective_real": 30.0,
            "critic/one_class": 0.0,
            "critic/replaced": None,
        }
        for step in range(10, steps + 1, 10)
    ]
    rows.append({"step": steps, "images_seen": 64 * steps, "seconds": 0.5 * steps, "eval/held_out/log_likelihood": 3.5})
    return "".join(json.dumps(row) + "\n" for row in rows)


def score(variant: str, value: float, *, paper: float | None = None, metric: str = "inception_score", steps: int | None = 100) -> dict[str, object]:
    protocol = {"extractor": "toys-1", "num_samples": 1000}
    return {
        "variant": variant,
        "metric": metric,
        "value": value,
        "paper": paper,
        "split": "test",
        "seed": 0,
        "steps": steps,
        "protocol": protocol,
        "budget": "short",
    }


def run_folder(folder: Path, *, memory: bool = True) -> Path:
    """A whole run folder, of 100 planned steps with 60 done."""
    (folder / "samples").mkdir(parents=True)
    built = model(memory=memory)
    config = {"recipe": "memory_gan/toys", "variant": "memory_gan", "data": {"name": "toys"}, "training": {"steps": 100}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"model": configs.to_dict(built.config)}))
    (folder / "metrics.jsonl").write_text(metrics(60))
    rows = [score("real", 9.5, steps=0), score("no_memory", 7.5), score("memory_gan", 8.25, paper=8.75), score("memory_gan", 12.5, metric="fid")]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in (20, 40, 60):
        sample_grid(built, 4, seed=step).save(folder / "samples" / f"step-{step:08d}.png")
        (folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
        save_file(built.state_dict(), folder / "checkpoints" / f"step-{step:08d}" / "model.safetensors")
    save_pretrained(built, folder / "model")
    return folder
