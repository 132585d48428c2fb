"""``memogen demo``: the embedded digits from nothing to pictures, scores and a report, on a CPU in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from . import runs
from .evaluation import append_rows, classifier
from .pretrained import from_pretrained
from .recipes import RECIPES, Recipe
from .report import figures

BASELINE = Path(__file__).parent / "recipes" / "digits_baseline.jsonl"
"""Scores of the demo's networks without memory at the demo's steps, each row with the command that made it."""

METRICS = {"inception_score": "inception score", "fid": "Fréchet distance", "recall": "recall"}
VARIANTS = {"real": "real digits", "no_memory": "same nets without memory", "memory_gan": "memoryGAN"}


def demo(out: str | Path = "runs/demo", *, console: bool = True) -> Path:
    """Train memoryGAN on the embedded digits, score it, and say where its pictures and report are. Run again, it continues or only shows."""
    torch.set_num_threads(1)  # as fast for nets this small, and rounding, hence the run, no longer depends on the number of cores
    folder = Path(out)
    if not (folder / "results.jsonl").exists():
        append_rows(folder / "results.jsonl", runs.read_rows(BASELINE))
    runs.train(demo_recipe(), out=folder, console=console)
    pictures = draw(folder)
    print(summary(folder, pictures))
    return folder


def demo_recipe(variant: Any = "memory_gan") -> Recipe:
    """The digits at the demo's budget."""
    return RECIPES["memory_gan/digits"](variant=variant)


def draw(folder: Path) -> list[Path]:
    """The pictures of the finished model, under ``pictures/`` of the run folder."""
    model: Any = from_pretrained(folder / "model")
    drawn = {
        "samples": figures.sample_grid(model, 64),
        "slots": figures.slot_sheet(model),
        "interpolation": figures.interpolation(model),
        "posterior": figures.posterior(model, _first_test_image()),
    }
    (folder / "pictures").mkdir(exist_ok=True)
    paths = [folder / "pictures" / f"{name}.png" for name in drawn]
    for picture, path in zip(drawn.values(), paths, strict=True):
        picture.save(path)
    return paths


def summary(folder: Path, pictures: list[Path]) -> str:
    """The scores side by side, and where to look."""
    rows = runs.read_rows(folder / "results.jsonl")
    lines = ["", f"{'':<26}" + "".join(f"{title:>18}" for title in METRICS.values())]
    for variant, title in VARIANTS.items():
        lines.append(f"{title:<26}" + "".join(f"{_value(rows, variant, metric):>18}" for metric in METRICS))
    scorer = classifier("digits")
    lines += [f"by the classifier {scorer.version}, {scorer.accuracy:.2%} right on held-out digits; training without memory: {_command(rows)}", ""]
    lines += [f"pictures  {', '.join(str(path) for path in pictures)}", f"report    {folder / 'report.html'}"]
    return "\n".join(lines)


def _value(rows: list[runs.Row], variant: str, metric: str) -> str:
    """Mean over seeds of the newest rows, with the spread between seeds where there are several; else a model's number says that it is one seed's."""
    by_seed = {row["seed"]: float(row["value"]) for row in rows if (row["variant"], row["metric"]) == (variant, metric)}
    if not by_seed:
        return "-"
    mean = sum(by_seed.values()) / len(by_seed)
    spread = (sum((value - mean) ** 2 for value in by_seed.values()) / max(len(by_seed) - 1, 1)) ** 0.5
    if len(by_seed) > 1:
        return f"{mean:.2f} +- {spread:.2f}"
    return f"{mean:.2f}" if variant == "real" else f"{mean:.2f} (1 seed)"


def _command(rows: list[runs.Row]) -> str:
    return next((str(row["command"]) for row in rows if row["variant"] == "no_memory"), "not measured")


def _first_test_image() -> Any:
    return torch.tensor(runs.load_data(demo_recipe(), split="test").image[0])
