"""The losses of a Memory Replay GAN: WGAN-GP with an auxiliary classifier, and the ways to keep what was learned before (Wu et al. 2018).

Fine-tuning is the objective without any of them; joint training is fine-tuning on a single task of all classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from ...types import Batch, InputError, Loss, OptimiserConfig, Phase
from ..replayed import state_bytes
from .losses import FEWEST, STORED, Losses, ReplayTerms
from .model import ReplayGAN, ReplayGANConfig
from .options import ADAM, AlignmentConfig, CriticConfig, GenerativeReplayConfig, JointConfig, ReplayConfig
from .solver import SolverLosses
from .teacher import ConsolidationConfig, Teacher


@dataclass(frozen=True)
class ReplayGANObjective:
    """Fine-tuning, with any of ``joint``, ``alignment`` and ``consolidation`` on top; or ``generative_replay`` for an unconditional model."""

    joint: JointConfig | None = None
    alignment: AlignmentConfig | None = None
    consolidation: ConsolidationConfig | None = None
    generative_replay: GenerativeReplayConfig | None = None
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    game: CriticConfig = field(default_factory=CriticConfig)
    critic: OptimiserConfig = field(default_factory=lambda: ADAM)
    generator: OptimiserConfig = field(default_factory=lambda: ADAM)

    def __post_init__(self) -> None:
        if self.generative_replay and (self.joint or self.alignment or self.consolidation):
            raise ValueError("generative_replay stands alone: leave joint, alignment and consolidation out")

    def at_rate(self, learning_rate: float, alignment: float | None = None) -> ReplayGANObjective:
        """This objective with ``learning_rate`` for critic, generator and solver, and with lambda ``alignment`` if it has an alignment term."""
        critic, generator = (replace(adam, learning_rate=learning_rate) for adam in (self.critic, self.generator))
        changed = replace(self, critic=critic, generator=generator)
        if changed.generative_replay is not None:
            solver = replace(changed.generative_replay.solver, learning_rate=learning_rate)
            changed = replace(changed, generative_replay=replace(changed.generative_replay, solver=solver))
        if changed.alignment is not None and alignment is not None:
            changed = replace(changed, alignment=replace(changed.alignment, weight=alignment))
        return changed

    def teacher(self, model: ReplayGAN) -> Teacher | None:
        """An empty teacher for ``model``; None for fine-tuning."""
        kept = self.joint or self.alignment or self.consolidation or self.generative_replay
        return Teacher(model, estimates_fisher=self.consolidation is not None) if kept else None

    def teach(self, teacher: Teacher, model: ReplayGAN) -> None:
        """Copy the model to the teacher after a task, and estimate the Fisher information where weights are consolidated."""
        teacher.follow(model)
        if self.consolidation is not None:
            teacher.weigh(model, self.consolidation)

    def cost(self, model: ReplayGAN, tasks: Sequence[int], *, steps: int, batch_size: int) -> dict[str, float]:
        """The number of images drawn in training, and the megabytes stored beside the model; see :func:`cost`."""
        found = cost(self, model.config, tasks, steps=steps, batch_size=batch_size, teacher=self.teacher(model))
        return {"generated_images": float(found.drawn), "kept_megabytes": found.stored / 1e6}

    def phases(self, model: ReplayGAN, *, teacher: nn.Module | None = None) -> tuple[Phase, ...]:
        """The critic's phase and the generator's; with generative replay the solver's as well. A teacher that has learned no class adds no term."""
        if (self.generative_replay is None) != model.config.conditional:
            raise InputError("objective.generative_replay: for a model with conditioning none, which needs it: set both, as the variant dgr does")
        past = teacher if isinstance(teacher, Teacher) and teacher.known else None
        if self.generative_replay is not None:
            return self._with_solver(SolverLosses(self.game, model, past), self.generative_replay.solver)
        losses = Losses(ReplayTerms(self.joint, self.alignment, self.consolidation, self.replay), self.game, model, past)
        return self._critic(model, losses.critic), self._generator(model, losses.generator)

    def _with_solver(self, losses: SolverLosses, optimiser: OptimiserConfig) -> tuple[Phase, ...]:
        assert losses.model.solver is not None
        solver = Phase("solver", (losses.model.solver,), losses.solver, optimiser=optimiser)
        return self._critic(losses.model, losses.critic), self._generator(losses.model, losses.generator), solver

    def _critic(self, model: ReplayGAN, loss: Callable[[Batch], Loss]) -> Phase:
        return Phase("critic", (model.critic,), loss, repeats=self.game.steps, optimiser=self.critic)

    def _generator(self, model: ReplayGAN, loss: Callable[[Batch], Loss]) -> Phase:
        return Phase("generator", (model.generator,), loss, optimiser=self.generator, reads_data=False)


@dataclass(frozen=True)
class Cost:
    """``drawn``: images that model and teacher draw in all tasks. ``stored``: bytes kept beside the model at the end."""

    drawn: int
    stored: int


def cost(
    objective: ReplayGANObjective, config: ReplayGANConfig, tasks: Sequence[int], *, steps: int, batch_size: int, teacher: nn.Module | None
) -> Cost:
    """The cost of tasks with ``tasks[i]`` classes each, ``steps`` steps a task."""
    drawn, past = 0, 0
    for number, new in enumerate(tasks):
        drawn += steps * images_in_a_step(objective, config, new, past, batch_size)
        drawn += -(-objective.joint.bank // STORED) * STORED * past if objective.joint is not None else 0
        past += new
        if objective.consolidation is not None and number + 1 < len(tasks):
            drawn += -(-objective.consolidation.num_samples // past) * past
    kept = state_bytes(teacher) if teacher is not None else 0
    pixels = config.frame[0] * config.frame[1] * config.frame[2]
    return Cost(drawn, kept + (4 * objective.joint.bank * (past - tasks[-1]) * pixels if objective.joint is not None else 0))


def images_in_a_step(objective: ReplayGANObjective, config: ReplayGANConfig, new: int, past: int, batch_size: int) -> int:
    """Images drawn in one step of a task with ``new`` classes after ``past`` earlier ones."""
    turns = objective.game.steps
    if objective.generative_replay is not None:
        again = batch_size if past else 0
        return turns * (batch_size + again) + batch_size + again
    fake = batch_size if config.statistics == "batch" else _in_turns(new, batch_size)
    if not past or not (objective.joint or objective.alignment):
        return (turns + 1) * fake
    replays = past * batch_size if objective.replay.images == "full" else _in_turns(past, batch_size)
    of_critic = 0 if objective.joint is None else replays * (1 if objective.joint.bank else 2)
    return turns * (fake + of_critic) + fake + replays * (2 if objective.alignment is not None else 1)


def _in_turns(classes: int, batch_size: int) -> int:
    together = min(classes, max(1, batch_size // FEWEST))
    return batch_size // together * together
