"""Scoring: one addressed stream of samples feeds every metric, and each number comes with the protocol that made it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from memogen import __version__
from memogen.evaluation.features import Extractor, ReadsLogits, classifier
from memogen.evaluation.progress import Bar
from memogen.evaluation.reference import Reference, default_cache, read_blocks, shuffled
from memogen.evaluation.scores import Score, start_scores
from memogen.types import GenerativeModel, ImageData, InputError, to_uint8

Row = dict[str, object]


@dataclass(frozen=True)
class ScoreConfig:
    """What to score and how. ``batch_size`` moves memory and speed, never a score. ``cache`` None keeps real statistics in memory only."""

    metrics: tuple[str, ...] = ("is", "fid")
    num_samples: int = 10_000
    seed: int = 0
    batch_size: int = 250
    cache: Path | None = field(default_factory=default_cache)
    progress: bool = True

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.batch_size < 1:
            raise InputError(f"num_samples is {self.num_samples} and batch_size {self.batch_size}: both must be at least 1")
        if not self.metrics:
            raise InputError("metrics: none given: choose for example is,fid")


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
) -> list[Row]:
    """Score ``num_samples`` samples of ``model`` against ``data``: one row per number, as in a run's results.jsonl.

    ``extractor`` is a name of a shipped classifier or any :class:`~memogen.evaluation.features.Extractor`, on the device it is to run on.
    Sample i depends on (seed, i) alone, and images are never resized.
    """
    config = ScoreConfig(tuple(metrics), num_samples, seed, batch_size, progress=progress)
    stream = sample_stream(model, num_samples, seed=seed, batch_size=batch_size)
    return _score(stream, data, _extractor(extractor), config, {"seed": seed})


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
) -> list[Row]:
    """Score given images, such as held-out data or a folder of samples, as :func:`evaluate` scores a model; rows carry ``variant``.

    The images are taken in an order drawn by ``seed``, so that the splits of a data set sorted by class are alike.
    """
    num = min(num_samples or len(images), len(images))
    config = ScoreConfig(tuple(metrics), max(num, 1), seed, progress=progress)
    source = {"data": images.name, "split": images.split, "digest": images.digest}
    rows = _score(read_blocks(images, shuffled(len(images), seed)[:num]), data, _extractor(extractor), config, {"seed": seed, "images": source})
    return [{**row, "variant": variant} for row in rows]


@dataclass(frozen=True)
class ScoreEvaluator:
    """Scores a model while it trains: a ``memogen.types.Evaluator`` that gives {metric: value}."""

    extractor: Extractor | str
    config: ScoreConfig = field(default_factory=lambda: ScoreConfig(num_samples=2000, progress=False))

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        if not isinstance(model, GenerativeModel):
            raise InputError(f"scoring: {type(model).__name__} does not draw samples: give a model with sample() and image_range")
        stream = sample_stream(model, self.config.num_samples, seed=seed, batch_size=self.config.batch_size)
        rows = _score(stream, data, _extractor(self.extractor), self.config, {"seed": seed})
        return {str(row["metric"]): float(str(row["value"])) for row in rows}


@torch.no_grad()
def sample_stream(model: GenerativeModel, num: int, *, seed: int = 0, batch_size: int = 250) -> Iterator[UInt8[Tensor, "b c h w"]]:
    """Samples 0 to num - 1 of ``seed`` as uint8, drawn in evaluation mode; every part's mode is put back after each batch."""
    for start in range(0, num, batch_size):
        with _evaluation_mode(model):
            image = model.sample(min(batch_size, num - start), seed=seed, start=start)
        yield to_uint8(image, model.image_range)


def append_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows to a JSONL file in a single write, so that a reader or another writer sees all of them or none; flushed to the disk."""
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        file.write((_mending(path) + text).encode())
        os.fsync(file.fileno())


def _score(stream: Iterable[Tensor], data: ImageData, extractor: Extractor, config: ScoreConfig, protocol: Mapping[str, object]) -> list[Row]:
    began = time.perf_counter()
    device = _device(extractor)
    with Bar(shown=config.progress) as bar:
        scores = start_scores(config.metrics, config.num_samples, Reference(data, extractor, config.cache, device, bar))
        bar.stage("samples", config.num_samples)
        for image in stream:
            _update(scores, image.to(device), extractor)
            bar.advance(len(image))
    base = {
        "extractor": extractor.version,
        "extractor_accuracy": extractor.accuracy,
        "num_samples": config.num_samples,
        "resize": extractor.resize,
        **protocol,
    }
    common = {"split": data.split, "task": None, "class": None, "device": device.type, "seconds": time.perf_counter() - began, "version": __version__}
    results = [result for score in scores for result in score.results()]
    return [{"metric": r.metric, "value": r.value, "spread": r.spread, "protocol": {**base, **r.protocol}, **common} for r in results]


@torch.no_grad()
def _update(scores: list[Score], image: Tensor, extractor: Extractor) -> None:
    features = extractor.features(image)
    logits = extractor.logits(features) if isinstance(extractor, ReadsLogits) else extractor(image)
    probabilities = logits.double().softmax(dim=1)
    for score in scores:
        score.update(features, probabilities)


def _extractor(extractor: Extractor | str) -> Extractor:
    return classifier(extractor) if isinstance(extractor, str) else extractor


def _device(extractor: Extractor) -> torch.device:
    tensors = [*extractor.parameters(), *extractor.buffers()] if isinstance(extractor, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


@contextmanager
def _evaluation_mode(model: GenerativeModel) -> Iterator[None]:
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, nn.Module) else []
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _mending(path: Path) -> str:
    """A newline where an earlier write was cut off, so that only its own row is lost."""
    if not path.exists() or path.stat().st_size == 0:
        return ""
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return "" if file.read(1) == b"\n" else "\n"
