"""What samples are compared with: the features of real data, their statistics kept in a small cache (safetensors, never pickle)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memogen.data.cache import cache_root
from memogen.evaluation.features import Extractor
from memogen.evaluation.fid import FeatureStatistics
from memogen.evaluation.stream import image_source
from memogen.evaluation.work import Work
from memogen.types import ImageData, InputError

BLOCK = 250  # images at a time wherever real data are read: fixed, so that a cached number is the number computed afresh


@dataclass(frozen=True)
class Reference:
    """Real data as one extractor sees them. ``cache`` None keeps statistics in memory only, and so does data without a digest.

    ``device`` is where the extractor lives; ``work`` says who reads and who watches.
    """

    data: ImageData
    extractor: Extractor
    cache: Path | None = None
    device: torch.device | str = "cpu"
    work: Work = field(default_factory=Work)
    _known: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)  # features read so far, by seed

    @property
    def protocol(self) -> dict[str, object]:
        """What a score needs to say about its reference."""
        return {"data": self.data.name, "split": self.data.split, "digest": self.data.digest, "num": len(self.data)}

    @property
    def called(self) -> str:
        """The images in words."""
        return f"images of {self.data.name} {self.data.split}"

    def look(self) -> None:
        """Raises InputError where there are no images, or such as the extractor does not read."""
        if not len(self.data):
            raise InputError(f"data {self.data.name}: no images in split {self.data.split}: give another")
        self.extractor.features(image_source(self.data, np.arange(1))(0, 1).to(self.device))

    def statistics(self) -> FeatureStatistics:
        """Mean and covariance of the features of all the data, from the cache where they are known."""
        path = self._path()
        found = _read(path)
        if not self.work.processes.any(found is None) and found is not None:  # a process that has none needs all others to read with it
            return found
        found = self._measure()
        _write(found, path)
        return found

    def features(self, num: int | None = None, *, seed: int = 0) -> Float[Tensor, "n f"]:
        """The features of all or at most ``num`` images, in an order drawn by ``seed``: data sorted by class are not cut after the first classes.

        No image is read twice, however often and however many are asked for.
        """
        order = shuffled(len(self.data), seed)
        wanted = len(order) if num is None else min(num, len(order))
        known = self._known.setdefault(seed, torch.empty(0))
        if len(known) < wanted:
            new = self._extract(order[len(known) : -(-wanted // BLOCK) * BLOCK])  # whole blocks, so that a feature does not depend on ``num``
            self._known[seed] = torch.cat([*([known] if len(known) else []), *new])
        return self._known[seed][:wanted]

    def _measure(self) -> FeatureStatistics:
        statistics: FeatureStatistics | None = None
        for features in self._extract(np.arange(len(self.data))):
            statistics = statistics or FeatureStatistics(features.shape[1])
            statistics.update(features)
        return statistics or FeatureStatistics(0)

    def _extract(self, order: Int[np.ndarray, " n"]) -> Iterator[Float[Tensor, "b f"]]:
        read = image_source(self.data, order)
        for turn in self.work.rounds(f"real data ({self.data.name} {self.data.split})", len(order), BLOCK):
            with torch.no_grad():
                features = self.extractor.features(read(turn.start, turn.num).to(self.device)).cpu()
            yield self.work.processes.gather(features, turn)

    def _path(self) -> Path | None:
        if self.cache is None or not self.data.digest:
            return None
        key = json.dumps({"format": 1, "extractor": self.extractor.version, **self.protocol, "resize": self.extractor.resize}, sort_keys=True)
        return self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def default_cache() -> Path:
    """``statistics`` in the folder where data sets are cached."""
    return cache_root() / "statistics"


def shuffled(num: int, seed: int) -> Int[np.ndarray, " n"]:
    """The numbers 0 to num - 1 in an order that depends on the seed alone."""
    return np.random.default_rng(seed).permutation(num)


def _read(path: Path | None) -> FeatureStatistics | None:
    if path is None or not path.is_file():
        return None
    try:
        state = load_file(path)
        statistics = FeatureStatistics(len(state["mean"]))
        statistics.count, statistics.mean, statistics.scatter = int(state["count"]), state["mean"], state["scatter"]
    except (SafetensorError, KeyError, OSError):
        return None  # damaged: measured again and written anew
    return statistics


def _write(statistics: FeatureStatistics, path: Path | None) -> None:
    if path is None:
        return
    state = {"count": torch.tensor(statistics.count), "mean": statistics.mean, "scatter": statistics.scatter}
    part = path.with_name(f"{path.stem}.{uuid4().hex}.part")
    with suppress(OSError, SafetensorError):  # a full or read-only disk costs time at the next score, not this score
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, part)
        part.replace(path)
