"""The driver: one stream of numbered samples feeds all metrics, and each number comes with the protocol that made it."""

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
from memogen.metrics.samples import Source, Watch, Work, default_cache, device_of, image_source, model_source, shuffled
from memogen.processes import Processes
from memogen.progress import Bar
from memogen.stopping import stopping
from memogen.types import GenerativeModel, ImageData, InputError, check_seed

Order = Literal["drawn", "given"]


@dataclass(frozen=True)
class ScoreConfig:
    """What to score and how. ``batch_size`` changes memory and speed, never a score. ``cache`` None keeps real statistics in memory only.

    Several ``processes`` share the images, and all get the rows that one process would get.
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

    ``extractor`` is the name of a shipped classifier or any :class:`~memogen.metrics.extractors.Extractor`, on the device it is to run on; by
    default the classifier of the data or, if none ships, pixels. ``metrics`` are by default "is" and "fid" if it has logits, else "kid" and "prdc".
    Sample i depends on (seed, i) alone. ``train`` holds the model's training images, for the metrics that look for copies or train a classifier.
    With ``processes=Processes.joined()``, called on every process, each draws its share and all return the same rows.
    Ctrl-C and SIGTERM raise :class:`~memogen.metrics.rows.Interrupted`, which holds the rows of the samples so far. Raises InputError for what a
    metric lacks, and for samples or features that are nan or infinite.
    """
    if not isinstance(data, ImageData):
        raise InputError(f"data: {data!r:.60} is no ImageData: give images, as memogen.data.load('digits', split='test')")
    joined = processes or Processes()
    judge = judge_for(data, extractor, warns=progress and joined.leads)
    names = tuple(usual_metrics(judge, data) if metrics is None else metrics)
    config = ScoreConfig(names, num_samples, seed, batch_size, progress=progress, processes=joined)
    return _judged_rows(model_source(model, seed=seed), model, data, train, judge, config, {"seed": seed})


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

    ``order`` "drawn" takes the images in an order drawn by ``seed``, since data may be sorted by class. "given" takes them as they are, in files by
    name: a model's own samples, numbered in its order, then get exactly the model's scores.
    """
    if not len(images):
        raise InputError(f"data {images.name}: no images in split {images.split}: give another")
    num = min(num_samples or len(images), len(images))
    joined = processes or Processes()
    judge = judge_for(data, extractor, warns=progress and joined.leads)
    names = tuple(usual_metrics(judge, data) if metrics is None else metrics)
    config = ScoreConfig(names, num, seed, progress=progress, processes=joined)
    source = {"data": images.name, "split": images.split, "digest": images.digest} | ({"order": order} if order == "given" else {})
    places = shuffled(len(images), seed) if order == "drawn" else np.arange(len(images))
    return _judged_rows(image_source(images, places[:num]), images, data, train, judge, config, {"seed": seed, "images": source}, variant)


@dataclass(frozen=True)
class ScoreEvaluator:
    """Scores a model during training: a ``memogen.types.Evaluator`` that gives {metric: value}, against ``held_out`` or else the training data."""

    extractor: Extractor | str
    config: ScoreConfig = field(default_factory=lambda: ScoreConfig(num_samples=2000, progress=False))
    held_out: ImageData | None = None

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        if not isinstance(model, GenerativeModel):
            raise InputError(f"scoring: {type(model).__name__} does not draw samples: give a model with sample() and image_range")
        compared = data if self.held_out is None else self.held_out
        judge = judge_for(compared, self.extractor, warns=False)
        rows = _judged_rows(model_source(model, seed=seed), model, compared, None, judge, self.config, {"seed": seed})
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
    """One row per number, as :func:`evaluate` gives them, for the metrics that ask the model itself about held-out images, without an extractor.

    Likelihoods and imputations use ``num_samples`` images, always the same ones, if the data have more. A row of a likelihood holds a
    :class:`~memogen.metrics.paired.PerImage`; :func:`~memogen.metrics.paired.kept` makes the rows ready for a file. Several ``processes``, all of
    which call this, share the images and get the same rows. ``run`` is the folder of the model's training, for "critic".
    Raises InputError, and on Ctrl-C or SIGTERM :class:`~memogen.metrics.rows.Interrupted` with the rows so far.
    """
    check_seed(seed)
    check_model(model, data, metrics=metrics, how=how, train=train)
    check_run(metrics, run)
    about = {"extractor": None, "data": {"data": data.name, "split": data.split, "digest": data.digest}, "seed": seed}

    def results(work: Work) -> Iterator[Result]:
        asked = Asked(model, data, train, num_samples, seed, how=how, run=run, work=work)
        for metric in _chosen(metrics, model_metrics()):
            yield from _computed(metric, asked)

    return _rows(results, about, data, device_of(model), processes or Processes(), progress)


# --- checks before anything is computed ---


def check_judged(names: Sequence[str], model: nn.Module, data: ImageData, train: ImageData | None, *, extractor: Extractor, num_samples: int) -> None:
    """Raises InputError for what metrics of an extractor lack, before ``model`` has weights: an image of ``data`` stands for its samples."""
    judged = [METRICS[name] for name in names]
    watch = Watch(extractor, 1, probabilities=any("probabilities" in metric.needs for metric in judged))
    asked = Asked(data, data, train, num_samples, watch=watch, source=image_source(data, np.arange(1)))
    check([metric for metric in judged if metric.batched], asked)
    check([metric for metric in judged if not metric.batched and "model" in metric.needs], replace(asked, subject=model, source=None))


def check_model(
    model: nn.Module, data: ImageData, *, metrics: Sequence[str], how: ModelScoring = ModelScoring(), train: ImageData | None = None
) -> None:
    """Raises InputError for what metrics that ask the model lack."""
    check(_chosen(metrics, model_metrics()), Asked(model, data, train, 1, how=how))


def check_run(metrics: Sequence[str], run: Path | None) -> None:
    """Raises InputError for what metrics lack of the model's run folder."""
    for name in metrics:
        if "checkpoints" in METRICS[name].needs:
            if run is None:
                raise InputError(f"metric {name}: it judges fakes of a run's checkpoints: name the run's folder, or leave {name} out")
            kept_checkpoints(run)


def check(metrics: Sequence[Metric], asked: Asked) -> list[str]:
    """Raises InputError for what the metrics lack. Returns warnings of numbers that can be computed but are not reliable.

    Reads one image of every kind first, and so reports early what the extractor cannot read.
    """
    if any(metric.batched for metric in metrics):
        _ = asked.first
        for compared in filter(None, (asked.reference, asked.training)):
            compared.look()
    for metric in metrics:
        metric.check(asked)
    return [line for metric in metrics if metric.scarce is not None and (line := metric.scarce(asked))]


def _chosen(names: Sequence[str], known: Mapping[str, Metric]) -> list[Metric]:
    for name in names:
        if name not in known:
            raise InputError(f"metric {name!r}: unknown: choose from {', '.join(known)}")
    return [known[name] for name in names]


# --- computing ---


def _judged_rows(
    source: Source,
    subject: GenerativeModel | ImageData,
    data: ImageData,
    train: ImageData | None,
    extractor: Extractor,
    config: ScoreConfig,
    protocol: Mapping[str, object],
    variant: str | None = None,
) -> list[ResultRow]:
    """The rows of the metrics that need an extractor. Everything is checked first; metrics that share samples are computed first."""

    def results(work: Work) -> Iterator[Result]:
        metrics = sorted(_chosen(config.metrics, judged_metrics()), key=lambda metric: not metric.batched)
        shared = [metric for metric in metrics if metric.batched]
        watch = Watch(extractor, config.batch_size, work, probabilities=any("probabilities" in metric.needs for metric in metrics))
        asked = Asked(subject, data, train, config.num_samples, config.seed, watch, source, config.cache, work=work)
        notes = check(metrics, asked)
        notes += ["compared with the training images, so a model that copies them looks good"] if data.split == "train" else []
        for note in notes if config.progress and config.processes.leads else []:
            print(f"note: {note}", file=sys.stderr)
        if shared:
            yield from _batched(shared, asked)
        for metric in metrics[len(shared) :]:
            yield from _computed(metric, asked)

    about = {**judged(extractor), "num_samples": config.num_samples, **protocol}
    return _rows(results, about, data, device_of(extractor), config.processes, config.progress, variant)


def _computed(metric: Metric, asked: Asked) -> Iterator[Result]:
    found = metric.compute(asked)
    assert not isinstance(found, Score), f"{metric.name} needs the samples, and does not say so"
    yield from found


def _batched(metrics: Sequence[Metric], asked: Asked) -> Iterator[Result]:
    """The metrics that share samples. A request to stop ends the stream after a whole batch; then come the results of the samples so far."""
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
        if seen >= score.needed:
            yield from score.results()
            continue
        try:
            found = score.results()
        except InputError:  # too few samples for this score
            continue
        yield from (replace(result, protocol={"num_samples": seen, **result.protocol, "interrupted": True}) for result in found)
    if stopped:
        raise KeyboardInterrupt(stopped)


def _rows(
    results: Callable[[Work], Iterator[Result]],
    about: Mapping[str, object],
    data: ImageData,
    device: torch.device,
    processes: Processes,
    progress: bool,
    variant: str | None = None,
) -> list[ResultRow]:
    """The results as rows, whose protocols begin with ``about``. A request to stop raises :class:`Interrupted` with the rows so far."""
    began, rows, bar = time.perf_counter(), list[ResultRow](), Bar(shown=progress and processes.leads)
    try:
        with stopping() as stop, bar:
            for result in results(Work(processes, bar, stop)):
                row = {"metric": result.metric, "value": result.value, "spread": result.spread, "protocol": {**about, **result.protocol}}
                row |= {"split": data.split, "task": None, "class": None, **made(device)}
                row |= {} if (name := result.variant or variant) is None else {"variant": name}
                row |= {} if result.per_image is None else {KEY: result.per_image}
                rows.append(ResultRow.read({**row, "seconds": time.perf_counter() - began}))
    except KeyboardInterrupt as stopped:
        raise Interrupted(rows, str(stopped) or bar.where) from stopped
    except InputError as error:
        raise ScoringError(error, rows) from error
    return rows


# --- what is used if nothing is named ---


def judge_for(data: ImageData, extractor: Extractor | str | None, *, device: torch.device | str = "cpu", warns: bool = True) -> Extractor:
    """The given extractor; without one the classifier of the data, or pixels, which is printed if ``warns``.

    An extractor given by name is put on ``device``. Raises InputError.
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
    """The default metrics: "is" and "fid"; for features without logits "kid" and, if there are enough images, "prdc"."""
    if not isinstance(extractor, extractors.ModuleExtractor) or extractor.head is not None:
        return "is", "fid"
    return ("kid", "prdc") if len(data) > PRDC_NEIGHBOURS else ("kid",)
