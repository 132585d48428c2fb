"""What a category cost that was added to a saved model: its rows say how it was learned, the model that came of it says the rest."""

from __future__ import annotations

from memogen.models import ReplayGAN, ReplayGANObjective
from memogen.models.replay_gan import AlignmentConfig, JointConfig
from memogen.models.replay_gan.cost import Cost, cost
from memogen.pretrained import CONFIG, RUN_MODEL, from_pretrained

from .extension_section import EXTENDED
from .history import Run


def extension_cost(run: Run) -> Cost | None:
    """Images that generators drew while the category was learned, and bytes kept beside the model; None for another run, or one without its model."""
    row = next((row for row in reversed(run.results) if row.get("recipe") == EXTENDED and row.get("steps")), None)
    if row is None or not (run.path / RUN_MODEL / CONFIG).is_file():
        return None
    model, objective, steps = from_pretrained(run.path / RUN_MODEL), _objective(str(row["variant"])), int(row["steps"])
    if not isinstance(model, ReplayGAN):
        return None
    batch_size, new = int(row["images"]) // (steps * objective.game.steps), len(model.current)
    tasks = [len(model.known) - new, new]
    before = cost(objective, model.config, tasks[:1], steps=steps, batch_size=batch_size, teacher=None)
    after = cost(objective, model.config, tasks, steps=steps, batch_size=batch_size, teacher=objective.teacher(model))
    return Cost(after.drawn - before.drawn, after.stored)


def _objective(method: str) -> ReplayGANObjective:
    """One that draws as many images as that of the ``method``."""
    joint = JointConfig() if method.startswith("joint_replay") else None
    return ReplayGANObjective(joint=joint, alignment=AlignmentConfig() if method.endswith("alignment") else None)
