"""Paired comparison: scores kept for every image, and the difference of two models on the same images with its standard error.

Likelihoods of different images differ by dozens of nats, those of one image under two models by a few. So the paired difference has an error several
times smaller than that of either mean.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memogen.metrics.rows import ResultRow
from memogen.parsing import parse_json
from memogen.types import InputError

KEY = "per_image"
"""A row's entry with its :class:`PerImage` or, after :func:`kept`, with the name of the file, relative to the rows' own."""


@dataclass(frozen=True)
class PerImage:
    """``value`` of every image. Two can be compared if ``images``, which identifies the images, and ``settings`` are equal."""

    metric: str
    value: Float[np.ndarray, " n"]
    images: str
    settings: Mapping[str, object] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write an npz file of plain arrays, with the numbers in single precision, which is precise enough for any comparison."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            told = json.dumps([self.metric, self.images, dict(self.settings)], sort_keys=True)
            np.savez_compressed(file, value=self.value.astype(np.float32), told=np.array(told))

    @classmethod
    def load(cls, path: Path) -> PerImage:
        """Read a file of :meth:`save`. Raises InputError for any other file."""
        try:
            with np.load(path, allow_pickle=False) as content:
                metric, images, settings = parse_json(str(content["told"]))
                return cls(metric, content["value"].astype(np.float64), images, settings)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: holds no scores of images ({' '.join(str(error).split())}): score the model again") from error


@dataclass(frozen=True)
class Paired:
    """The mean of first - second over the images, and its standard error over them; ``by_seed``: the mean of each pair of runs."""

    mean: float
    error: float
    first: float
    second: float
    num_images: int
    by_seed: tuple[float, ...]

    @property
    def seed_error(self) -> float:
        """The standard error of the mean over pairs of runs; nan for one pair."""
        return float(np.std(self.by_seed, ddof=1) / math.sqrt(len(self.by_seed))) if len(self.by_seed) > 1 else math.nan


def paired(first: Sequence[PerImage], second: Sequence[PerImage]) -> Paired:
    """The difference of two models, each trained with one or several seeds; each image's scores are averaged over the seeds first.

    Raises InputError unless all were measured on the same images with the same settings.
    """
    if not first or not second:
        raise InputError("compare: one side has no scores of single images: score it with this version of memogen")
    for other in (*first, *second):
        _check_alike(first[0], other)
    scores = [np.stack([np.asarray(run.value, np.float64) for run in side]) for side in (first, second)]
    difference = scores[0].mean(0) - scores[1].mean(0)
    error = float(difference.std(ddof=1) / math.sqrt(len(difference))) if len(difference) > 1 else math.nan
    pairs = zip(scores[0], scores[1], strict=False)
    by_seed = tuple(float((one - two).mean()) for one, two in pairs)
    return Paired(float(difference.mean()), error, float(scores[0].mean()), float(scores[1].mean()), len(difference), by_seed)


def _check_alike(one: PerImage, other: PerImage) -> None:
    if one.metric != other.metric:
        raise InputError(f"compare: {one.metric} beside {other.metric}: compare two scores of one kind")
    if one.images != other.images or len(one.value) != len(other.value):
        raise InputError("compare: the two were scored on different images: score both on the same, binarised by the same seed")
    names = sorted({*one.settings, *other.settings})
    changed = [
        f"{name} {one.settings.get(name)} beside {other.settings.get(name)}" for name in names if one.settings.get(name) != other.settings.get(name)
    ]
    if changed:
        raise InputError(f"compare: the two were scored in different ways ({', '.join(changed)}): score both alike")


def kept(rows: Iterable[Mapping[str, object]], folder: Path) -> list[ResultRow]:
    """The rows, ready for a file in ``folder``: each :class:`PerImage` is saved to a file of its own, whose name stands in the row."""
    found = []
    for row in map(ResultRow.read, rows):
        scores = row.get(KEY)
        if isinstance(scores, PerImage):
            digest = hashlib.sha256(np.ascontiguousarray(scores.value, np.float32).data).hexdigest()[:12]
            words = [str(row[key]).replace("/", "-") for key in ("recipe", "variant", "seed") if row.get(key) is not None]
            name = Path(KEY) / f"{'-'.join([*words, scores.metric, digest])}.npz"
            scores.save(folder / name)
            row = row.but(**{KEY: name.as_posix()})
        found.append(row)
    return found


def moved(rows: Iterable[Mapping[str, object]], source: Path, target: Path) -> list[ResultRow]:
    """Rows of a file in ``source``, ready for a file in ``target``: their per-image files are copied there."""
    found = []
    for row in rows:
        name = row.get(KEY)
        if isinstance(name, str) and (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((source / name).read_bytes())
        found.append(ResultRow.read(row))
    return found


def per_image_of(rows: Iterable[Mapping[str, object]], folder: Path, *, metric: str, variant: str | None = None) -> dict[object, PerImage]:
    """By seed, the per-image scores of its newest row of ``metric`` and, if given, ``variant``, among the rows that have any."""
    asked = (row for row in rows if row.get("metric") == metric and variant in (None, row.get("variant")))
    names = {row.get("seed"): row[KEY] for row in asked if isinstance(row.get(KEY), str)}
    return {seed: PerImage.load(folder / str(name)) for seed, name in names.items()}
