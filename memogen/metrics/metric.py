"""What a metric is: its name, the numbers it yields, what it needs, and how it is computed from what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Shaped
from torch import Tensor

from memogen.metrics.paired import PerImage
from memogen.metrics.samples import Reference, Seen, Source, Watch, device_of
from memogen.metrics.work import Work
from memogen.types import ImageData, InputError, check_seed

PRDC_NEIGHBOURS = 5  # of precision and its kin, wherever balls around images are taken
PAIR_IMAGES = 5000  # of each side at most where the cost grows with their product

Need = Literal["samples", "extractor", "probabilities", "labels", "train", "model", "likelihood", "checkpoints"]
"""samples: takes what is drawn batch by batch, beside others; extractor: sees images through one; probabilities: its class probabilities;
labels: of the data; train: the training images; model: asks the model itself; likelihood: a model that has one; checkpoints: those of its run."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Number:
    """A number that a metric yields: ``name`` in its rows, ``title`` in tables. ``better`` says which way, None where neither is.

    A number that is taken under several conditions, such as masks, is told ``apart`` by words from its protocol. They stand in the title by ``form``,
    and in tables in the ``order`` given; others follow. ``counted``: not measured, so no seed changes it. ``tabled`` False keeps it in the rows.
    """

    name: str
    title: str
    better: Literal["higher", "lower"] | None = None
    apart: Callable[[Mapping[str, Any]], str] | None = None
    form: str = "{title} {apart}"
    order: tuple[str, ...] = ()
    counted: bool = False
    tabled: bool = True

    def entitled(self, apart: str = "") -> str:
        """The title of the number that these words tell apart."""
        return self.form.format(title=self.title, apart=apart) if apart else self.title

    def place(self, apart: str) -> tuple[int, int, str]:
        """Where the number stands among those of its name."""
        known = self.order.index(apart) if apart in self.order else len(self.order)
        return known if apart else -1, int(apart) if apart.isdecimal() else 0, apart


@dataclass(frozen=True)
class Result:
    """One number, its spread where it has one, and what it adds to the protocol.

    ``variant`` is given where it speaks of something else than the samples, ``per_image`` where it is a mean of numbers that are kept.
    """

    metric: str
    value: float
    spread: float | None = None
    protocol: dict[str, object] = field(default_factory=dict)
    variant: str | None = None
    per_image: PerImage | None = None


@dataclass(frozen=True)
class ModelScoring:
    """How a model is asked. ``masks`` are those of :func:`~memogen.metrics.imputation.missing_pixels`, of ``refinements`` steps each.

    ``binarisation_seed`` draws the black and white test images, once for every model that is compared. ``svm_penalty`` is C of scikit-learn.
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
    """What the metrics of one scoring are asked: so many samples of ``subject``, a model or images, against ``data``.

    ``train`` holds the training images where they are known, ``run`` the folder of the model's training. ``watch`` looks at the images of ``source``,
    None where no metric needs an extractor. ``how`` says how the model itself is asked. ``cache`` None keeps real statistics in memory only.
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
        """Who looks at images, for a metric that needs an extractor."""
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
        return Reference(self.data, self.judge.extractor, self.cache, device_of(self.judge.extractor), self.work)

    @cached_property
    def training(self) -> Reference | None:
        """The training images, where they are known."""
        return None if self.train is None else Reference(self.train, self.judge.extractor, self.cache, device_of(self.judge.extractor), self.work)

    def trained_on(self, metric: str) -> Reference:
        """The training images, which ``metric`` cannot do without; the reference itself where it is the training split. Raises InputError."""
        if self.training is None and self.data.split == "train":
            return self.reference
        if self.training is None:
            raise InputError(f"metric {metric}: it compares with the images the model was trained on: give them as train")
        return self.training

    def labelled(self, metric: str, data: ImageData) -> None:
        """Raises InputError where the images have no labels."""
        if data.label is None:
            raise InputError(f"metric {metric}: {data.name}, {data.split}, has no labels: choose a labelled data set, or leave {metric} out")

    def unable(self, metric: str, why: str) -> InputError:
        """What to say of a model that ``metric`` cannot be computed of."""
        return InputError(f"metric {metric}: a {type(self.subject).__name__} {why}: choose other metrics, or another model")

    def once(self, make: Callable[[Asked], Made]) -> Made:
        """What several metrics share, made for the first of them."""
        if make not in self._made:
            self._made[make] = make(self)
        found: Made = self._made[make]
        return found


@runtime_checkable
class Score(Protocol):
    """A score under way. ``results`` speaks of the images seen so far, and is whole after the first ``needed`` samples."""

    needed: int

    def update(self, seen: Seen) -> None: ...
    def results(self) -> list[Result]: ...


def nothing_to_check(asked: Asked) -> None:
    """Of a metric that lacks nothing."""


@dataclass(frozen=True)
class Metric:
    """A metric by its ``name`` on the command line. ``about`` explains it in a few words, ``numbers`` are the numbers that it yields.

    ``compute`` gives a :class:`Score` where it ``needs`` the samples, to be fed and then asked, and the results themselves where not.
    ``check`` raises InputError, before anything is computed, for what the metric lacks. ``scarce`` says in words what can be computed, but not
    believed.
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
        """Whether an extractor is needed; the others ask the model itself."""
        return "extractor" in self.needs

    @property
    def batched(self) -> bool:
        """Whether it shares the samples of others."""
        return "samples" in self.needs


def needs(*names: Need) -> frozenset[Need]:
    """Of a metric."""
    return frozenset(names)


class Kept:
    """The first ``room`` rows that pass by, in one block of memory."""

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


def probabilities(seen: Seen) -> Tensor:
    """The class probabilities, which are shown where a metric needs them."""
    assert seen.probabilities is not None, "it was said that a metric needs them"
    return seen.probabilities
