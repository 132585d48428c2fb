"""How prototypes are trained."""

from __future__ import annotations

from memogen.recipes.recipe import DataConfig, Recipe, ScoringConfig
from memogen.training import TrainingConfig

from .model import PrototypesConfig, PrototypesObjective


def digits() -> Recipe:
    """On the embedded digits."""
    training = TrainingConfig(steps=40, log_every=5, sample_every=20, checkpoint_every=20)
    scoring = ScoringConfig("digits", num_samples=500)
    return Recipe("prototypes/digits", "prototypes", DataConfig("digits"), PrototypesConfig(), PrototypesObjective(), training, scoring)


RECIPES = (digits,)
