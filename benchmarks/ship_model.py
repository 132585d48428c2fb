"""Makes a model that ships from a run: ``python -m benchmarks.ship_model RUN NAME --about "..." [--fault "..."]``, run where memogen/ lies.

Parameters go into half precision, buffers (a mixture memory among them) stay as they are. The scores on the card are the run's own.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from memogen import shipped
from memogen.data import load
from memogen.metrics import registry
from memogen.metrics.rows import ResultRow
from memogen.metrics.slots import name_slots, placed
from memogen.pretrained import CARD, RUN_MODEL, from_pretrained, model_card, read_document, save_pretrained
from memogen.recipes import Recipe
from memogen.report.figures import draw_samples
from memogen.report.grid import grid
from memogen.report.history import read_rows
from memogen.report.scores import number
from memogen.runs import load_config, save_config
from memogen.types import SlotModel

SHOWN = 200  # held-out pictures to try
FOLDER = Path("memogen/shipped")
LICENCES = {
    "digits": "CC BY 4.0 (Alpaydin and Kaynak, optical recognition of handwritten digits, UCI)",
    "mnist": "CC BY-SA 3.0, as usually stated (LeCun, Cortes and Burges)",
    "fashion-mnist": "MIT (Zalando SE, 2017)",
}


def ship(run: Path, name: str, *, about: str, faults: list[str], command: str | None = None) -> Path:
    """Write the folder of a shipped model. Returns it. ``command`` made the run, where its rows are of a later ``memogen evaluate``."""
    recipe, folder = load_config(run / "config.yaml"), FOLDER / name
    model: Any = from_pretrained(run)
    if folder.exists():
        shutil.rmtree(folder)
    save_pretrained(model, folder / RUN_MODEL, half=True)
    low, high = model.image_range
    rounded = float((model.sample(64, seed=0) - from_pretrained(folder).sample(64, seed=0)).abs().max()) / (high - low)
    plain = replace(recipe, data=replace(recipe.data, folder=None))
    save_config(plain, folder / "config.yaml")
    shutil.copy(run / "results.jsonl", folder / "results.jsonl")
    (folder / shipped.ABOUT).write_text(json.dumps({"about": about}, indent=2) + "\n", encoding="utf-8")
    images = load(recipe.data.name, folder=recipe.data.folder, split="train", options=recipe.data.options)
    held_out = load(recipe.data.name, folder=recipe.data.folder, split="test", options=recipe.data.options)
    _examples(held_out.image, held_out.label, folder / shipped.EXAMPLES)
    grid(draw_samples(from_pretrained(folder), 64), 8).save(folder / shipped.SAMPLES, optimize=True)
    if isinstance(model, SlotModel) and model.memory is not None:
        _slots(from_pretrained(folder), images, folder)
    faults = [*faults, f"Half precision moves no pixel of 64 samples by more than {rounded:.2%} of their range."]
    state = json.loads((sorted(run.rglob("state.json"))[-1]).read_text(encoding="utf-8"))
    rows = read_rows(folder / "results.jsonl")
    told = Made(command or str(rows[0].command), images.digest, state["processor_seconds"])
    card = model_card(read_document(folder / RUN_MODEL)) + story(name, recipe, told, rows, about, faults)
    (folder / RUN_MODEL / CARD).write_text(card, encoding="utf-8")
    return folder


def _examples(image: np.ndarray, label: np.ndarray | None, path: Path) -> None:
    """The first pictures of each class in turn, below each other."""
    classes = np.zeros(len(image), dtype=np.int64) if label is None else np.asarray(label)
    turn = np.array([np.sum(classes[:row] == classes[row]) for row in range(min(len(classes), 2000))])
    rows = np.lexsort((classes[: len(turn)], turn))[:SHOWN]
    pixels = image[rows].transpose(0, 2, 3, 1).reshape(-1, image.shape[3], image.shape[1])
    Image.fromarray(pixels[..., 0] if image.shape[1] == 1 else pixels).save(path, optimize=True)


def _slots(model: Any, images: Any, folder: Path) -> None:
    names = name_slots(placed(model, images), model.memory.num_slots)
    share = tuple(names.share.nan_to_num().tolist())
    shipped.store_names(folder, shipped.StoredNames(names.classes, tuple(names.label.tolist()), share))


@dataclass(frozen=True)
class Made:
    """The command of a run, the digest of its images, and what it took."""

    command: str
    digest: str
    processor_seconds: float


def story(name: str, recipe: Recipe, made: Made, rows: list[ResultRow], about: str, faults: list[str]) -> str:
    """The part of the card that tells how the model came to be."""
    row = rows[0]
    scores = [
        found for found in rows if found.variant != "real" and found.task is None and found.class_ is None and isinstance(found.value, int | float)
    ]
    table = "\n".join(f"| {registry.title(registry.row_name(found))} | {number(float(found.value or 0))} |" for found in scores)
    return f"""
## How it was made

{about}

| | |
|---|---|
| data | {recipe.data.name}, training split, SHA-256 {made.digest[:16]}... |
| licence of the data | {LICENCES[recipe.data.name]} |
| command | `{made.command}` |
| steps, seed | {recipe.training.steps:,}{" a task" if recipe.succession else ""}, {recipe.training.seed} |
| time | {made.processor_seconds / 60:.1f} processor minutes on {row.hardware} |
| commit | {row.commit} |

## Scores

Of the model as it was trained, by the protocol in its rows (`results.jsonl`), against held-out images.

| metric | value |
|---|---|
{table}

## Known faults

{chr(10).join(f"- {fault}" for fault in faults)}
- The unaveraged weights, optimisers and checkpoints are left out: training cannot continue from this folder.

`memogen sample {name} --out grid.png`, `memogen explore {name}` and `memogen.from_pretrained("{name}")` take it by its name.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--about", required=True)
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--command")
    told = parser.parse_args()
    print(ship(told.run, told.name, about=told.about, faults=told.fault, command=told.command))


if __name__ == "__main__":
    main()
