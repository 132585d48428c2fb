"""What a forgotten class costs, and whether its old keys still draw it: ``python -m benchmarks.unlearning MODEL ... --out FILE.jsonl``.

Each class of the data in turn is forgotten by the slots that labelled images say hold it. Arms: ``edit``, the slots are emptied and nothing is
trained; ``unlearn``, the generator is trained as :mod:`memogen.training.unlearning` says; ``amnesia``, as Heng and Soh 2023 ("Selective
Amnesia: a continual learning approach to forgetting in deep generative models", Eq. 6): the forgotten slots are to draw uniform noise, the others
what they drew, and each weight is held by its Fisher information. Its strength is ``--hold``, tried for several values.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memogen.cli.scoring import origin
from memogen.data import load
from memogen.metrics import append_rows
from memogen.metrics.extractors import extractor
from memogen.metrics.fid import gaussian_distance, moments
from memogen.metrics.metric import probabilities
from memogen.metrics.rows import made
from memogen.metrics.samples import Watch, shuffled
from memogen.metrics.slot_choice import ENOUGH, drawn, slots_of_classes, without_classes
from memogen.metrics.slots import Placed, placed
from memogen.nets.norm import evaluating
from memogen.noise import uniform
from memogen.pretrained import from_pretrained
from memogen.training.unlearning import STEPS, Unlearning
from memogen.types import ImageData, to_uint8

FISHER = 200  # images that tell how much each weight matters
STREAM = 77  # of the noise that is drawn instead


class Amnesia(Unlearning):
    """The baseline: noise in place of the nearest slot's images, and weights held by their Fisher information times ``hold``."""

    def __init__(self, model: Any, slots: Tensor, *, hold: float, **options: Any) -> None:
        super().__init__(model, slots, **options)
        self.hold, self.start = hold, [weight.detach().clone() for weight in self.model.generator.parameters()]
        self.fisher = self._fisher() if hold else [torch.zeros(()) for _ in self.start]

    def step(self, number: int) -> Tensor:
        asked, (low, high) = self.latents(number), self.before.image_range
        half = self.batch_size // 2
        with torch.no_grad(), evaluating(self.before.generator):
            wanted = self.before.generate(asked)
            noise = uniform(self._index(number)[:half], wanted[0].numel(), seed=self.seed, stream=STREAM)
            wanted[:half] = (low + (high - low) * noise).view_as(wanted[:half]).to(wanted)
        with evaluating(self.model.generator):
            loss = (self.model.generate(asked) - wanted).square().flatten(1).sum(1).mean()
        moved = zip(self.fisher, self.model.generator.parameters(), self.start, strict=True)
        held = sum(((fisher * (weight - start).square()).sum() for fisher, weight, start in moved), torch.zeros(()))
        self.descend(loss + self.hold / 2 * held, number)
        return loss.detach()

    def _fisher(self) -> list[Tensor]:
        """Of N(G(z, q), 1) over the slots that stay: E (d <G, e> / d w)^2 with e standard normal."""
        weights, chance = list(self.before.generator.parameters()), torch.Generator().manual_seed(self.seed)
        found = [torch.zeros_like(weight) for weight in weights]
        with evaluating(self.before.generator):
            for number in range(FISHER):
                drawn = self.before.generate(self.before.latents_at(torch.tensor([number]), seed=self.seed, weight=self.memory.mass * self.stays))
                for total, gradient in zip(
                    found, torch.autograd.grad((drawn * torch.randn(drawn.shape, generator=chance)).sum(), weights), strict=True
                ):
                    total += gradient.square() / FISHER
        return found


@dataclass(frozen=True)
class Subject:
    """A trained model, and what it is asked with."""

    model: Any
    known: Placed
    test: ImageData
    watch: Watch
    samples: int
    steps: int

    def look(self, model: Any, seed: int, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of as many samples, and the class that the judge takes each for."""
        source = partial(_draw, model, seed, weight)
        return self._seen(source, self.samples)

    def _seen(self, source: Any, num: int) -> tuple[Tensor, Tensor]:
        seen = [(part.features, probabilities(part).argmax(1)) for part in self.watch(source, num)]
        return torch.cat([features for features, _ in seen]), torch.cat([found for _, found in seen])

    def forgotten(self, label: int, arm: str, hold: float, rate: float) -> dict[str, float]:
        """What is left of the class, what the others cost, and how long it took."""
        memory, gone = self.model.memory, slots_of_classes(self.model.memory, self.known, [label])
        began, model = time.process_time(), deepcopy(self.model)
        if arm != "edit":
            options: dict[str, Any] = {"steps": self.steps, "learning_rate": rate}
            task = Amnesia(self.model, gone, hold=hold, **options) if arm == "amnesia" else Unlearning(self.model, gone, **options)
            for number in range(self.steps):
                task.step(number)
            model = task.model
        seconds = time.process_time() - began
        old = torch.zeros(memory.num_slots).index_fill(0, gone, 1.0) * memory.mass
        keyed = float((self.look(model, 1, old)[1] == label).double().mean())
        model.memory = without_classes(memory, self.known, [label])[0]
        features, found = self.look(model, 0)
        order = shuffled(len(self.test), 0)
        truth = torch.from_numpy(np.asarray(self.test.label)[order].astype(np.int64))
        real, seen = self._seen(lambda start, num: torch.from_numpy(np.array(self.test.image[order[start : start + num]])), len(order))
        others = truth != label
        start_features, start_found = self.look(self.model, 0)
        goal = moments(real[others], torch.ones(int(others.sum())))

        def away(rows: Tensor) -> float:
            return gaussian_distance(*moments(rows, torch.ones(len(rows))), *goal)

        return {
            "old_keys": keyed,
            "share": float((found == label).double().mean()),
            "floor": float((seen[others] == label).double().mean()),
            "distance_before": away(start_features[start_found != label]),
            "distance_after": away(features[found != label]),
            "seconds": seconds,
        }

    def measured(self, arm: str, hold: float, rate: float, classes: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Rows: means over the classes, and the worst; each class in the protocol."""
        found = {label: self.forgotten(label, arm, hold, rate) for label in classes}
        protocol = {"steps": self.steps * (arm != "edit"), "hold": hold, "learning_rate": rate, "num_samples": self.samples, "by_class": found}
        for name in ("old_keys", "seconds"):
            yield {"metric": f"unlearned_{name}", "value": fmean(one[name] for one in found.values()), "protocol": protocol}
        left = [one["share"] - one["floor"] for one in found.values()]
        rise = [one["distance_after"] / one["distance_before"] - 1 for one in found.values()]
        for name, values in (("left", left), ("cost", rise)):
            yield {"metric": f"unlearned_{name}", "value": fmean(values), "protocol": protocol}
            yield {"metric": f"unlearned_{name}_most", "value": max(values), "protocol": protocol}


def _draw(model: Any, seed: int, weight: Tensor | None, start: int, num: int) -> Tensor:
    index = torch.arange(start, start + num)
    return to_uint8(model.decode(model.latents_at(index, seed=seed, weight=weight)), model.image_range)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+", help="run folders, or models that ship")
    parser.add_argument("--data", default="digits", help="digits, or the folder of Fashion-MNIST")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arm", choices=("edit", "unlearn", "amnesia"), default="unlearn")
    parser.add_argument("--hold", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--classes", default="0,1,2,3,4,5,6,7,8,9")
    told = parser.parse_args(words)
    command = f"python -m benchmarks.unlearning {' '.join(words if words is not None else sys.argv[1:])}"
    name, place = ("digits", None) if told.data == "digits" else ("fashion-mnist", Path(told.data))
    for one in told.model:
        model: Any = from_pretrained(one)
        train, test = (load(name, split=split, folder=place) for split in ("train", "test"))
        judge = extractor(name, device="cpu", image_shape=model.config.image_shape)
        subject = Subject(model, drawn(model, placed(model, train, num=ENOUGH)), test, Watch(judge, 250), told.samples, told.steps)
        rows = [
            {**origin(one), "variant": told.arm, "command": command, **row, **made(torch.device("cpu"))}
            for row in subject.measured(told.arm, told.hold, told.rate, [int(label) for label in told.classes.split(",")])
        ]
        append_rows(told.out, rows)
        print(one, told.arm, told.hold, told.rate, " ".join(f"{row['metric']} {row['value']:.4f}" for row in rows), flush=True)


if __name__ == "__main__":
    main()
