"""Forgetting: of earlier tasks, by the matrix of accuracies after each task, and of earlier fakes, by the discriminator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.metrics.metric import Asked, Metric, Number, Result, needs
from memogen.metrics.novelty import auroc
from memogen.metrics.samples import Work, device_of, finite, images_at, part_of
from memogen.training.checkpoint import checkpoints, read_checkpoint, step_of
from memogen.types import GenerativeModel, ImageData, InputError, Pixels, to_range


@dataclass(frozen=True)
class AccuracyMatrix:
    """``values[i, j]``: the accuracy on task j after learning tasks 0 to i. Entries above the diagonal, of tasks not yet learned, may be nan."""

    values: Float[np.ndarray, "learned tasks"]

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise InputError(f"accuracy matrix: its shape is {shape}: give one row and one column for each task")
        if not np.isfinite(self.values[np.tril_indices(len(self.values))]).all():
            raise InputError("accuracy matrix: an accuracy of a task already learned is missing: evaluate every task so far after each task")

    @property
    def average_accuracy(self) -> float:
        """The mean over all tasks after the last one (Lopez-Paz and Ranzato 2017, "ACC")."""
        return float(self.values[-1].mean())

    @property
    def backward_transfer(self) -> float:
        """The mean over earlier tasks of the final accuracy less that right after learning the task (2017, "BWT"): negative is forgetting."""
        self._more_than_one("backward transfer")
        return float((self.values[-1] - self.values.diagonal())[:-1].mean())

    @property
    def forgetting(self) -> float:
        """The mean over earlier tasks of the best accuracy before the last task less the final one (Chaudhry et al. 2018, Eq. 3)."""
        self._more_than_one("forgetting")
        learned = np.where(np.tri(len(self.values), dtype=bool), self.values, -np.inf)  # accuracies before task j was learned do not count
        return float((learned[:-1, :-1].max(axis=0) - self.values[-1, :-1]).mean())

    def _more_than_one(self, what: str) -> None:
        if len(self.values) < 2:
            raise InputError(f"{what}: there is one task: learn two or more")


# --- does a discriminator forget earlier fakes? ---
# Kim, Kim and Kim 2018, section 1, name this as a cause of unstable training: a discriminator that forgets earlier fakes lets the generator return to
# them. Here the final discriminator judges samples of the generator at every kept checkpoint of its run, and held-out real images, since one that
# calls everything fake would look perfect otherwise.


FAKES = 1000  # of each checkpoint
_BLOCK = 250


@dataclass(frozen=True)
class Judgement:
    """Logits of the final D, below 0 for fake: of fakes by the step of their generator, the last of which is D's own, and of held-out real images.

    ``then``: for each step, the AUROC of that step's D for the same real images against its own generator's fakes.
    """

    fakes: Mapping[int, Float[Tensor, " s"]]
    real: Float[Tensor, " r"]
    then: Mapping[int, float]

    @property
    def accuracies(self) -> dict[int, float]:
        """The share of fakes that D recognises, by the step of their generator."""
        return {step: float((logit < 0).double().mean()) for step, logit in sorted(self.fakes.items())}

    @property
    def ranked(self) -> dict[int, float]:
        """D's AUROC of the real images against the fakes, by the step of their generator."""
        return {step: auroc(self.real, logit) for step, logit in sorted(self.fakes.items())}

    @property
    def forgetting(self) -> dict[int, float]:
        """By step, the AUROC of that step's D less that of the final D; negative if the final one is better."""
        return {step: self.then[step] - now for step, now in self.ranked.items()}

    @property
    def real_accuracy(self) -> float:
        """The share of held-out real images that D takes for real."""
        return float((self.real > 0).double().mean())


def earlier(by_step: Mapping[int, float]) -> float:
    """The mean over all steps but the last."""
    *steps, _ = sorted(by_step)
    return sum(by_step[step] for step in steps) / len(steps)


@runtime_checkable
class Discriminates(GenerativeModel, Protocol):
    """A model that keeps its D: ``score`` is D's logit. ``config`` builds the model anew; after its weights are loaded, ``calibrate`` computes the
    batch statistics that it draws with.
    """

    config: Any

    def score(self, image: Pixels) -> Float[Tensor, " b"]: ...
    def calibrate(self) -> None: ...


def judge_past(model: Discriminates, run: Path, data: ImageData, *, seed: int = 0, work: Work | None = None) -> Judgement:
    """The logits of the model's D for 1,000 fakes of each checkpoint of its run and for at most 5,000 images of ``data``.

    The generators are not weight-averaged and have their own batch statistics. Raises InputError for fewer than two checkpoints.
    """
    found, work = kept_checkpoints(run), work or Work()
    part = part_of(data, 5000)
    image = to_range(images_at(part, slice(None)), model.image_range)
    fakes, then = dict[int, Tensor](), dict[int, float]()
    work.bar.stage("fakes of checkpoints", FAKES * len(found))
    for path in found:
        past, step = _past(model, path), step_of(path)
        fake = torch.cat([past.sample(min(_BLOCK, FAKES - start), seed=seed, start=start) for start in range(0, FAKES, _BLOCK)])
        fakes[step] = _scores(model, fake)  # in floats, as in D's training
        then[step] = auroc(_scores(past, image), _scores(past, fake))
        work.bar.advance(FAKES)
    return Judgement(fakes, _scores(model, image), then)


def kept_checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, the oldest first. Raises InputError for fewer than two."""
    found = checkpoints(run)
    if len(found) < 2:
        mend = "train with --training.keep 5 and a training.checkpoint_every of a fifth of the steps"
        raise InputError(f"metric critic: {run} keeps {len(found)} checkpoints, and one before the last is needed: {mend}")
    return found


def _past(model: Discriminates, path: Path) -> Discriminates:
    """The model of a checkpoint, with batch statistics of its own."""
    try:
        files, _ = read_checkpoint(path)
        past = model.config.build()
        past.load_state_dict(files["model"])
    except (ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"metric critic: {path}: {str(error).splitlines()[0]}: train again, or leave critic out") from error
    past = past.to(device_of(model)).eval()
    past.calibrate()
    return past


def _scores(model: Discriminates, image: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    return finite(torch.cat([model.score(part).cpu() for part in image.split(_BLOCK)]), "the discriminator's scores")


# --- the metric ---


def check(asked: Asked) -> None:
    if not isinstance(asked.subject, Discriminates):
        raise asked.unable("critic", "has no discriminator that was kept")
    if not len(asked.data):
        raise InputError(f"metric critic: {asked.data.name} has no images in split {asked.data.split}: give another")


def results(asked: Asked) -> Iterator[Result]:
    assert asked.run is not None, "the driver has checked"
    found = judge_past(asked.subject, asked.run, asked.data, seed=asked.seed, work=asked.work)
    by_step, real = found.accuracies, found.real_accuracy
    protocol = {"by_step": by_step, "present": by_step[max(by_step)], "num_samples": FAKES, "held_out": len(found.real)}
    yield Result("critic_past_fakes", earlier(by_step), None, protocol)
    yield Result("critic_held_out", real, None, {"num_samples": len(found.real)})
    yield Result("critic_balanced", (earlier(by_step) + real) / 2, None, protocol)
    for name, values in (("critic_ranked", found.ranked), ("critic_forgetting", found.forgetting)):
        yield Result(name, earlier(values), None, {**protocol, "by_step": values, "present": values[max(values)]})


CRITIC = Metric(
    "critic",
    "does it know fakes of earlier checkpoints?",
    (
        Number("critic_past_fakes", "D knows past fakes", "higher"),
        Number("critic_held_out", "D knows real images", "higher"),
        Number("critic_balanced", "D balanced", "higher"),
        Number("critic_ranked", "D ranks past fakes", "higher"),
        Number("critic_forgetting", "D forgets", "lower"),
    ),
    needs("model", "checkpoints"),
    results,
    check,
)

KEPT_OF_TASKS = (
    Number("average_accuracy", "average accuracy", "higher", tabled=False),
    Number("backward_transfer", "backward transfer", "higher"),
    Number("forgetting", "forgetting", "lower"),
)
"""Numbers of a sequence of tasks."""
