"""How a run goes, in one sentence: the evidence, and :func:`judge`, which chooses the sentence. Each limit has its reason beside it."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from memogen.metrics.copies import pixel_check
from memogen.metrics.slots import variance_between
from memogen.parsing import read_regular
from memogen.types import GenerativeModel, ImageData, InputError, Latents, SlotModel

from .figures import draw, draw_samples
from .history import Run, is_number, series
from .parts import Sign, write_page

FILE = "verdict.json"
BEGUN = 200  # steps; until then the averaged weights, which draw the samples, still hold much of the random initial ones
WON = 0.9  # of D on real images, and 1 - WON on generated ones: sound runs end at 0.57 to 0.66, against an untrained generator it is 0.95
IN_USE = 0.25  # of the real slots, by the entropy of their mass: a sound memory uses 0.99 of them
ALIKE = 0.9  # mean cosine of two real keys, and of two queries: below 0.1 in a sound memory, 1 with a critic that tells nothing apart
BY_SLOT = 0.25  # of the variance of pixels: sound runs have 0.85 to 0.91; a run without contrast and information fell below 0.19
NEAR = 0.5  # of the usual distance between a training image and the nearest other one: fresh real images lie at 1, copies at 0
GAIN = 0.03  # of the improvement since the first evaluation, over the last half of the training: less is not visible in samples
LOSS = 0.25  # of that improvement is lost again
EVALUATIONS = 6  # fewer show no trend
SIDE = 16  # slots, and noises for each, whose images are compared
ASKED, COMPARED = 256, 5000  # samples, and training images that they are compared with
QUALITY = (("kid", False), ("fid", False), ("inception_score", True), ("held_out/lower_bound", True), ("bound/bound", True))
"""The scores whose course may be judged, the most telling first, and whether more is better."""


@dataclass(frozen=True)
class Course:
    """A score over training. ``gain``: from the first evaluation to the best. ``late``: the rise of a straight line through the last half, positive
    for better, as a share of the gain; ``error``: its standard error. ``best``: the step of the best evaluation.
    """

    name: str
    evaluations: int
    gain: float
    late: float
    error: float
    best: int


@dataclass(frozen=True)
class Evidence:
    """What is known of a run; None if it was not measured.

    ``steps`` done; ``broken``: the losses that are NaN or infinite. ``real`` and ``fake``: the mean D of real and of generated images at the end.
    ``in_use``: the share of the real slots that hold the mass. ``alike``: mean cosine of two real keys or of two held-out queries, the larger one.
    ``by_slot``: the share of the variance of generated pixels between slots. ``near``: the median distance of a sample to its nearest training
    image, divided by that of a training image to the nearest other one. ``course``: of the quality. ``own``: what the model's family says.
    """

    steps: int = 0
    broken: tuple[str, ...] = ()
    real: float | None = None
    fake: float | None = None
    in_use: float | None = None
    alike: float | None = None
    by_slot: float | None = None
    near: float | None = None
    course: Course | None = None
    own: Sign | None = None


def judge(e: Evidence) -> Sign:
    """The first sentence that applies, without a full stop.

    A broken loss makes everything else meaningless, and so does a run that has only begun. What kills a memory comes before what may follow from it.
    The course of the score comes last, as the score of copied samples may improve as well.
    """
    own = e.own
    if e.broken:
        return Sign(False, f"{', '.join(e.broken)} {'is' if len(e.broken) == 1 else 'are'} NaN or infinite")
    if only_begun(e.steps, own):
        return Sign(None, f"it has only begun, and samples say little before step {BEGUN}: give it more steps")
    if e.alike is not None and e.alike >= ALIKE:
        how = f"keys or queries have a mean cosine of {e.alike:.2f}"
        return Sign(False, f"all slots of its memory hold the same: {how} (objective.contrast.weight above 0 mends it)")
    if e.in_use is not None and e.in_use < IN_USE:
        return Sign(False, f"its memory is hardly used: {e.in_use:.0%} of the real slots hold nearly everything that it learned")
    if e.by_slot is not None and e.by_slot < BY_SLOT:
        how = f"all slots draw much the same, and the slot explains only {e.by_slot:.0%} of the variance of samples"
        return Sign(False, f"its memory is hardly used: {how}")
    if e.real is not None and e.fake is not None and e.real >= WON and e.fake <= 1 - WON:
        how = f"mean D is {e.real:.2f} on real and {e.fake:.2f} on generated images"
        return Sign(False, f"the critic has won, and the generator learns little from it: {how} (more pictures or objective.augmentation help)")
    if e.near is not None and e.near < NEAR:
        how = f"a sample's distance to its nearest training image is {e.near:.0%} of that between training images"
        return Sign(False, f"it copies its training images: {how} (more pictures help)")
    if own is not None and own.alive is False:
        return own
    c, well = e.course, f", and {own.words}" if own is not None and own.alive else ""
    if c is not None and c.evaluations >= EVALUATIONS:
        if c.late < -LOSS and c.late < -2 * c.error:
            return Sign(False, f"its {c.name} gets worse again: it was best at step {c.best:,}")
        if c.late > GAIN and c.late > 2 * c.error:
            return Sign(True, f"its {c.name} still improves: train longer{well}")
        return Sign(True, f"its {c.name} no longer improves{well}")
    if own is not None:
        return own
    return Sign(None, "its losses are finite, and nothing else is known of how it goes" if e.steps else "it logged no losses")


def only_begun(steps: int, own: Sign | None) -> bool:
    """Whether the run is too short to be judged by its samples, and its family does not judge it either."""
    return 0 < steps < BEGUN and (own is None or own.alive is None)


def evidence(run: Run, model: GenerativeModel | None = None, data: ImageData | None = None, own: Sign | None = None) -> Evidence:
    """The evidence from the run's log, and from its ``model`` and training ``data`` if they are given and the run has more than begun."""
    newest = {key: value for row in run.metrics for key, value in row.items() if key.endswith(("/loss", "/bound"))}
    slots, share, used = run.setting("model.memory.num_slots"), run.last("critic/real_slots"), _late(run, "critic/effective_real")
    cosines = [value for key in ("key_cosine", "query_cosine") if (value := run.last(f"eval/held_out/{key}")) is not None]
    steps = run.count("step") or 0 if newest else 0
    model = None if only_begun(steps, own) else model
    return Evidence(
        steps=steps,
        broken=tuple(key for key, value in newest.items() if not is_number(value)),
        real=_late(run, "critic/real"),
        fake=_late(run, "critic/fake"),
        in_use=used / (slots * share) if isinstance(slots, int) and share and used is not None else None,
        alike=max(cosines, default=None),
        by_slot=slot_share(model) if isinstance(model, SlotModel) else None,
        near=nearness(model, data) if model is not None and data is not None else None,
        course=next(filter(None, (course(run, key, more) for key, more in QUALITY)), None),
        own=own,
    )


def _late(run: Run, key: str) -> float | None:
    """The mean over the last tenth of the run."""
    steps, values = series(run.metrics, key)
    return statistics.fmean(value for step, value in zip(steps, values, strict=True) if step >= 0.9 * steps[-1]) if steps else None


def course(run: Run, key: str, more: bool) -> Course | None:
    """The course of one score; None if it was evaluated fewer than three times during training."""
    wanted = next((name for row in run.metrics for name in row if name.endswith(f"/{key}") or name == key), None)
    steps, values = series(run.metrics, wanted) if wanted else ([], [])
    if len(steps) < 3:
        return None
    better = np.array(values) if more else -np.array(values)
    gain = float(better.max() - better[0])
    name = "bound" if "bound" in key else "likeness to real images"
    if gain <= 0:
        return Course(name, len(steps), 0.0, -math.inf, 0.0, int(steps[0]))
    rise, error = _rise(np.array(steps[len(steps) // 2 :]), better[len(steps) // 2 :])
    return Course(name, len(steps), gain, rise / gain, error / gain, int(steps[int(better.argmax())]))


def _rise(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The rise of the least-squares line over the range of ``x``, and its standard error."""
    if len(x) < 3:
        return float(y[-1] - y[0]), math.inf
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    left = y - y.mean() - slope * centred
    error = math.sqrt(float(left @ left) / (len(x) - 2) / float(centred @ centred))
    return slope * float(x[-1] - x[0]), error * float(x[-1] - x[0])


@torch.no_grad()
def slot_share(model: SlotModel) -> float | None:
    """The share of the variance of pixels between slots, 0 to 1, of 16 real slots drawn with the same 16 noises each.

    None for a model without memory, a generator that reads no slot, or a memory that holds nothing yet.
    """
    try:
        drawn = model.latents(SIDE)
    except InputError:
        return None
    if model.memory is None or drawn.key is None or drawn.slot is None:
        return None
    slots = drawn.slot.unique()
    if len(slots) < 2:
        return 0.0
    keys = torch.stack([drawn.key[drawn.slot == slot][0] for slot in slots])
    every = torch.arange(len(slots)).repeat_interleave(SIDE)
    image = draw(model, Latents(drawn.noise.repeat(len(slots), 1), keys[every], slots[every]))
    share = variance_between(image.flatten(1).float(), every.to(image.device))
    return 0.0 if math.isnan(share) else max(0.0, share)


def nearness(model: GenerativeModel, data: ImageData) -> float | None:
    """The median distance in pixels of a sample to the nearest training image, divided by that of a training image to the nearest other one.

    None if the images are too few, do not fit the model, or are all equal.
    """
    part = ImageData(data.image[:COMPARED], None, data.classes, data.name, data.split)
    asked = torch.from_numpy(np.linspace(0, len(part) - 1, min(ASKED, len(part))).round().astype(np.int64)).unique()
    try:
        samples = draw_samples(model, ASKED).cpu()
        if len(part) < 3 or tuple(samples.shape[1:]) != part.image_shape or part.image.dtype != np.uint8:
            return None
        found = pixel_check(samples, torch.from_numpy(np.array(part.image[asked.numpy()])), part, own=asked)
    except (InputError, RuntimeError):
        return None
    usual = float(found.held_out.median())
    return float(found.samples.median()) / usual if usual > 0 else None


def keep(folder: Path, sign: Sign) -> None:
    """Write the verdict beside the page, for the command line."""
    write_page(folder / FILE, json.dumps(asdict(sign)) + "\n")


def kept(folder: Path) -> str:
    """The words of the verdict in a run folder, or an empty text."""
    try:
        found = json.loads(read_regular(folder / FILE))
    except (OSError, ValueError):
        return ""
    return str(found.get("words", "")) if isinstance(found, dict) else ""
