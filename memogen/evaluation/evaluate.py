"""Scoring: one addressed stream of samples feeds every metric, and each number comes with the protocol that made it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from memogen.evaluation import features
from memogen.evaluation.checks import check
from memogen.evaluation.features import Extractor
from memogen.evaluation.paths import check_walks, off_data
from memogen.evaluation.processes import Processes
from memogen.evaluation.progress import Bar
from memogen.evaluation.reference import Reference, default_cache, shuffled
from memogen.evaluation.rows import Interrupted, Row, ScoringError, append_rows, judged, made
from memogen.evaluation.scores import READS_PROBABILITIES, SCORES, Comparison, Result, Score
from memogen.evaluation.stream import Source, Watch, device_of, image_source, model_source, sample_stream
from memogen.evaluation.work import Work, stopping
from memogen.types import GenerativeModel, ImageData, InputError

__all__ = [
    "METRICS",
    "Interrupted",
    "Row",
    "ScoreConfig",
    "ScoreEvaluator",
    "ScoringError",
    "append_rows",
    "evaluate",
    "sample_stream",
    "score_images",
]

LABELLED = ("accuracy", "reverse_accuracy", "fitting_capacity")
METRICS = (*SCORES, "paths", *LABELLED)
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
        if self.num_samples < 1 or self.batch_size < 1:
            raise InputError(f"num_samples is {self.num_samples} and batch_size {self.batch_size}: both must be at least 1")
        if not self.metrics:
            raise InputError("metrics: none given: choose for example is,fid")
        for name in self.metrics:
            if name not in METRICS:
                raise InputError(f"metric {name!r}: unknown: choose from {', '.join(METRICS)}")


def evaluate(
    model: GenerativeModel,
    data: ImageData,
    *,
    extractor: Extractor | str,
    metrics: Sequence[str] = ("is", "fid"),
    num_samples: int = 10_000,
    seed: int = 0,
    batch_size: int = 250,
    progress: bool = True,
    train: ImageData | None = None,
    processes: Processes | None = None,
) -> list[Row]:
    """Score ``num_samples`` samples of ``model`` against ``data``: one row per number, as in a run's results.jsonl.

    ``extractor`` is a name of a shipped classifier or any :class:`~memogen.evaluation.features.Extractor`, on the device it is to run on.
    Sample i depends on (seed, i) alone. ``train`` holds the model's training images, for the metrics that look for copies or train a classifier.
    With ``processes=Processes.joined()``, called on every process, each draws its share and all return the same rows.
    Ctrl-C and SIGTERM raise :class:`~memogen.evaluation.rows.Interrupted`, which holds the rows of what was seen.
    """
    config = ScoreConfig(tuple(metrics), num_samples, seed, batch_size, progress=progress, processes=processes or Processes())
    job = _Job(data, train, _extractor(extractor, data), config, {"seed": seed})
    return job.rows(model_source(model, seed=seed), model)


def score_images(
    images: ImageData,
    data: ImageData,
    *,
    extractor: Extractor | str,
    metrics: Sequence[str] = ("is", "fid"),
    num_samples: int | None = None,
    seed: int = 0,
    variant: str = "real",
    progress: bool = True,
    train: ImageData | None = None,
    order: Order = "drawn",
    processes: Processes | None = None,
) -> list[Row]:
    """Score given images, such as held-out data or a folder of samples, as :func:`evaluate` scores a model; rows carry ``variant``.

    ``order`` "drawn" takes the images in an order drawn by ``seed``, so that the splits of a data set sorted by class are alike. "given" takes
    them as they stand, in files by name: a model's own samples, numbered in its order, then get exactly the model's scores.
    """
    if not len(images):
        raise InputError(f"data {images.name}: no images in split {images.split}: give another")
    num = min(num_samples or len(images), len(images))
    config = ScoreConfig(tuple(metrics), num, seed, progress=progress, processes=processes or Processes())
    source = {"data": images.name, "split": images.split, "digest": images.digest} | ({"order": order} if order == "given" else {})
    places = shuffled(len(images), seed) if order == "drawn" else np.arange(len(images))
    job = _Job(data, train, _extractor(extractor, data), config, {"seed": seed, "images": source}, variant)
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
        job = _Job(compared, None, _extractor(self.extractor, compared), self.config, {"seed": seed})
        rows = job.rows(model_source(model, seed=seed), model)
        return {str(row["metric"]): float(str(row["value"])) for row in rows}


@dataclass(frozen=True)
class _Job:
    """One scoring: what is compared with what, and what all its rows say."""

    data: ImageData
    train: ImageData | None
    extractor: Extractor
    config: ScoreConfig
    protocol: Mapping[str, object]
    variant: str | None = None

    def rows(self, source: Source, subject: GenerativeModel | ImageData) -> list[Row]:
        """All rows; on Ctrl-C or SIGTERM, :class:`Interrupted` with those there are."""
        began, rows, bar = time.perf_counter(), list[Row](), Bar(shown=self.config.progress and self.config.processes.leads)
        try:
            with stopping() as stop, bar:
                for result in self._results(source, subject, Work(self.config.processes, bar, stop)):
                    rows.append({**self._row(result), "seconds": time.perf_counter() - began})
        except KeyboardInterrupt as stopped:
            raise Interrupted(rows, str(stopped) or bar.where) from stopped
        except InputError as error:
            raise ScoringError(error, rows) from error
        return rows

    def _results(self, source: Source, subject: GenerativeModel | ImageData, work: Work) -> Iterator[Result]:
        """What is missing for any of the metrics is said before the first is computed."""
        shared, by_label = ([name for name in self.config.metrics if name in known] for known in (SCORES, LABELLED))
        watch, asked = self._watch(work), self._comparison(work)
        notes = check(shared, asked, watch, source) if shared else []
        walks = self._walks(subject, watch)
        labelled = self._labelled(by_label, subject, watch)
        for note in notes if self.config.progress and self.config.processes.leads else []:
            print(f"note: {note}", file=sys.stderr)
        if shared:
            yield from self._streamed([SCORES[name](asked) for name in shared], watch, source)
        yield from walks
        yield from labelled

    def _walks(self, subject: GenerativeModel | ImageData, watch: Watch) -> Iterator[Result]:
        """Checked at once, walked later."""
        if "paths" not in self.config.metrics:
            return iter(())
        check_walks(subject, self.data)
        return off_data(subject, self.data, watch, num_samples=self.config.num_samples, seed=self.config.seed)

    def _labelled(self, names: list[str], subject: GenerativeModel | ImageData, watch: Watch) -> Iterator[Result]:
        """Checked at once, computed one after another."""
        from memogen.evaluation.labelled import (
            CHECKS,
            RESULTS,
            Labelled,
        )  # here, so that `python -m memogen.evaluation.classifiers` is not imported twice

        given = Labelled(subject, self.data, self.train, watch, self.config.num_samples, self.config.seed)
        for name in names:
            CHECKS[name](given)
        return chain.from_iterable(RESULTS[name](given) for name in names)

    def _streamed(self, scores: list[Score], watch: Watch, source: Source) -> Iterator[Result]:
        """The scores that share one stream. A wish to stop ends the stream, but never within a batch, and the scoring after what was seen."""
        num, seen, stopped, stop = self.config.num_samples, 0, "", watch.work.stop
        try:
            for part in watch(source, num):
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

    def _watch(self, work: Work) -> Watch:
        return Watch(self.extractor, self.config.batch_size, work, probabilities=any(name in READS_PROBABILITIES for name in self.config.metrics))

    def _comparison(self, work: Work) -> Comparison:
        config, device = self.config, device_of(self.extractor)
        reference, training = (
            None if data is None else Reference(data, self.extractor, config.cache, device, work) for data in (self.data, self.train)
        )
        assert reference is not None, "there are always data to compare with"
        return Comparison(config.num_samples, reference, training, config.seed)

    def _row(self, result: Result) -> Row:
        base = {**judged(self.extractor), "num_samples": self.config.num_samples, **self.protocol}
        row: Row = {"metric": result.metric, "value": result.value, "spread": result.spread, "protocol": {**base, **result.protocol}}
        where = {"split": self.data.split, "task": None, "class": None, **made(device_of(self.extractor))}
        variant = result.variant or self.variant
        return {**row, **where} | ({} if variant is None else {"variant": variant})


def _unfinished(score: Score, seen: int) -> list[Result]:
    """What a score says of the first ``seen`` samples, marked as such; nothing where they are too few for it."""
    try:
        found = score.results()
    except InputError:
        return []
    return [replace(result, protocol={"num_samples": seen, **result.protocol, "interrupted": True}) for result in found]


def _extractor(extractor: Extractor | str, data: ImageData) -> Extractor:
    return features.extractor(extractor, image_shape=data.image_shape) if isinstance(extractor, str) else extractor
