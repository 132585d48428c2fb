"""Do other priors draw what is rare? ``python -m benchmarks.rare_samples RUN... --out rows.jsonl``, of runs of a memoryGAN on long-tailed digits.

Every run draws by its own prior, by tempered ones, and from the rarest slots that held-out images confirm. One half of the test images confirms
slots, the other judges: share of the three classes rarest in training among the samples, by their share in training; recall and coverage of their
images (``memogen.metrics.rare``); precision of all samples. Test images are as many of each class, so they confirm more rare slots than
a held-out part of the long-tailed set itself would.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memogen.cli.files import choose_data, open_slots, recipe_of
from memogen.cli.scoring import origin
from memogen.memory import inspect
from memogen.metrics import extractor, prdc
from memogen.metrics.rare import rarest, reach, share_of
from memogen.metrics.rows import ResultRow, append_rows, judged, made
from memogen.metrics.samples import shuffled
from memogen.metrics.slots import name_slots, placed
from memogen.report.figures import draw_samples
from memogen.types import ImageData

TEMPERS = (0.5, 0.0)
SHARE = 0.3  # of the mass of confirmed slots
SAMPLES = 10_000


def halves(data: ImageData) -> tuple[ImageData, ImageData]:
    """The images that confirm slots, and those that judge, drawn once for all runs."""
    order = shuffled(len(data), 0)
    return tuple(_rows(data, np.sort(part)) for part in (order[::2], order[1::2]))  # type: ignore[return-value]


def _rows(data: ImageData, rows: np.ndarray) -> ImageData:
    assert data.label is not None, "digits have labels"
    return replace(data, image=np.array(data.image[rows]), label=np.array(data.label[rows]))


def weights(memory: Any, best: Tensor) -> Iterator[tuple[str, Tensor | None]]:
    """Each way to draw slots, by its name."""
    yield "prior", None
    yield from ((f"temper {temper:g}", inspect.tempered(memory, temper)) for temper in TEMPERS)
    yield from ((f"temper-density {temper:g}", inspect.density_tempered(memory, temper)) for temper in TEMPERS)
    yield f"rare {SHARE:g}", inspect.rare(memory, best, share=SHARE)
    yield f"rare {SHARE:g} by mass", inspect.rare(memory, best, share=SHARE, by="mass")


def measure(run: str, data: str | None, seed: int) -> Iterator[Mapping[str, object]]:
    """The rows of one run."""
    model, choice, recipe = open_slots(run), choose_data(data, model=run), recipe_of(run)
    memory, judge = model.memory, extractor("digits", image_shape=model.config.image_shape)
    assert memory is not None and recipe is not None, "a memoryGAN's run"
    train, (confirming, judging) = choice.load("train"), halves(choice.load("test"))
    rare, names = rarest(train), name_slots(placed(model, train), memory.num_slots)
    real = judge.features(torch.from_numpy(judging.image))
    assert judging.label is not None, "digits have labels"
    for name, weight in weights(memory, placed(model, confirming).slot):
        image = draw_samples(model, SAMPLES, seed=seed, weight=weight)
        with torch.no_grad():
            fake, logits = judge.features(image), judge(image)
        near = reach(real, judging.label, fake)
        recall, coverage = near.over(rare.classes)
        share = share_of(logits.softmax(1), rare.classes)
        precise = [prdc(real, block).precision for block in fake.split(len(real)) if len(block) == len(real)]
        drawn = torch.ones(memory.num_slots) if weight is None else weight
        slots = ((drawn > 0) & inspect.written(memory) & (memory.values > 0.5)).nonzero()[:, 0]
        protocol = {
            **judged(judge),
            "drawn": name,
            "seed": seed,
            "num_samples": SAMPLES,
            "confirming": len(confirming),
            "judging": len(judging),
            "classes": rare.classes,
            "training_share": rare.share,
            "slots": len(slots),
            "effective_slots": inspect.effective_number(inspect.prior(memory) if weight is None else _shares(weight, slots)),
            "slots_of_rare_classes": sum(int(names.label[slot]) in rare.classes for slot in slots.tolist()),
            "neighbours": 5,
            "block": near.block,
        }
        values = {"rare_share": share / rare.share, "rare_recall": recall, "rare_coverage": coverage, "precision": float(np.mean(precise))}
        whose = {**origin(run), "variant": f"{recipe.variant}, {name}"}
        for metric, value in values.items():
            yield ResultRow.read({**whose, "metric": metric, "value": value, "protocol": protocol, "split": "test", **made(torch.device("cpu"))})


def _shares(weight: Tensor, slots: Tensor) -> Tensor:
    return weight[slots].double() / weight[slots].double().sum()


def main() -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("run", nargs="+")
    words.add_argument("--data", help="as of memogen; without it the runs' own")
    words.add_argument("--seed", type=int, default=0, help="of the samples")
    words.add_argument("--out", type=Path, required=True, help="a .jsonl file to append rows to")
    given = words.parse_args()
    for run in given.run:
        rows = list(measure(run, given.data, given.seed))
        append_rows(given.out, [{**row, "command": shlex.join(["python", "-m", "benchmarks.rare_samples", *sys.argv[1:]])} for row in rows])
        for row in rows:
            print(f"{run} {row['variant']:<28} {row['metric']:<14} {row['value']:.3f}")


if __name__ == "__main__":
    main()
