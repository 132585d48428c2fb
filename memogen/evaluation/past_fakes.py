"""Does a discriminator forget the fakes of the past? The last one judges images of the generator as it was at every kept checkpoint of its run.

Kim, Kim and Kim 2018, section 1, take forgetting for a cause of unstable training: a discriminator that unlearns what it was once shown lets the
generator return to it. A discriminator that calls everything fake would look perfect, so held-out real images are judged beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memogen.evaluation.held_out import part_of
from memogen.evaluation.work import Work
from memogen.models import MemoryGAN
from memogen.training.checkpoint import checkpoints, read_checkpoint, step_of
from memogen.types import ImageData, InputError, to_range

FAKES = 1000  # of each checkpoint
_BLOCK = 250


@dataclass(frozen=True)
class Judgement:
    """Logits of D: of fakes by the step of their generator, the last of which is D's own, and of held-out real images. Below 0 means fake.

    ``then`` holds, by step, what the D of that time could tell: its :func:`ranked` of the same real images and its own generator's fakes.
    """

    fakes: Mapping[int, Float[Tensor, " s"]]
    real: Float[Tensor, " r"]
    then: Mapping[int, float]

    @property
    def accuracies(self) -> dict[int, float]:
        """The share of fakes found out, by the step of their generator."""
        return {step: float((logit < 0).double().mean()) for step, logit in sorted(self.fakes.items())}

    @property
    def ranked(self) -> dict[int, float]:
        """:func:`ranked` of the real images and the fakes, by the step of the generator."""
        return {step: ranked(self.real, logit) for step, logit in sorted(self.fakes.items())}

    @property
    def forgetting(self) -> dict[int, float]:
        """How much better the D of a step told its fakes from real images than the last D does; below 0 where that one does better."""
        return {step: self.then[step] - now for step, now in self.ranked.items()}

    @property
    def real_accuracy(self) -> float:
        """The share of held-out real images taken for real."""
        return float((self.real > 0).double().mean())


def earlier(by_step: Mapping[int, float]) -> float:
    """The mean over all steps but the last."""
    *steps, _ = sorted(by_step)
    return sum(by_step[step] for step in steps) / len(steps)


def judge_past(model: MemoryGAN, run: Path, data: ImageData, *, seed: int = 0, work: Work | None = None) -> Judgement:
    """The model's D about 1,000 fakes of each checkpoint of its run, unaveraged and with batch statistics of their own, and about ``data``.

    Real images are 5,000 at most. Raises InputError where there are no two checkpoints.
    """
    found, work = kept(run), work or Work()
    part = part_of(data, 5000)
    image = to_range(torch.from_numpy(np.array(part.image)), model.image_range)
    fakes, then = dict[int, Tensor](), dict[int, float]()
    work.bar.stage("fakes of checkpoints", FAKES * len(found))
    for path in found:
        past, step = _past(model, path), step_of(path)
        fake = torch.cat([past.sample(min(_BLOCK, FAKES - start), seed=seed, start=start) for start in range(0, FAKES, _BLOCK)])
        fakes[step] = _scores(model, fake)  # in floats, as D was trained on them
        then[step] = ranked(_scores(past, image), _scores(past, fake))
        work.bar.advance(FAKES)
    return Judgement(fakes, _scores(model, image), then)


def kept(run: Path) -> list[Path]:
    """The run's checkpoints, the oldest first. Raises InputError where there is none beside the last."""
    found = checkpoints(run)
    if len(found) < 2:
        mend = "train with --training.keep 5 and a training.checkpoint_every of a fifth of the steps"
        raise InputError(f"metric critic: {run} keeps {len(found)} checkpoints, and one before the last is needed: {mend}")
    return found


def ranked(real: Float[Tensor, " r"], fake: Float[Tensor, " s"]) -> float:
    """How often a real image scores above a fake one, ties by half: 1 where D tells them apart, 1/2 where it guesses (the area under the curve)."""
    order = fake.sort().values
    ranks = [torch.searchsorted(order, real, right=right).double().mean() for right in (False, True)]
    return float((ranks[0] + ranks[1]) / 2 / len(fake))


def _past(model: MemoryGAN, path: Path) -> MemoryGAN:
    """The model as it was in a checkpoint, with its own batch statistics."""
    try:
        files, _ = read_checkpoint(path)
        past = model.config.build()
        past.load_state_dict(files["model"])
    except (ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"metric critic: {path}: {str(error).splitlines()[0]}: train again, or leave critic out") from error
    past = past.to(model.device).eval()
    past.calibrate()
    return past


def _scores(model: MemoryGAN, image: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    return torch.cat([model.score(part).cpu() for part in image.split(_BLOCK)])
