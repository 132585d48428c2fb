"""What a table of a paper is: rows with the printed numbers, and what a run of each may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..configs import suggest
from ..models.replay_gan import ReplayGANObjective
from ..training.config import Precision
from ..types import InputError
from .recipe import Claim, Recipe


@dataclass(frozen=True)
class Budget:
    """What one run of a recipe may cost, and how many seeds make a row.

    ``hours``: a forecast from steps timed on its ``hardware``; None: unknown, hours or days on one large GPU. ``curves`` False leaves
    out sample grids and likelihoods during the training. ``importance_samples``: for each image, where the recipe scores a
    likelihood. ``learning_rate`` and the weight of ``alignment``: where a Memory Replay GAN's own are not meant for so many steps.
    ``cuda_graphs`` and ``compile``: for a large GPU. A run is scored, by ``curve_samples`` samples, and saved at most ``evaluations`` times; with
    ``checkpoints`` it is saved that many times and keeps them all.
    """

    steps: int
    num_samples: int
    hours: float | None
    seeds: int = 1
    precision: Precision = "float32"
    channels_last: bool = False
    curves: bool = True
    importance_samples: int | None = None
    learning_rate: float | None = None
    alignment: float | None = None
    cuda_graphs: bool = False
    compile: bool = False
    evaluations: int = 100
    curve_samples: int = 0
    checkpoints: int = 0

    @property
    def hardware(self) -> str:
        """What its hours were measured on."""
        return "one large GPU" if self.cuda_graphs else "two CPU cores"

    def spent_on(self, recipe: Recipe, *, seed: int) -> Recipe:
        """The recipe at this budget."""
        apart = self.steps // self.evaluations
        training = replace(
            recipe.training,
            steps=self.steps,
            seed=seed,
            precision=self.precision,
            channels_last=self.channels_last,
            cuda_graphs=self.cuda_graphs,
            compile=self.compile,
            sample_every=max(recipe.training.sample_every, apart) if self.curves else 0,
            checkpoint_every=max(1, self.steps // self.checkpoints) if self.checkpoints else max(recipe.training.checkpoint_every, apart),
            keep=self.checkpoints or recipe.training.keep,
        )
        every = max(recipe.scoring.likelihood_every, apart) if self.curves else 0
        asked = recipe.scoring.model
        if asked is not None and self.importance_samples is not None:
            asked = replace(asked, importance_samples=self.importance_samples)
        scoring = replace(recipe.scoring, num_samples=self.num_samples, likelihood_every=every, curve_samples=self.curve_samples, model=asked)
        objective = recipe.objective
        if self.learning_rate is not None:
            assert isinstance(objective, ReplayGANObjective), "no other table sets a rate"
            objective = objective.at_rate(self.learning_rate, self.alignment)
        return replace(recipe, objective=objective, training=training, scoring=scoring)


@dataclass(frozen=True)
class TableRow:
    """One printed number. ``recipe`` is a name of ``RECIPES``; empty for a method of others, which is shown beside ours and not trained."""

    recipe: str
    variant: str
    claim: Claim | None


@dataclass(frozen=True)
class Criterion:
    """When a comparison of methods that learn tasks counts: joint training (``upper``) reaches the share ``least`` of what real images do, and
    fine-tuning (``floor``) at most the share ``most`` of what joint training does.

    Both by the first of ``metrics`` that a recipe has; joint training learns all images at once, fine-tuning does nothing against forgetting.
    """

    metrics: tuple[str, ...] = ("accuracy", "reverse_accuracy")
    upper: str = "joint_training"
    floor: str = "fine_tuning"
    least: float = 0.9
    most: float = 0.5


@dataclass(frozen=True)
class Table:
    """A table of a paper. ``budgets`` holds every recipe's budgets by name; ``note`` names the differences between our numbers and the printed ones.

    The budgets of a variant that costs more or less stand under RECIPE/VARIANT. ``metrics`` replace the recipe's own, for all recipes or by name.
    Tables of the same models name the same ``runs``, so that none is trained twice; otherwise a table has its own.
    A part of it, NAME/PART, holds the recipes whose names end in PART, or in PART and ``ending``. ``criterion``: when its comparisons count.
    """

    name: str
    title: str
    rows: tuple[TableRow, ...]
    budgets: Mapping[str, Mapping[str, Budget]]
    note: str = ""
    metrics: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
    runs: str = ""
    ending: str = ""
    criterion: Criterion | None = None

    def budget(self, recipe: str, name: str, variant: str = "") -> Budget:
        """Raises InputError."""
        known = self.budgets.get(f"{recipe}/{variant}", self.budgets[recipe])
        if name not in known:
            raise InputError(f"budget: {name!r} is not a budget of {self.name}: {suggest(name, known)}")
        return known[name]

    def scored(self, recipe: Recipe) -> Recipe:
        """The recipe with this table's metrics."""
        metrics = self.metrics if isinstance(self.metrics, tuple) else self.metrics.get(recipe.recipe, ())
        return replace(recipe, scoring=replace(recipe.scoring, metrics=metrics)) if metrics else recipe

    @property
    def recipes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.recipe for row in self.rows if row.recipe))

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """The recipes of each part."""
        names = {recipe: recipe.rpartition("/")[2].removesuffix(self.ending) for recipe in self.recipes}
        return {part: tuple(recipe for recipe, name in names.items() if name == part) for part in dict.fromkeys(names.values())}

    def folder_of(self, recipe: str) -> str:
        """What the folders of a recipe's runs begin with: its name, and its family's where two families have it."""
        name = recipe.rpartition("/")[2]
        alone = sum(other.rpartition("/")[2] == name for other in self.recipes) == 1
        return name if alone else recipe.replace("/", "-")

    @property
    def variants(self) -> tuple[str, ...]:
        """Of the rows that can be trained."""
        return tuple(dict.fromkeys(row.variant for row in self.rows if row.recipe))

    def of_variants(self, names: tuple[str, ...]) -> Table:
        """The rows of these variants, and those of others; a variant that the paper has no row for gets one without a printed number."""
        own = tuple(row for row in self.rows if not row.recipe or row.variant in names)
        more = tuple(TableRow(recipe, name, None) for recipe in self.recipes for name in names if name not in self.variants)
        return replace(self, rows=own + more)
