"""What a recipe is: a complete, re-runnable configuration of one row of a paper's table, with the printed number beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from torch import nn

from .. import configs
from ..data import DataOptions
from ..metrics.metric import ModelScoring
from ..metrics.registry import model_metrics
from ..models import FAMILIES
from ..training import SuccessionConfig, TrainingConfig
from ..types import InputError, Objective, check_seed


@dataclass(frozen=True)
class Claim:
    """A number that a paper printed. ``source`` says where."""

    metric: str
    value: float
    spread: float | None
    source: str


@dataclass(frozen=True)
class DataConfig:
    """Which images: a name of ``memogen.data.DATASETS``, the folder that holds them (None: download), and how they are brought to one shape."""

    name: str
    folder: str | None = None
    options: DataOptions = field(default_factory=DataOptions)


@dataclass(frozen=True)
class ScoringConfig:
    """How the finished model is scored against the test split, by ``metrics``.

    ``extractor`` is what ``--extractor`` takes, mostly a shipped classifier's name; None leaves out the metrics that need one. ``model`` holds the
    options of the metrics that ask the model itself and need no extractor. ``num_samples``: the number of samples that are drawn (of every class,
    after a sequence of tasks), or of test images whose likelihoods are estimated.
    ``likelihood_every``: steps between two evaluations on the test split during the training: memoryGAN's biased log-likelihood (Fig. 3a) and sorted
    prior (Fig. 3c), or a lower bound; 0 for none. ``curve_samples``: that many samples also follow the inception score, Fréchet and
    kernel distance, where they are among ``metrics`` and the training is longer than one such interval.
    ``statistics``: a replay GAN draws by the "stored" batch statistics or, like its authors, by those of a "batch" of 64 images of a class.
    """

    extractor: str | None = None
    metrics: tuple[str, ...] = ("is", "fid", "prdc")
    num_samples: int = 10_000
    seed: int = 0
    likelihood_every: int = 500
    model: ModelScoring | None = None
    statistics: Literal["stored", "batch"] = "stored"
    curve_samples: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed, "scoring.seed")
        for name, least in (("num_samples", 1), ("likelihood_every", 0), ("curve_samples", 0)):
            if getattr(self, name) < least:
                raise InputError(f"scoring.{name} is {getattr(self, name)}: use {least} or more")

    @property
    def judged(self) -> tuple[str, ...]:
        """The metrics that an extractor is needed for, where there is one."""
        return tuple(name for name in self.metrics if name not in model_metrics()) if self.extractor is not None else ()

    @property
    def asked(self) -> tuple[str, ...]:
        """The metrics that ask the model itself."""
        return tuple(name for name in self.metrics if name in model_metrics())


IN_PIXELS = ("kid", "prdc")
"""What is scored in pixels, where no classifier ships: metrics that need none, and few images."""


class ModelConfig(Protocol):
    """A family's frozen dataclass of options: the ``config`` of a :class:`memogen.models.Family`."""

    @property
    def image_shape(self) -> tuple[int, int, int]: ...
    def build(self) -> nn.Module: ...


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a run; config.yaml holds exactly this. ``model.image_shape`` is set from the data when the run starts.

    ``recipe`` is FAMILY/NAME; the family says which options ``model`` and ``objective`` have. With a ``succession`` the classes are learned in
    tasks, of ``training.steps`` each.
    """

    recipe: str
    variant: str
    data: DataConfig
    model: ModelConfig
    objective: Objective
    training: TrainingConfig
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    claims: tuple[Claim, ...] = ()
    succession: SuccessionConfig | None = None

    @property
    def curve(self) -> tuple[str, ...]:
        """The metrics that are followed during the training. A training of one interval would have a curve of one point, the final scores'."""
        scoring, intervals = self.scoring, self.scoring.likelihood_every and (self.training.steps - 1) // self.scoring.likelihood_every
        followed = scoring.curve_samples > 0 and intervals > 0 and self.succession is None
        return tuple(name for name in scoring.judged if name in ("is", "fid", "kid")) if followed else ()


def read_recipe(mapping: object, *, complete: bool = True) -> Recipe:
    """A recipe from a plain mapping, strictly; ``complete`` False lets keys with a default be left out. Raises InputError."""
    family = str(mapping.get("recipe", "")).partition("/")[0] if isinstance(mapping, Mapping) else ""
    if family and family not in FAMILIES:
        raise InputError(f"recipe: {family!r} is not a family of models: {configs.suggest(family, FAMILIES)}")
    kinds = {"model": FAMILIES[family].config, "objective": FAMILIES[family].objective} if family else {}
    return configs.from_dict(Recipe, mapping, complete=complete, kinds=kinds)


def check_variant(variant: str, known: Collection[str]) -> None:
    """Raises InputError for a variant that is not known."""
    if variant not in known:
        raise InputError(f"variant: {variant!r} is unknown: choose {', '.join(known)}")


def shaped(recipe: Recipe, image_shape: tuple[int, int, int]) -> Recipe:
    """The recipe for images of that shape."""
    model: Any = recipe.model  # a dataclass, which a protocol cannot say
    return replace(recipe, model=replace(model, image_shape=image_shape))
