"""The driver: the same addressed samples feed every metric, and each number comes with the protocol that made it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from memogen.metrics import extractors
from memogen.metrics.extractors import Extractor
from memogen.metrics.forgetting import kept_checkpoints
from memogen.metrics.metric import PRDC_NEIGHBOURS, Asked, Metric, ModelScoring, Result, Score
from memogen.metrics.paired import KEY
from memogen.metrics.registry import METRICS, judged_metrics, model_metrics
from memogen.metrics.rows import Interrupted, ResultRow, ScoringError, judged, made
from memogen.metrics.samples import Source, Watch, default_cache, device_of, image_source, model_source, shuffled
from memogen.metrics.work import Work
from memogen.processes import Processes
from memogen.progress import Bar
from memogen.stopping import stopping
from memogen.types import GenerativeModel, ImageData, InputError, check_seed

Order = Literal["drawn", "given"]


@dataclass(frozen=True)
class ScoreConfig:
    """What to score and how. ``batch_size`` moves memory and speed, never a score. ``cache`` None keeps real statistics in memory only.

    Among several ``processes`` each takes its share of the images, and all get the rows that one process would get.
    """

    metrics: tuple[str, ...] = ("is", "fid")
    num_samples: int = 10_000
    seed: int = 0
    batch_size: int = 250
    cache: Path | None = field(default_factory=default_cache)
    progress: bool = True
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.num_samples < 1 or self.batch_size < 1:
            raise InputError(f"num_samples is {self.num_samples} and batch_size {self.batch_size}: both must be at least 1")
        if not self.metrics:
            raise InputError("metrics: none given: choose for example is,fid")
        _chosen(self.metrics, judged_metrics())


def evaluate(
    model: GenerativeModel,
    data: ImageData,
    *,
    extractor: Extractor | str | None = None,
    metrics: Sequence[str] | None = None,
    num_samples: int = 10_000,
    seed: int = 0,
    batch_size: int = 250,
    progress: bool = True,
    train: ImageData | None = None,
    processes: Processes | None = None,
) -> list[ResultRow]:
    """Score ``num_samples`` samples of ``model`` against ``data``: one row per number, as in a run's results.jsonl.

    ``extractor`` is a name of a shipped classifier or any :class:`~memogen.metrics.extractors.Extractor`, on the device it is to run on. Without it
    the classifier of the data is taken, or, where none ships, pixels. ``metrics`` are "is" and "fid" where it has logits, else "kid" and "prdc".
    Sample i depends on (seed, i) alone. ``train`` holds the model's training images, for the metrics that look for copies or train a classifier.
    With ``processes=Processes.joined()``, called on every process, each draws its share and all return the same rows.
    Ctrl-C and SIGTERM raise :class:`~memogen.metrics.rows.Interrupted`, which holds the rows of what was seen. Raises InputError for what a
    metric lacks, and for samples or features that are nan or infinite.
    """
    if not isinstance(data, ImageData):
        raise InputError(f"data: {data!r:.60} is no ImageData: give images, as memogen.data.load('digits', split='test')")
    joined = processes or Processes()
    judge = judge_for(data, extractor, warns=progress and joined.leads)
    config = ScoreConfig(
        tuple(usual_metrics(judge, data) if metrics is None else metrics), num_samples, seed, batch_size, progress=progress, processes=joined
    )
    job = _Job(data, train, judge, config, {"seed": seed})
    return job.rows(model_source(model, seed=seed), model)


def score_images(
    images: ImageData,
    data: ImageData,
    *,
    extractor: Extractor | str | None = None,
    metrics: Sequence[str] | None = None,
    num_samples: int | None = None,
    seed: int = 0,
    variant: str = "real",
    progress: bool = True,
    train: ImageData | None = None,
    order: Order = "drawn",
    processes: Processes | None = None,
) -> list[ResultRow]:
    """Score given images, such as held-out data or a folder of samples, as :func:`evaluate` scores a model; rows carry ``variant``.

    ``order`` "drawn" takes the images in an order drawn by ``seed``, so that the splits of a data set sorted by class are alike. "given" takes
    them as they stand, in files by name: a model's own samples, numbered in its order, then get exactly the model's scores.
    """
    if not len(images):
        raise InputError(f"data {images.name}: no images in split {images.split}: give another")
    num = min(num_samples or len(images), len(images))
    joined = processes or Processes()
    judge = judge_for(data, extractor, warns=progress and joined.leads)
    config = ScoreConfig(tuple(usual_metrics(judge, data) if metrics is None else metrics), num, seed, progress=progress, processes=joined)
    source = {"data": images.name, "split": images.split, "digest": images.digest} | ({"order": order} if order == "given" else {})
    places = shuffled(len(images), seed) if order == "drawn" else np.arange(len(images))
    job = _Job(data, train, judge, config, {"seed": seed, "images": source}, variant)
    return job.rows(image_source(images, places[:num]), images)


@dataclass(frozen=True)
class ScoreEvaluator:
    """Scores a model while it trains: a ``memogen.types.Evaluator`` that gives {metric: value}, against ``held_out`` or else what it trains on."""

    extractor: Extractor | str
    config: ScoreConfig = field(default_factory=lambda: ScoreConfig(num_samples=2000, progress=False))
    held_out: ImageData | None = None

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        if not isinstance(model, GenerativeModel):
            raise InputError(f"scoring: {type(model).__name__} does not draw samples: give a model with sample() and image_range")
        compared = data if self.held_out is None else self.held_out
        job = _Job(compared, None, judge_for(compared, self.extractor, warns=False), self.config, {"seed": seed})
        rows = job.rows(model_source(model, seed=seed), model)
        return {str(row.metric): float(str(row.value)) for row in rows}


def score_model(
    model: nn.Module,
    data: ImageData,
    *,
    metrics: Sequence[str],
    how: ModelScoring = ModelScoring(),
    train: ImageData | None = None,
    num_samples: int = 10_000,
    seed: int = 0,
    progress: bool = True,
    processes: Processes | None = None,
    run: Path | None = None,
) -> list[ResultRow]:
    """One row per number, as :func:`evaluate` gives them, of the metrics that ask the model itself about held-out images: no extractor judges.

    Likelihoods and imputations are of ``num_samples`` images, which are drawn once and for all where the data have more. A row of a likelihood
    holds a :class:`~memogen.metrics.paired.PerImage`; :func:`~memogen.metrics.paired.kept` makes the rows ready for a file. Several
    ``processes``, all of which call this, share the images and get the same rows. ``run`` is the folder of the model's training, for "critic".
    Raises InputError, and on Ctrl-C or SIGTERM :class:`~memogen.metrics.rows.Interrupted` with the rows of what was computed.
    """
    check_seed(seed)
    check_model(model, data, metrics=metrics, how=how, train=train)
    check_run(metrics, run)
    joined = processes or Processes()
    about = {"extractor": None, "data": {"data": data.name, "split": data.split, "digest": data.digest}, "seed": seed}

    def results(work: Work) -> Iterator[Result]:
        asked = Asked(model, data, train, num_samples, seed, how=how, run=run, work=work)
        for metric in _chosen(metrics, model_metrics()):
            yield from _computed(metric, asked)

    return _scored(results, about, data, device_of(model), joined, progress)


def check_data(names: Sequence[str], data: ImageData, train: ImageData | None, *, extractor: Extractor, num_samples: int) -> None:
    """Refuses what metrics that share samples lack before there is a model: an image of ``data`` stands for its samples. Raises InputError."""
    shared = [METRICS[name] for name in names if METRICS[name].batched]
    watch = Watch(extractor, 1, probabilities=_read_probabilities(shared))
    check(shared, Asked(data, data, train, num_samples, watch=watch, source=image_source(data, np.arange(1))))


def check_model(
    model: nn.Module, data: ImageData, *, metrics: Sequence[str], how: ModelScoring = ModelScoring(), train: ImageData | None = None
) -> None:
    """Refuses what one of the metrics lacks before any is computed, or the model trained. Raises InputError."""
    check(_chosen(metrics, model_metrics()), Asked(model, data, train, 1, how=how))


def check_run(metrics: Sequence[str], run: Path | None) -> None:
    """Refuses what one of the metrics lacks of the model's run folder, once there is one. Raises InputError."""
    for name in metrics:
        if "checkpoints" in METRICS[name].needs:
            if run is None:
                raise InputError(f"metric {name}: it judges fakes of a run's checkpoints: name the run's folder, or leave {name} out")
            kept_checkpoints(run)


def check(metrics: Sequence[Metric], asked: Asked) -> list[str]:
    """Raises InputError for what those metrics lack. What can be computed, but not believed, comes back in words.

    Looks at one image of every kind, and so says early what the extractor does not read.
    """
    if any(metric.batched for metric in metrics):
        _ = asked.first
        for compared in filter(None, (asked.reference, asked.training)):
            compared.look()
    for metric in metrics:
        metric.check(asked)
    return [line for metric in metrics if metric.scarce is not None and (line := metric.scarce(asked))]


def _chosen(names: Sequence[str], known: Mapping[str, Metric]) -> list[Metric]:
    """The metrics of those names. Raises InputError for another name."""
    for name in names:
        if name not in known:
            raise InputError(f"metric {name!r}: unknown: choose from {', '.join(known)}")
    return [known[name] for name in names]


def _read_probabilities(metrics: Sequence[Metric]) -> bool:
    return any("probabilities" in metric.needs for metric in metrics)


@dataclass(frozen=True)
class _Job:
    """One scoring by an extractor: what is compared with what, and what all its rows say."""

    data: ImageData
    train: ImageData | None
    extractor: Extractor
    config: ScoreConfig
    protocol: Mapping[str, object]
    variant: str | None = None

    def rows(self, source: Source, subject: GenerativeModel | ImageData) -> list[ResultRow]:
        """All rows; on Ctrl-C or SIGTERM, :class:`Interrupted` with those there are."""
        config = self.config
        about = {**judged(self.extractor), "num_samples": config.num_samples, **self.protocol}

        def results(work: Work) -> Iterator[Result]:
            return self._results(source, subject, work)

        return _scored(results, about, self.data, device_of(self.extractor), config.processes, config.progress, self.variant)

    def _results(self, source: Source, subject: GenerativeModel | ImageData, work: Work) -> Iterator[Result]:
        """What is missing for any of the metrics is said before the first is computed; those that share samples come first."""
        config = self.config
        metrics = sorted(_chosen(config.metrics, judged_metrics()), key=lambda metric: not metric.batched)
        shared = [metric for metric in metrics if metric.batched]
        watch = Watch(self.extractor, config.batch_size, work, probabilities=_read_probabilities(metrics))
        asked = Asked(subject, self.data, self.train, config.num_samples, config.seed, watch, source, config.cache, work=work)
        notes = check(metrics, asked)
        notes += ["compared with the training images, so a model that copies them looks good"] if self.data.split == "train" else []
        for note in notes if config.progress and config.processes.leads else []:
            print(f"note: {note}", file=sys.stderr)
        if shared:
            yield from _batched(shared, asked)
        for metric in metrics[len(shared) :]:
            yield from _computed(metric, asked)


def _computed(metric: Metric, asked: Asked) -> Iterator[Result]:
    """The results of a metric that does not share the samples."""
    found = metric.compute(asked)
    assert not isinstance(found, Score), f"{metric.name} needs the samples, and does not say so"
    yield from found


def _batched(metrics: Sequence[Metric], asked: Asked) -> Iterator[Result]:
    """The metrics that share samples. A wish to stop ends these, but never within a batch, and the scoring after what was seen."""
    assert asked.source is not None, "the samples are of something"
    begun = [metric.compute(asked) for metric in metrics]
    scores = [score for score in begun if isinstance(score, Score)]
    assert len(scores) == len(metrics), "what needs the samples gives a score"
    num, seen, stopped, stop = asked.num_samples, 0, "", asked.work.stop
    try:
        for part in asked.judge(asked.source, num):
            with stop.held():
                for score in scores:
                    score.update(part)
                seen += len(part)
            stop.look()
    except KeyboardInterrupt:
        stopped = f"samples, {seen:,} of {num:,}"
    for score in scores:
        yield from score.results() if seen >= score.needed else _unfinished(score, seen)
    if stopped:
        raise KeyboardInterrupt(stopped)


def _unfinished(score: Score, seen: int) -> list[Result]:
    """What a score says of the first ``seen`` samples, marked as such; nothing where they are too few for it."""
    try:
        found = score.results()
    except InputError:
        return []
    return [replace(result, protocol={"num_samples": seen, **result.protocol, "interrupted": True}) for result in found]


def _scored(
    results: Callable[[Work], Iterator[Result]],
    about: Mapping[str, object],
    data: ImageData,
    device: torch.device,
    processes: Processes,
    progress: bool,
    variant: str | None = None,
) -> list[ResultRow]:
    """The results as rows, whose protocols begin with ``about``; on a wish to stop :class:`Interrupted` with those there are."""
    began, rows, bar = time.perf_counter(), list[ResultRow](), Bar(shown=progress and processes.leads)
    try:
        with stopping() as stop, bar:
            for result in results(Work(processes, bar, stop)):
                rows.append(_row(result, about, data, device, variant).but(seconds=time.perf_counter() - began))
    except KeyboardInterrupt as stopped:
        raise Interrupted(rows, str(stopped) or bar.where) from stopped
    except InputError as error:
        raise ScoringError(error, rows) from error
    return rows


def _row(result: Result, about: Mapping[str, object], data: ImageData, device: torch.device, variant: str | None) -> ResultRow:
    row: dict[str, object] = {"metric": result.metric, "value": result.value, "spread": result.spread, "protocol": {**about, **result.protocol}}
    row |= {"split": data.split, "task": None, "class": None, **made(device)}
    name = result.variant or variant
    row |= ({} if name is None else {"variant": name}) | ({} if result.per_image is None else {KEY: result.per_image})
    return ResultRow.read(row)


def judge_for(data: ImageData, extractor: Extractor | str | None, *, device: torch.device | str = "cpu", warns: bool = True) -> Extractor:
    """The extractor that was given, by itself or by its name; without one the classifier of the data, or pixels, which a line says where ``warns``.

    One that is named lies on ``device``. Raises InputError.
    """
    if extractor is not None and not isinstance(extractor, str):
        return extractor
    name = extractor or extractors.fitting(data)
    found = extractors.extractor(name, device=device, image_shape=data.image_shape)
    if extractor is None and name == extractors.PIXELS and warns:
        brought = "" if found.resize == "none" else f", {found.resize}"
        print(
            f"note: no classifier of {data.name} ships: its features are pixels{brought} (or name an extractor, such as inception-v3)",
            file=sys.stderr,
        )
    return found


def usual_metrics(extractor: Extractor, data: ImageData) -> tuple[str, ...]:
    """What is scored where nobody says: "is" and "fid"; of features without logits what needs no classifier and few images."""
    if not isinstance(extractor, extractors.ModuleExtractor) or extractor.head is not None:
        return "is", "fid"
    return ("kid", "prdc") if len(data) > PRDC_NEIGHBOURS else ("kid",)
