"""``python -m benchmarks.golden FILE``: the first steps of every preset on the embedded digits, every logged number of every step.

Run it in two checkouts on one machine; ``python -m benchmarks.golden FILE --against OTHER`` then says where they differ. A change that is not meant
to change numbers changes none, bit for bit. ``tests/golden.json`` holds curves in double precision, which other machines reproduce: in single
precision the rounding of another processor grows to a relative 1e-3 within twenty steps of a GAN.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from memogen import train
from memogen.recipes import RECIPES, Recipe, mem_vae, memory_gan, memory_gan_tasks, replay_gan
from memogen.training.config import Precision

STEPS = 20
Curve = dict[str, list[float | None]]


def presets(precision: Precision = "float64") -> dict[str, Recipe]:
    """Every variant of each family, by name; among them the literal readings of a paper and of its authors' code."""
    found = {f"memory_gan/digits/{variant}": RECIPES["memory_gan/digits"](variant) for variant in memory_gan.VARIANTS}
    found |= {f"memory_gan/digits_stream/{variant}": memory_gan_tasks.digits_stream(variant) for variant in memory_gan_tasks.VARIANTS}
    rows = [variant for variant in mem_vae.VARIANTS if not variant.endswith(("_50", "_50_large", "batch_10"))]
    found |= {f"mem_vae/digits/{variant}": RECIPES["mem_vae/digits"](variant) for variant in rows}
    found |= {f"replay_gan/digits/{variant}": RECIPES["replay_gan/digits"](variant) for variant in replay_gan.VARIANTS}
    return {name: _short(recipe, precision) for name, recipe in found.items()}


def _short(recipe: Recipe, precision: Precision) -> Recipe:
    """Twenty steps, in tasks the first two of ten; nothing is scored."""
    training = replace(recipe.training, steps=STEPS, precision=precision, log_every=1, sample_every=0, checkpoint_every=0)
    scoring = replace(recipe.scoring, extractor=None, metrics=(), likelihood_every=0)
    if recipe.succession is None:
        return replace(recipe, training=training, scoring=scoring)
    tasks = recipe.succession.tasks
    succession = replace(recipe.succession, tasks=tasks if tasks.joint else replace(tasks, num_tasks=2))
    return replace(recipe, training=replace(training, steps=STEPS // 2), scoring=scoring, succession=succession)


def curve(recipe: Recipe) -> Curve:
    """Every logged number of every step, by name, and the first eight bytes of a digest of the saved weights."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, out=folder, console=False)
        last = max(Path(folder).rglob("metrics.jsonl"), key=lambda path: str(path))
        lines = [json.loads(line) for line in last.read_text().splitlines()]
        weights = load_file(next(path for path in sorted(Path(folder).rglob("model.safetensors"), reverse=True)))
    digest = hashlib.sha256(b"".join(weights[name].contiguous().numpy().tobytes() for name in sorted(weights))).hexdigest()
    names = sorted({name for line in lines for name in line} - {"seconds"})
    return {name: [line.get(name) for line in lines] for name in names} | {"weights": [int(digest[:8], 16)]}


def differences(first: Mapping[str, Curve], second: Mapping[str, Curve], tolerance: float = 0.0) -> Iterator[str]:
    """A line for each preset and number that differ by more than ``tolerance`` times their size, or 1 where they are smaller."""
    for preset in sorted(first.keys() | second.keys()):
        if preset not in first or preset not in second:
            yield f"{preset}: in one file only"
            continue
        for name in sorted(first[preset].keys() | second[preset].keys()):
            if tolerance and name == "weights":
                continue
            pair = [known[preset].get(name, []) for known in (first, second)]
            far = [step for step, (a, b) in enumerate(zip(*pair, strict=False), 1) if not _near(a, b, tolerance)]
            if far or len(pair[0]) != len(pair[1]):
                yield f"{preset}: {name} differs" + (f" from step {far[0]}: {pair[0][far[0] - 1]} and {pair[1][far[0] - 1]}" if far else " in length")


def _near(first: Any, second: Any, tolerance: float) -> bool:
    if first is None or second is None:
        return first is second
    return bool(abs(first - second) <= tolerance * max(1.0, abs(first)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="where the curves are written, or with --against read")
    parser.add_argument("--against", type=Path, help="compare with these curves")
    parser.add_argument("--only", default="", help="presets whose name starts so")
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    asked = parser.parse_args()
    if asked.against is not None:
        found = list(differences(*(json.loads(path.read_text()) for path in (asked.against, asked.file))))
        print("\n".join([*found, f"{len(found)} differences"]))
        return int(bool(found))
    curves = {}
    for name, recipe in presets(asked.precision).items():
        if name.startswith(asked.only):
            print(name, file=sys.stderr)
            curves[name] = curve(recipe)
    asked.file.write_text(json.dumps(curves, indent=None, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
