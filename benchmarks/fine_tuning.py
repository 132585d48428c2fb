"""What frozen slots keep in a fine-tuning: ``python -m benchmarks.fine_tuning RUN ... --out FILE.jsonl``.

Each RUN is of ``memory_gan/digits_without_9``; its model of nine digits trains on with nines alone. Arms: nothing is kept (``free``); all real slots
but the lightest tenth, which is emptied, are frozen (``frozen``); a copy of the model replays its slots (``replay``); both. And five nines, written
as slots: without training (``five``), and after 50 steps on these five pictures with all other real slots frozen, without and with replay.
A run of ``no_memory`` has the arms that need no slots: a plain GAN in the same trainings. Their rows are named ``plain_``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memogen.data import load
from memogen.data.arrays import digest
from memogen.data.task_sequence import of_classes
from memogen.memory.edit import added, frozen, without
from memogen.memory.inspect import prior, written
from memogen.metrics import append_rows, evaluate
from memogen.metrics.extractors import extractor
from memogen.metrics.modes import class_shares
from memogen.metrics.rows import made
from memogen.metrics.samples import shuffled
from memogen.metrics.slot_contents import slot_recall
from memogen.pretrained import from_pretrained
from memogen.runs import load_config
from memogen.training import TrainingConfig, fit
from memogen.training.fit import Course
from memogen.types import ImageData

NEW = 9
OLD = tuple(range(NEW))
STEPS, FEW_STEPS, PICTURES = 500, 50, 5
ROOM = 0.1  # of the real slots
PLAIN_ARMS = ("before", "free", "replay", "five_trained", "five_trained_replay")
ARMS = (*PLAIN_ARMS, "frozen", "frozen_replay", "five")


@dataclass(frozen=True)
class Subject:
    """A trained run, and what it is asked with."""

    run: Path
    samples: int = 5000
    steps: int = STEPS
    few_steps: int = FEW_STEPS

    def tuned(self, arm: str, folder: Path) -> tuple[Any, torch.Tensor | None]:
        """The model after the arm, and the slots that were to stay as they were; None without memory."""
        model: Any = from_pretrained(self.run)
        if model.memory is None:
            return model if arm == "before" else self._trained(model, arm, folder), None
        real = (model.memory.values > 0.5) & written(model.memory)
        if arm.startswith("five"):
            model.memory, new = added(model.memory, model.encode(torch.from_numpy(self.pictures().image[:PICTURES])), share=0.1)
            stays = real.index_fill(0, new, False).nonzero()[:, 0]
        else:
            light = prior(model.memory).masked_fill(~real, 2).argsort()[: round(ROOM * int(real.sum()))]
            stays = real.index_fill(0, light, False).nonzero()[:, 0]
            if arm.startswith("frozen"):
                model.memory = without(model.memory, light)
        if arm in ("before", "five"):
            return model, stays
        if arm.startswith(("frozen", "five")):
            model.memory = frozen(model.memory, stays)
        return self._trained(model, arm, folder), stays

    def pictures(self) -> ImageData:
        """Nines to learn from, in an order of the run's seed."""
        nines = of_classes(load("digits", split="train"), [NEW])
        order = shuffled(len(nines), load_config(self.run / "config.yaml").training.seed)
        return _rows(nines, order)

    def _trained(self, model: Any, arm: str, folder: Path) -> Any:
        recipe = load_config(self.run / "config.yaml")
        five, replays = arm.startswith("five"), arm.endswith("replay")
        data = _rows(self.pictures(), np.arange(PICTURES).repeat(13)) if five else self.pictures()
        objective: Any = replace(recipe.objective, replay=replays)  # type: ignore[type-var]  # of a memoryGAN
        teacher = objective.teacher(model)
        if teacher is not None:
            objective.teach(teacher, model)
        steps = self.few_steps if five else self.steps
        config = TrainingConfig(steps, seed=recipe.training.seed, ema_decay=0.98, checkpoint_every=steps, sample_every=0, device="cpu")
        fit(model, objective, data, config, folder, console=False, course=Course(teacher=teacher))
        return from_pretrained(folder / "model")

    def measured(self, arm: str) -> Iterator[dict[str, Any]]:
        """The rows of an arm."""
        test, judge = load("digits", split="test"), extractor("digits", device="cpu", image_shape=(1, 8, 8))
        trained = {"five": 0, "before": 0}.get(arm, self.few_steps if arm.startswith("five") else self.steps)
        protocol: dict[str, Any] = {"steps": trained, "num_samples": self.samples}
        with tempfile.TemporaryDirectory() as folder:
            model, stays = self.tuned(arm, Path(folder))
            shares = class_shares(model, judge, OLD, self.samples, seed=0)
            (distance,) = (row.value for row in evaluate(model, test, metrics=["fid"], num_samples=self.samples, progress=False))
            values = {"new_share": float(shares.share[NEW]), "old_divergence": shares.divergence, "fid": distance}
            protocol["shares"] = [round(float(share), 4) for share in shares.share]
            if stays is not None:
                recalled = {each.label: each.recalled for each in slot_recall(model, test, judge)}
                keys = model.memory.keys[stays] == from_pretrained(self.run).memory.keys[stays]
                values["kept_slots"] = float(keys.all(1).double().mean())
                values["old_recall"] = float(np.mean([recalled[label] for label in OLD]))
                values["new_recall"] = recalled[NEW]
                protocol["recalled"] = recalled
        for metric, value in values.items():
            yield {"metric": metric, "value": value, "protocol": protocol}


def _rows(data: ImageData, order: np.ndarray) -> ImageData:
    image = np.ascontiguousarray(np.asarray(data.image)[order])
    label = None if data.label is None else np.asarray(data.label)[order]
    return replace(data, image=image, label=label, digest=digest(image, label))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", help="comma-separated; default: all that the run's model has")
    parser.add_argument("--quick", action="store_true", help="a step of each, which only shows that all runs")
    told = parser.parse_args(words)
    command = f"python -m benchmarks.fine_tuning {' '.join(words if words is not None else sys.argv[1:])}"
    for run in told.run:
        subject = Subject(run, 200, 1, 1) if told.quick else Subject(run)
        recipe = load_config(run / "config.yaml")
        plain = recipe.variant == "no_memory"
        for arm in told.arms.split(",") if told.arms else PLAIN_ARMS if plain else ARMS:
            about = {
                "recipe": recipe.recipe,
                "variant": f"plain_{arm}" if plain else arm,
                "seed": recipe.training.seed,
                "budget": "quick" if told.quick else "short",
            }
            rows = [{**about, "command": command, **row, **made(torch.device("cpu"))} for row in subject.measured(arm)]
            append_rows(told.out, rows)
            print(run.name, arm, " ".join(f"{row['metric']} {row['value']:.3f}" for row in rows), flush=True)


if __name__ == "__main__":
    main()
