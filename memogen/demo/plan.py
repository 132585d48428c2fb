"""How long the demo trains, and what of: its whole budget in one place."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..models import MemoryGANObjective
from ..recipes import RECIPES, Recipe, ScoringConfig
from ..runs import config_hash

Arm = Literal["slot_replay", "fine_tuning"]
ARMS: dict[Arm, str] = {"slot_replay": "with replay", "fine_tuning": "without replay"}


@dataclass(frozen=True)
class Plan:
    """``task_steps`` for each of five pairs of digits, ``steps`` for all ten at once; ``samples`` are drawn and judged after each pair.

    The networks learn at ``learning_rate``, twice that of the recipes, since these trainings are short.
    ``filler`` is the shipped model that fills in what ``mask`` hides of the pictures that ship with it.
    """

    seed: int = 0
    task_steps: int = 200
    steps: int = 1500
    samples: int = 2000
    learning_rate: float = 1e-3
    filler: str = "mnist-vae"
    mask: str = "rect-12"

    def stream(self, arm: Arm) -> Recipe:
        """Ten digits, two at a time."""
        recipe = RECIPES["memory_gan/digits_stream"](variant=arm)
        return self._short(recipe, self.task_steps, replace(recipe.scoring, num_samples=self.samples))

    def digits(self) -> Recipe:
        """Ten digits at once."""
        return self._short(RECIPES["memory_gan/digits"](), self.steps, ScoringConfig("digits", ("is", "fid"), self.samples, likelihood_every=0))

    def named(self) -> dict[str, Any]:
        """What names the demo's outcome: the plan, and the complete configurations that it leads to."""
        recipes = {arm: self.stream(arm) for arm in ARMS} | {"digits": self.digits()}
        return asdict(self) | {name: config_hash(recipe) for name, recipe in recipes.items()}

    def _short(self, recipe: Recipe, steps: int, scoring: ScoringConfig) -> Recipe:
        assert isinstance(recipe.objective, MemoryGANObjective)
        critic, generator = (replace(one, learning_rate=self.learning_rate) for one in (recipe.objective.critic, recipe.objective.generator))
        training = replace(recipe.training, steps=steps, seed=self.seed, checkpoint_every=500, sample_every=0, device="cpu")
        return replace(recipe, objective=replace(recipe.objective, critic=critic, generator=generator), training=training, scoring=scoring)
