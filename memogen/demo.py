"""``memogen demo``: the embedded digits from nothing to pictures, scores and a report, on a CPU in minutes, beside a plain GAN of equal size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import runs
from .data import load as load_data
from .metrics import classifier, registry
from .metrics.rows import ResultRow
from .metrics.slots import name_slots, placed
from .pretrained import from_pretrained
from .recipes import RECIPES, Recipe
from .report import figures, memory_gan
from .report.history import read_rows

STEPS = 2500
SHOWN = ("inception_score", "fid", "recall", "coverage")
VARIANTS = {"no_memory": "plain GAN of equal size", "memory_gan": "memoryGAN"}


def demo(out: str | Path = "runs/demo", *, console: bool = True) -> Path:
    """Train both on the embedded digits for as many steps, score them, and say where pictures and report are.

    Returns the folder of the two runs. Run again, it continues or only shows.
    """
    torch.set_num_threads(1)  # as fast for nets this small, and rounding, hence the run, no longer depends on the number of cores
    folder = Path(out)
    for variant in VARIANTS:
        runs.train(demo_recipe(variant), out=folder / variant, console=console)
    pictures = draw(folder / "memory_gan")
    print(summary(folder, pictures))
    return folder


def demo_recipe(variant: Any = "memory_gan") -> Recipe:
    """The digits at the demo's budget."""
    recipe = RECIPES["memory_gan/digits"](variant=variant)
    return replace(recipe, training=replace(recipe.training, steps=STEPS))


def draw(folder: Path) -> list[Path]:
    """The pictures of the finished model, under ``pictures/`` of the run folder."""
    model: Any = from_pretrained(folder / "model")
    names = name_slots(placed(model, load_data("digits")), model.memory.num_slots)
    drawn = {
        "samples": figures.sample_grid(model, 64),
        "slots": memory_gan.slot_sheet(model, names=names),
        "wall": memory_gan.slot_wall(model, names),
        "interpolation": figures.interpolation(model),
        "posterior": memory_gan.posterior(model, _first_test_image(), names=names),
    }
    (folder / "pictures").mkdir(exist_ok=True)
    paths = [folder / "pictures" / f"{name}.png" for name in drawn]
    for picture, path in zip(drawn.values(), paths, strict=True):
        picture.save(path)
    return paths


def summary(folder: Path, pictures: list[Path]) -> str:
    """The scores side by side, what the comparison holds equal, and where to look."""
    rows = {variant: read_rows(folder / variant / "results.jsonl") for variant in VARIANTS}
    shown = {"real digits": (rows["memory_gan"], "real"), **{title: (rows[variant], variant) for variant, title in VARIANTS.items()}}
    lines = ["", f"{'':<26}" + "".join(f"{title:>18}" for title in map(registry.title, SHOWN)) + f"{'processor seconds':>20}"]
    for title, (found, variant) in shown.items():
        values = {row.metric: row for row in found if row.variant == variant}
        scores = "".join(f"{values[metric]['value']:>18.2f}" if metric in values else f"{'-':>18}" for metric in SHOWN)
        spent = next((row.processor_seconds for row in values.values()), None)
        lines.append(f"{title:<26}{scores}" + (f"{spent:>20.0f}" if spent else f"{'-':>20}"))
    scorer = classifier("digits")
    sizes = "; ".join(f"{title} {_sizes(rows[variant])}" for variant, title in VARIANTS.items())
    lines += [f"{STEPS:,} steps each, one seed. Parameters: {sizes}."]
    lines += [f"Scored by the classifier {scorer.version}, {scorer.accuracy:.2%} right on held-out digits.", ""]
    lines += [f"pictures  {', '.join(str(path) for path in pictures)}", f"report    {folder / 'memory_gan' / 'report.html'}"]
    return "\n".join(lines)


def _sizes(rows: list[ResultRow]) -> str:
    """The parameters of each network, as a run's rows count them."""
    counted: Mapping[str, int] = next((row.parameters for row in rows if row.parameters), {})
    return ", ".join(f"{name} {size:,}" for name, size in counted.items())


def _first_test_image() -> Any:
    return torch.tensor(load_data("digits", split="test").image[0])
