"""What a metric is: its name, the numbers that it yields, what it needs, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from memogen.metrics.paired import PerImage
from memogen.metrics.samples import Reference, Seen, Source, Watch, Work, device_of, images_at
from memogen.types import ImageData, InputError, check_seed

PRDC_NEIGHBOURS = 5  # k of every metric that takes balls around images
PAIR_IMAGES = 5000  # of each set at most, where the cost grows with the product of their sizes

Need = Literal["samples", "extractor", "probabilities", "labels", "train", "model", "likelihood", "checkpoints"]
"""samples: reads the common stream of samples, batch by batch; extractor: sees images through one; probabilities: reads its class probabilities;
labels: of the data; train: the training images; model: asks the model itself; likelihood: a model that has one; checkpoints: of the model's run."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Number:
    """A number that a metric yields: ``name`` in result rows, ``title`` in tables. ``better`` is None if neither direction is better.

    A number that is measured under several conditions, such as masks, is told ``apart`` by words from its protocol. They stand in the title by
    ``form``, and in tables in the given ``order``; others follow. ``counted``: not measured, so no seed changes it. ``tabled`` False: in rows only.
    """

    name: str
    title: str
    better: Literal["higher", "lower"] | None = None
    apart: Callable[[Mapping[str, Any]], str] | None = None
    form: str = "{title} {apart}"
    order: tuple[str, ...] = ()
    counted: bool = False
    tabled: bool = True


@dataclass(frozen=True)
class Result:
    """One number, its spread if it has one, and what it adds to the protocol.

    ``variant`` names what was measured if it was not the samples. ``per_image`` holds the numbers that ``value`` is the mean of, to be kept.
    """

    metric: str
    value: float
    spread: float | None = None
    protocol: dict[str, object] = field(default_factory=dict)
    variant: str | None = None
    per_image: PerImage | None = None


@dataclass(frozen=True)
class ModelScoring:
    """Settings of the metrics that ask the model itself. ``masks`` are those of :func:`~memogen.metrics.imputation.missing_pixels`, each refined in
    ``refinements`` steps. ``binarisation_seed`` draws the black and white test images, the same for all compared models. ``svm_penalty`` is C of
    scikit-learn.
    """

    importance_samples: int = 5000
    binarisation_seed: int = 0
    masks: tuple[str, ...] = ("rect-12", "rand-0.6", "half")
    refinements: int = 100
    # departs: the authors' code takes another loss (joint hinge) and AdaGrad for a fixed time; here, a converged machine
    svm_penalty: float = 1e-3

    def __post_init__(self) -> None:
        check_seed(self.binarisation_seed, "scoring.model.binarisation_seed")
        if min(self.importance_samples, self.refinements) < 1 or not self.svm_penalty > 0:
            raise InputError(f"scoring: {self}: counts must be at least 1, the penalty above 0")


@dataclass(frozen=True)
class Asked:
    """What the metrics of one scoring work with: ``num_samples`` samples of ``subject``, a model or images, compared with ``data``.

    ``train`` holds the training images if they are known, ``run`` the folder of the model's training. ``watch`` passes the images of ``source``
    through the extractor; both are None if no metric needs one. ``how`` holds the settings of the metrics that ask the model itself. ``cache`` None
    keeps statistics of real images in memory only.
    """

    subject: Any
    data: ImageData
    train: ImageData | None = None
    num_samples: int = 10_000
    seed: int = 0
    watch: Watch | None = None
    source: Source | None = None
    cache: Path | None = None
    how: ModelScoring = ModelScoring()
    run: Path | None = None
    work: Work = field(default_factory=Work)
    _made: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def judge(self) -> Watch:
        """``watch``, for a metric that needs an extractor."""
        assert self.watch is not None, "the driver gives an extractor to metrics that need one"
        return self.watch

    @cached_property
    def first(self) -> Seen:
        """The first sample, as the metrics see it."""
        assert self.source is not None, "the driver gives a source with the extractor"
        return self.judge.look(self.source(0, 1).to(device_of(self.judge.extractor)))

    @cached_property
    def reference(self) -> Reference:
        """The real images that samples are compared with."""
        return self._seen(self.data)

    @cached_property
    def training(self) -> Reference | None:
        """The training images, if they are known."""
        return None if self.train is None else self._seen(self.train)

    def _seen(self, data: ImageData) -> Reference:
        return Reference(data, self.judge.extractor, self.cache, device_of(self.judge.extractor), self.work)

    def trained_on(self, metric: str) -> Reference:
        """The training images: ``train``, or the reference if it is a training split. Raises InputError, in the name of ``metric``, if neither is."""
        if self.training is None and self.data.split == "train":
            return self.reference
        if self.training is None:
            raise InputError(f"metric {metric}: it compares with the images the model was trained on: give them as train")
        return self.training

    def labels(self, metric: str, data: ImageData | None = None) -> Int[np.ndarray, " n"]:
        """The labels of ``data``, or of the real images. Raises InputError if there are none."""
        data = self.data if data is None else data
        if data.label is None:
            raise InputError(f"metric {metric}: {data.name}, {data.split}, has no labels: choose a labelled data set, or leave {metric} out")
        return np.asarray(data.label)

    def check_judge(self, metric: str) -> None:
        """Raises InputError if the extractor knows fewer classes than the real images have, or than given images do."""
        judge, labels = self.judge.extractor, [self.labels(metric)]
        if isinstance(self.subject, ImageData) and self.subject.label is not None:
            labels.append(self.subject.label)
        largest = max(int(each.max()) for each in labels)
        known = judge(images_at(self.data, slice(0, 1)).to(device_of(judge))).shape[1]
        if known <= largest:
            raise InputError(f"metric {metric}: the extractor knows {known} classes, the images {largest + 1}: use a classifier of the data")

    def unable(self, metric: str, why: str) -> InputError:
        """The error for a model that ``metric`` cannot be computed of."""
        return InputError(f"metric {metric}: a {type(self.subject).__name__} {why}: choose other metrics, or another model")

    def once(self, make: Callable[[Asked], Made]) -> Made:
        """``make(self)``, computed for the first of the metrics that share it."""
        if make not in self._made:
            self._made[make] = make(self)
        found: Made = self._made[make]
        return found


@runtime_checkable
class Score(Protocol):
    """A metric under computation. ``results`` holds for the images seen so far; after the first ``needed`` samples it is complete."""

    needed: int

    def update(self, seen: Seen) -> None: ...
    def results(self) -> list[Result]: ...


def nothing_to_check(asked: Asked) -> None:
    """The check of a metric that can always be computed."""


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric by its ``name`` on the command line. ``about`` explains it in a few words; ``numbers`` are what it yields.

    ``compute`` returns a :class:`Score` if it ``needs`` the samples, and otherwise the results. ``check`` raises InputError for what the metric
    lacks, before anything is computed. ``scarce`` returns a warning, or "", for a number that can be computed but is not reliable.
    """

    name: str
    about: str
    numbers: tuple[Number, ...]
    needs: frozenset[Need]
    compute: Callable[[Asked], Score | Iterable[Result]]
    check: Callable[[Asked], None] = nothing_to_check
    scarce: Callable[[Asked], str] | None = None

    @property
    def judged(self) -> bool:
        """Whether it needs an extractor; the others ask the model itself."""
        return "extractor" in self.needs

    @property
    def batched(self) -> bool:
        """Whether it reads the common stream of samples."""
        return "samples" in self.needs


def needs(*names: Need) -> frozenset[Need]:
    """The ``needs`` of a metric."""
    return frozenset(names)


class Kept:
    """The first ``room`` of the rows that are added, in one block of memory."""

    def __init__(self, room: int) -> None:
        self._room, self._rows, self._count = room, torch.empty(0), 0

    def add(self, rows: Shaped[Tensor, "b ..."]) -> None:
        taken = rows.detach()[: self._room - self._count].cpu()
        if self._count == 0:
            self._rows = taken.new_empty(self._room, *taken.shape[1:])
        self._rows[self._count : self._count + len(taken)] = taken
        self._count += len(taken)

    @property
    def rows(self) -> Shaped[Tensor, "n ..."]:
        return self._rows[: self._count]


@dataclass
class Streamed:
    """A :class:`Score` made of two functions."""

    needed: int
    update: Callable[[Seen], None]
    results: Callable[[], list[Result]]


def collected(needed: int, finish: Callable[..., list[Result]], *read: Callable[[Seen], Tensor]) -> Streamed:
    """A score that keeps what each ``read`` takes of the first ``needed`` samples, and computes its results by ``finish`` from these rows."""
    kept = [Kept(needed) for _ in read]

    def update(seen: Seen) -> None:
        for each, rows in zip(read, kept, strict=True):
            rows.add(each(seen))

    return Streamed(needed, update, lambda: finish(*(rows.rows for rows in kept)))


def features(seen: Seen) -> Tensor:
    """The features of the samples."""
    return seen.features


def probabilities(seen: Seen) -> Tensor:
    """The class probabilities, for a metric that needs them."""
    assert seen.probabilities is not None, "the metric says that it needs them"
    return seen.probabilities
