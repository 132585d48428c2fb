"""What a recipe is: a complete, re-runnable configuration of one row of a paper's table, with the printed number beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..data import DataOptions
from ..models import MemoryGANConfig, MemoryGANObjective
from ..training import TrainingConfig


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
    """How the finished model is scored against the test split: a shipped classifier's name, or None for no score.

    ``likelihood_every``: steps between two looks at the biased log-likelihood of the test split (Fig. 3a) and at the sorted prior (Fig. 3c);
    0 for none.
    """

    extractor: str | None = None
    metrics: tuple[str, ...] = ("is", "fid", "prdc")
    num_samples: int = 10_000
    seed: int = 0
    likelihood_every: int = 500


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a run; config.yaml holds exactly this. ``model.image_shape`` is set from the data when the run starts."""

    recipe: str
    variant: str
    data: DataConfig
    model: MemoryGANConfig
    objective: MemoryGANObjective
    training: TrainingConfig
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    claims: tuple[Claim, ...] = ()
