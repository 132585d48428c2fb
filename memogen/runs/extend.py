"""Adds a category to a saved model, from the model and the new images alone.

The model's own generator replays the categories that it knows. The earlier data are not needed.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from .. import data as sets
from ..data import DataOptions
from ..data.arrays import digest
from ..data.task_sequence import of_classes
from ..metrics.accuracy import STUDENT, ClassJudge, ClassScore
from ..metrics.classifiers import Classifier, accuracy, train_classifier
from ..metrics.extractors import NetworkExtractor, extractor
from ..metrics.fid import FeatureStatistics, statistics_of
from ..metrics.rows import UNSEEN, ResultRow, append_rows, judged, made
from ..metrics.samples import Source, Watch, Work, drawn_batches, image_source, model_source, shuffled
from ..models import ReplayGAN, ReplayGANObjective
from ..models.replay_gan import AlignmentConfig, JointConfig
from ..models.replay_gan.model import with_class
from ..models.replay_gan.objective import images_in_a_step
from ..models.replay_gan.options import SHORT_ALIGNMENT, SHORT_RATE
from ..models.replayed import state_bytes
from ..pretrained import RUN_MODEL, from_pretrained
from ..progress import Bar
from ..report.history import read_rows
from ..report.page import write_report
from ..report.replay_gan import EXTENDED
from ..training import TrainingConfig, fit
from ..training.fit import Course
from ..training.runtime import choose_device
from ..types import ImageData, InputError, check_seed
from .folder import Fit, command_line, keep_options, leads, reading

Method = Literal["joint_replay", "replay_alignment", "joint_replay_alignment"]
JUDGE_SEED = 1 << 30  # of the images that a judge is trained on and compares with
NEW = "the new category"
REPLAYS = "replays and new images"
OWN_JUDGE = f"trained on {REPLAYS}"
LEARNED = "compared with the images that were learned, as too few were held out"
UNLIKE = ("command", "training_seconds", "date", "hardware")  # fields in which two rows of the same number may differ


@dataclass(frozen=True)
class ExtendConfig:
    """How a category is added: the ``method`` that keeps the other ones, the number of ``steps``, and the ``weights`` to start from, the running
    "averaged" ones (which draw the better replays) or the "live" ones of the last training. ``learning_rate`` is meant for few steps.

    ``extractor`` is the judge, a classifier's name or file; None trains one on the model's samples of its classes and on the new images.
    ``num_samples`` of each class are judged. ``fit`` brings new images of another size to the model's own (see :class:`DataOptions`); None: as in
    the run of the model, or else "resize".
    """

    method: Method = "joint_replay"
    steps: int = 1000
    learning_rate: float = SHORT_RATE
    batch_size: int = 64
    seed: int = 0
    weights: Literal["averaged", "live"] = "averaged"
    extractor: str | None = None
    num_samples: int = 1000
    precision: Literal["float32", "bf16"] = "float32"
    fit: Fit | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.method not in OBJECTIVES:
            raise InputError(f"method: {self.method!r} is unknown: choose {', '.join(OBJECTIVES)}")
        if self.weights not in ("averaged", "live"):
            raise InputError(f"weights: {self.weights!r} is unknown: choose averaged or live")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate}: use a positive number")
        if self.num_samples < 1:
            raise InputError(f"num_samples is {self.num_samples}: judge one image or more")


# departs: the known classes together weigh like the new one, as in the authors' code for LSUN; one by one, they drown it.
OBJECTIVES: dict[str, ReplayGANObjective] = {
    "joint_replay": ReplayGANObjective(joint=JointConfig("mean")),
    "replay_alignment": ReplayGANObjective(alignment=AlignmentConfig(SHORT_ALIGNMENT)),
    "joint_replay_alignment": ReplayGANObjective(joint=JointConfig("mean"), alignment=AlignmentConfig(SHORT_ALIGNMENT)),
}


@dataclass(frozen=True)
class Change:
    """The scores of a class before and after."""

    name: str
    before: ClassScore | None
    after: ClassScore


def extend(
    model: str | Path, *, data: str | Path, label: str, out: str | Path, config: ExtendConfig = ExtendConfig(), console: bool = True
) -> list[Change]:
    """Teach a saved model the category ``label`` from the images in ``data``, and save the result in ``out``/model; ``model`` is not changed.

    A run that was stopped is continued. Returns, for every class known before and the new one, accuracy and Fréchet distance before and after; a
    known class is compared with the samples of the model before. Raises InputError.
    """
    if not label.strip():
        raise InputError("label: it is empty: give the new category a name")
    out, known = Path(out), _opened(model, live=config.weights == "live")
    if Path(model).expanduser().resolve() in (out.resolve(), (out / RUN_MODEL).resolve()):
        raise InputError(f"out: {out}: is the folder of the model itself, which must stay as it is: name another folder")
    learner, slot = with_class(known, label, seed=config.seed)
    options = reading(model, known.config.image_shape, otherwise="resize")
    options = options if config.fit is None else replace(options, fit=config.fit)
    learned, held_out = parted(new_images(data, known, slot, label, options=options))
    if console and leads():
        _, channels, height, width = learned.image.shape
        amount = f"{len(learned):,} images to learn and {len(held_out):,} held out, {height} x {width} {'grey' if channels == 1 else 'colour'}"
        print(f"data: {amount} of {label!r}; of another size: {options.fit} (--fit)", file=sys.stderr)
    device, task = choose_device(), int(known.learned.max()) + 1
    known.to(device), learner.to(device)
    judged = Judged(config, known, slot, learned, held_out)
    if config.extractor is not None:  # an unusable one is refused before the training
        extractor(config.extractor, image_shape=known.config.image_shape)
    objective = OBJECTIVES[config.method].at_rate(config.learning_rate)
    teacher = objective.teacher(learner)
    assert teacher is not None, "every method keeps the past"
    objective.teach(teacher, learner)
    learner.begin_task(task, [slot])
    every, seed = max(100, config.steps // 10), config.seed + 1_000_003 * task  # another seed than that of the tasks before, for new noise
    training = TrainingConfig(
        config.steps,
        config.batch_size,
        seed,
        config.precision,
        checkpoint_every=every,
        sample_every=every,
        log_every=max(1, config.steps // 40),
        keep=1,
    )
    state = fit(learner, objective, learned, training, out, settings=_settings(config, known, label), console=console, course=Course(teacher))
    if not leads():
        return []
    keep_options(options, out)
    after: Any = from_pretrained(out / RUN_MODEL).to(device)
    with Bar(shown=console) as bar:
        changes = judged.changes(after, Work(bar=bar))
    drawn = config.steps * images_in_a_step(objective, learner.config, 1, len(known.known), config.batch_size)
    costs = {"generated_images": float(drawn), "kept_megabytes": state_bytes(teacher) / 1e6}
    counted = {"images": state.images_seen, "training_seconds": round(state.seconds, 1), "config": state.fingerprint, **made(device)}
    _append(out / "results.jsonl", [row.but(**counted, model=str(model), command=command_line()) for row in judged.rows(changes, costs)])
    write_report(out)
    return changes


def new_images(data: str | Path, model: ReplayGAN, slot: int, label: str, *, options: DataOptions | None = None) -> ImageData:
    """The images of the new category in the model's shape, under its slot's number; of data with several classes those of the class ``label``.

    ``options`` bring them to that shape; without them they are resized.
    """
    channels, height, width = model.config.image_shape
    options = options or DataOptions(size=(height, width), fit="resize", channels=1 if channels == 1 else 3)
    images = sets.load(str(data), options=replace(options, long_tail=1.0, test_share=0.0))
    if images.label is not None and len(set(images.label.tolist())) > 1:
        if label not in images.classes:
            raise InputError(
                f"data: {data}: holds the classes {', '.join(images.classes[:5])} and no {label!r}: name the folder of the new one alone"
            )
        images = of_classes(images, [images.classes.index(label)])
    number = np.full(len(images), slot)
    return replace(images, label=number, classes=(), digest=digest(images.image, number))


def parted(images: ImageData) -> tuple[ImageData, ImageData]:
    """(to learn from, held out): a tenth of the images, at most a thousand, scores the new category and is not learned."""
    order, apart = shuffled(len(images), 0), min(1000, len(images) // 10)
    assert images.label is not None
    parts = []
    for rows in (np.sort(order[apart:]), np.sort(order[:apart])):
        image, number = np.array(images.image[rows]), images.label[rows]
        parts.append(replace(images, image=image, label=number, digest=digest(image, number)))
    return parts[0], parts[1]


@dataclass(frozen=True)
class Judged:
    """The judge of a model before and after, and the images that it judges by."""

    config: ExtendConfig
    before: ReplayGAN
    slot: int
    learned: ImageData
    held_out: ImageData

    @cached_property
    def judge(self) -> NetworkExtractor:
        """The one that was asked for, or one trained on the model's samples of the classes that it knows and on the new images.

        Its accuracy is measured on other such samples and on held-out images, so it depends on the model for the look of the known classes.
        """
        device = self.before.device
        if self.config.extractor is not None:
            return extractor(self.config.extractor, device=device, image_shape=self.before.config.image_shape)
        shown = self._shown(self.learned, seed=JUDGE_SEED)
        trained = train_classifier("judge", shown, recipe=replace(STUDENT, batch_size=min(STUDENT.batch_size, len(shown))))
        found = accuracy(trained, self._shown(self.held_out, seed=JUDGE_SEED + 2))
        return Classifier(replace(trained.card, accuracy=found), trained.network.state_dict()).to(device)

    def _shown(self, new: ImageData, *, seed: int) -> ImageData:
        """Replays of every known class, and new images."""
        num = self.config.num_samples
        drawn = (drawn_batches(self.before, num, seed=seed, label=label) for label in self.before.known)
        image = [torch.cat([part.cpu() for part in parts]) for parts in drawn]
        image.append(torch.from_numpy(np.array(new.image[:num])))
        number = np.repeat(np.arange(len(image)), [len(part) for part in image])
        return ImageData(torch.cat(image).numpy(), number, self.names, REPLAYS)

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes known before, then the new one."""
        return (*self.before.known, self.slot)

    @property
    def names(self) -> tuple[str, ...]:
        return (*(self.before.config.name(label) for label in self.before.known), NEW)

    @cached_property
    def compared(self) -> ImageData:
        """Real images of the new class: those that were held out, or, where the judge has as many features, those that were learned."""
        one = torch.from_numpy(np.array(self.learned.image[:1])).to(self.before.device)
        return self.held_out if len(self.held_out) > self.judge.features(one).shape[1] else self.learned

    def changes(self, after: ReplayGAN, work: Work) -> list[Change]:
        """Every class before and after; the new one has no before."""
        num, seed = self.config.num_samples, self.config.seed
        judge = ClassJudge(self.judge, self._references(work), *self._answers(after))
        then = {score.label: score for score in judge.scores(self.before, self.before.known, num, seed=seed, work=work)}
        now = judge.scores(after, self.labels, num, seed=seed, work=work)
        return [Change(after.config.name(score.label), then.get(score.label), score) for score in now]

    def rows(self, changes: Sequence[Change], costs: Mapping[str, float]) -> list[ResultRow]:
        """Result rows: ``task`` 0 before and 1 after; then what it cost."""
        config = self.config
        protocol = {**judged(self.judge), "num_samples": config.num_samples}
        protocol |= {"judge": OWN_JUDGE if config.extractor is None else "given", "known": "compared with what the model drew before"}
        protocol |= {"new": "compared with held-out images" if self.compared is self.held_out else LEARNED}
        whole: dict[str, Any] = {"recipe": EXTENDED, "variant": config.method, "seed": config.seed, "steps": config.steps}
        whole |= {"budget": None, "split": None}
        costly = ({"metric": metric, "value": value, "protocol": UNSEEN, "task": None, "class": None} for metric, value in costs.items())
        rows = [ResultRow.read({**whole, **cost}) for cost in costly]
        for change in changes:
            for task, score in enumerate((change.before, change.after)):
                address = {"task": task, "class": change.after.label, "class_name": change.name}
                for metric, value in (("accuracy", score.accuracy), ("fid", score.fid)) if score is not None else ():
                    row = {**whole, "metric": metric, "value": value, "spread": None, "paper": None, "protocol": protocol}
                    rows.append(ResultRow.read({**row, **address}))
        return [row for row in rows if row.value is not None]

    def _answers(self, after: ReplayGAN) -> tuple[dict[int, int], tuple[int, ...]]:
        """The judge's number of each class, and the classes that it does not know. Classes agree by name, or in order where it was trained here."""
        if self.config.extractor is None:
            return {label: place for place, label in enumerate(self.labels)}, ()
        known = self.judge.card.classes if isinstance(self.judge, Classifier) else ()
        answers = {label: known.index(after.config.name(label)) for label in self.labels if after.config.name(label) in known}
        return answers, tuple(label for label in self.labels if label not in answers)

    def _references(self, work: Work) -> dict[int, FeatureStatistics]:
        """Samples of each class from the model before, by other noise; of the new class real images."""
        watch = Watch(self.judge, 250, work, probabilities=False)

        def statistics(source: Source, num: int) -> FeatureStatistics:
            return statistics_of(seen.features for seen in watch(source, num))

        drawn = {label: model_source(self.before, seed=JUDGE_SEED + 1, label=label) for label in self.before.known}
        found = {label: statistics(source, self.config.num_samples) for label, source in drawn.items()}
        real = self.compared
        return {**found, self.slot: statistics(image_source(real, np.arange(len(real))), len(real))}


def _append(path: Path, rows: Sequence[ResultRow]) -> None:
    """Add the rows that are not there yet: a finished run may be repeated."""

    def known_by(row: ResultRow) -> str:
        return json.dumps({name: value for name, value in row.items() if name not in UNLIKE}, sort_keys=True)

    there = set(map(known_by, read_rows(path)))
    append_rows(path, [row for row in rows if known_by(row) not in there])


def changes_table(changes: Sequence[Change]) -> list[list[str]]:
    """The changes as a table of texts."""
    lines = [["category", "accuracy before", "after", "Fréchet distance before", "after"]]
    for change in changes:
        before = (None, None) if change.before is None else (change.before.accuracy, change.before.fid)
        numbers = (before[0], change.after.accuracy, before[1], change.after.fid)
        lines.append([change.name, *("-" if value is None else f"{value:.3f}" for value in numbers)])
    return lines


def judged_by(config: ExtendConfig) -> str:
    """One line on the judge and its limits."""
    if config.extractor is not None:
        return f"judged by {config.extractor}"
    return f"judged by a classifier {OWN_JUDGE}, which takes the model's word for the known ones: --extractor names another"


def _opened(path: str | Path, *, live: bool) -> ReplayGAN:
    model = from_pretrained(path, live=live)
    if not isinstance(model, ReplayGAN):
        raise InputError(f"{path}: a {type(model).__name__} cannot learn further categories: name a replay_gan")
    if not model.config.conditional:
        raise InputError(f"{path}: is not conditional on a class (deep generative replay): name a model that is")
    if not model.known:
        raise InputError(f"{path}: has learned no class yet: train it first")
    return model


def _settings(config: ExtendConfig, known: ReplayGAN, label: str) -> dict[str, object]:
    """What a stopped run must agree with to be continued: the method, the initial weights, and the name of the category."""
    weights = hashlib.sha256()
    for name, value in sorted(known.state_dict().items()):
        weights.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return {"extend.method": config.method, "extend.label": label, "extend.model": weights.hexdigest()[:16]}
