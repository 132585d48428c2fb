"""Pictures of what memory edits do: ``python -m benchmarks.edit_pictures {forget,unlearn,freeze} MODEL --out FILE.png``.

Images of one column have the same noise. ``forget``: samples as trained and without some classes of Fashion-MNIST or the digits. ``unlearn``: images
from the keys of a forgotten class, by the generator as trained, after :mod:`memogen.training.unlearning`, and after Selective Amnesia.
``freeze``: MODEL is a run of ``memory_gan/digits_without_9``; the arms of :mod:`benchmarks.fine_tuning`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.fine_tuning import PICTURES
from benchmarks.fine_tuning import Subject as Tuned
from benchmarks.unlearning import Amnesia
from memogen.data import load
from memogen.metrics.slot_choice import ENOUGH, drawn, slots_of_classes, without_classes
from memogen.metrics.slots import Placed, placed
from memogen.pretrained import from_pretrained
from memogen.report.figures import draw
from memogen.report.grid import sheet
from memogen.training.unlearning import STEPS, Unlearning

COLUMNS = 16
SEED = 3  # of the noise
TUNED = {
    "before": "samples of a model of nine digits",
    "free": "after 500 steps with nines alone",
    "frozen": "the same, slots frozen",
    "replay": "the same, with replay",
    "frozen_replay": "the same, slots frozen and with replay",
}

Row = tuple[str, Tensor]


def _samples(model: Any, weight: Tensor | None = None) -> Tensor:
    return draw(model, model.latents_at(torch.arange(COLUMNS), seed=SEED, weight=weight))


def _known(model: Any, data: str) -> Placed:
    name, place = ("digits", None) if data == "digits" else ("fashion-mnist", Path(data))
    return drawn(model, placed(model, load(name, split="train", folder=place), num=ENOUGH))


def forget(model: Any, known: Placed, classes: Sequence[int]) -> Iterator[Row]:
    """As trained, and without each class by itself."""
    memory = model.memory
    yield "as trained", _samples(model)
    for label in classes:
        model.memory = without_classes(memory, known, [label])[0]
        yield f"without class {label}, {known.images.classes[label]}" if known.images.classes else f"without class {label}", _samples(model)


def unlearn(model: Any, known: Placed, label: int) -> Iterator[Row]:
    """The forgotten keys, and the others, of three generators."""
    gone = slots_of_classes(model.memory, known, [label])
    old = torch.zeros(model.memory.num_slots).index_fill(0, gone, 1.0) * model.memory.mass
    yield f"from the keys of class {label}, as trained", _samples(model, old)
    others = [("from the other keys, as trained", _samples(model, model.memory.mass - old))]
    for name, task in (("unlearning", Unlearning(model, gone)), ("Selective Amnesia, strength 1", Amnesia(model, gone, hold=1.0))):
        for number in range(STEPS):
            task.step(number)
        yield f"after {name}", _samples(task.model, old)
        others.append((f"after {name}", _samples(task.model, model.memory.mass - old)))
    yield from others


def freeze(run: Path) -> Iterator[Row]:
    """Samples after each training with nines alone; and five nines, written as slots, with images from these."""
    tuned = Tuned(run)
    with tempfile.TemporaryDirectory() as folder:
        for arm, words in TUNED.items():
            yield words, _samples(tuned.tuned(arm, Path(folder) / arm)[0])
        yield "five nines, written as slots", torch.from_numpy(tuned.pictures().image[:PICTURES])
        for arm, words in (("five", "images from these slots"), ("five_trained_replay", "after 50 steps on them with replay, slots frozen")):
            model, stays = tuned.tuned(arm, Path(folder) / arm)
            real = model.memory.mass * (model.memory.values > 0.5)
            yield words, _samples(model, real.index_fill(0, stays, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edit", choices=("forget", "unlearn", "freeze"))
    parser.add_argument("model", help="a run folder, or a model that ships")
    parser.add_argument("--data", default="digits", help="digits, or the folder of Fashion-MNIST")
    parser.add_argument("--classes", default="3", help="class numbers, as 2,8; for unlearn one")
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    classes = [int(label) for label in told.classes.split(",")]
    if told.edit == "freeze":
        rows = list(freeze(Path(told.model)))
    else:
        model = from_pretrained(told.model)
        known = _known(model, told.data)
        rows = list(forget(model, known, classes) if told.edit == "forget" else unlearn(model, known, classes[0]))
    sheet([image for _, image in rows], [words for words, _ in rows]).save(told.out)


if __name__ == "__main__":
    main()
