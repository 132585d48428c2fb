"""Every kind of page, from a tiny run each: whole HTML, everything inside, and what its family shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from memogen.models import AttentionConfig, MemVAEConfig, ReplayGANConfig
from memogen.pretrained import save_pretrained
from memogen.report.page import write_report, write_results
from memogen.report.replay_gan import EXTENDED
from memogen.report.results import gather
from memogen.training.grid import Evolution
from tests.models.test_replay_gan import built
from tests.report import toy
from tests.report.pages import checked

DATA = replace(toy.images(60), label=np.arange(60) % 3, classes=("a", "b", "<c>"), split="test")
KNOWS = ReplayGANConfig(image_shape=toy.SHAPE, width=4, noise_dim=4, num_classes=3, classes=DATA.classes)


def course(folder: Path, **values: float) -> None:
    lines = [
        {"step": step, "images_seen": 16 * step, "seconds": float(step)} | {key: value * step for key, value in values.items()} for step in (1, 2)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def plain(folder: Path) -> Path:
    toy.run_folder(folder, memory=False)
    return write_report(folder, data=DATA, held_out=DATA)


def memory_gan(folder: Path) -> Path:
    toy.run_folder(folder)
    return write_report(folder, data=DATA, held_out=DATA)


def mem_vae(folder: Path) -> Path:
    torch.manual_seed(0)
    model = MemVAEConfig(toy.SHAPE, hidden=(9, 8), latent_dim=3, memory=AttentionConfig((6, 4))).build()
    model.calibrate(DATA)
    save_pretrained(model, folder / "model")
    course(folder, **{"bound/bound": 10.0})
    return write_report(folder, data=DATA, held_out=DATA)


def replay_gan(folder: Path) -> Path:
    """A stream of two tasks; the judge of the embedding is the one of the digits, which are of this size."""
    for number in (0, 1):
        task = folder / "tasks" / f"task-{number:02d}"
        panel = torch.full((number + 1, 3, *toy.SHAPE), 100, dtype=torch.uint8)
        Evolution(task, 2, lambda model, panel=panel: (range(len(panel)), panel))(2, nn.Identity())
        save_pretrained(built(KNOWS, ((0,), (1,), (2,))[: number + 1]), task / "model")
        course(task, **{"critic/loss": 1.0})
    save_pretrained(built(KNOWS, ((0,), (1,))), folder / "model")
    (folder / "config.yaml").write_text("recipe: replay_gan/toys\nmodel: {image_shape: [1, 8, 8]}\nscoring: {extractor: digits}\n")
    rows = [{"metric": "accuracy", "value": 0.5 * (1 + task - label), "task": task, "class": label} for task, label in ((0, 0), (1, 0), (1, 1))]
    rows.append({"metric": "accuracy", "value": 0.75, "task": None, "class": None, "protocol": {"learned": 2}})
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_report(folder, held_out=DATA)


def extended(folder: Path) -> Path:
    save_pretrained(built(KNOWS, ((0,), (1,), (2,))), folder / "model")
    row = {"recipe": EXTENDED, "metric": "accuracy", "value": 0.5, "task": 1, "class": 2, "class_name": "<c>", "protocol": {"num_samples": 10}}
    (folder / "results.jsonl").write_text(json.dumps(row) + "\n")
    return write_report(folder)


def results(folder: Path) -> Path:
    row = {"recipe": "a/b", "variant": "<v>", "metric": "fid", "value": 1.5, "seed": 0, "steps": 3, "command": "memogen train a/b"}
    return write_results([gather("own/table", [row])], folder / "results.html")


KINDS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "plain": (plain, ("GAN without memory on toys, trained for 60 of 100 steps so far", "This model has no memory", "in noise.", "by their pixels")),
    "memory_gan": (memory_gan, ("memoryGAN on toys", "Slots by meaning", "Which slots an image belongs to", "Nearest training images")),
    "mem_vae": (
        mem_vae,
        ("MEM-VAE, trained for 2 steps", "its bound rose from 10.0 to 20.0 nats", "Reconstructions", "Which slots a class asks for", "<c>"),
    ),
    "replay_gan": (
        replay_gan,
        (
            "Memory Replay GAN, trained for 2 steps over 2 tasks",
            "75.0% of its samples",
            "What becomes of the first class",
            "Where the first class lies",
        ),
    ),
    "extended": (extended, ("Memory Replay GAN: nothing has been trained yet.", "Categories", "<c>", "0.500", "memogen extend")),
    "results": (results, ("Results of memogen", "own/table", "<v>", "1.50", "lower is better", "memogen train a/b")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_and_shows_its_own(kind: str, tmp_path: Path) -> None:
    make, words = KINDS[kind]
    text = make(tmp_path / "run").read_text(encoding="utf-8")
    page = checked(text)
    for told in words:
        assert told in page.text, told
    assert "Not drawn" not in page.text and "http" not in text
    assert text.count("<img") == sum(tag == "img" for tag, _ in page.tags)
    assert not re.search(r"<tbody>\s*</tbody>", text), "no head over an empty table"
