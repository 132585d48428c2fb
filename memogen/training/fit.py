"""The loop. It knows phases, not papers: neither a GAN nor a VAE is mentioned here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from memogen.data.batches import Batches
from memogen.progress import Bar
from memogen.stopping import Stop, stopping
from memogen.training.checkpoint import checkpoint_path
from memogen.training.config import TrainingConfig
from memogen.training.course import Course
from memogen.training.ema import start_averages, trainable
from memogen.training.graphs import Graphs, Scalars
from memogen.training.log import RunLog, open_log
from memogen.training.optimise import PhaseOptimiser, keeping_gradient_flags, phase_optimisers
from memogen.training.outputs import Outputs
from memogen.training.runtime import Runtime, seed_step, start
from memogen.training.settings import flat_settings
from memogen.training.state import TrainState, resume_state
from memogen.training.window import NonFiniteLoss, terms_of
from memogen.types import Batch, Evaluator, ImageData, Objective


class Stopped(Exception):  # noqa: N818  (the user's wish, not an error)
    """The training was asked to stop, and has saved ``checkpoint`` after ``step``; the same call continues it."""

    def __init__(self, step: int, steps: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step} of {steps}; saved {checkpoint}; the same command continues")
        self.step, self.checkpoint = step, checkpoint


def fit(
    model: nn.Module,
    objective: Objective,
    data: ImageData,
    config: TrainingConfig,
    folder: Path | str,
    *,
    resume: str | Path = "auto",
    settings: Mapping[str, object] | None = None,
    evaluators: Mapping[str, Evaluator] | None = None,
    evaluate_every: int = 0,
    console: bool = True,
    course: Course = Course(),  # noqa: B008  frozen
) -> TrainState:
    """Trains ``model`` in place to ``config.steps`` in the run ``folder``, which afterwards holds checkpoints, metrics, samples and model/.

    ``resume`` is "auto" (continue what ``folder`` holds), "never" (start again and remove its checkpoints) or the path of a run or checkpoint.
    ``settings`` are the caller's flat options; a checkpoint made under others is refused. ``evaluators`` score the averaged model every
    ``evaluate_every`` steps and at the end. Ctrl-C and SIGTERM finish the step, save, and raise :class:`Stopped`. ``course``: what came before,
    where this is one of several tasks (:func:`memogen.training.continual.fit_tasks`).
    Raises InputError for what cannot be run or resumed here, NonFiniteLoss when a loss is no number any more.
    """
    trainable(model)
    runtime = start(config)
    with runtime.numerics(), keeping_gradient_flags(model):
        runtime.place(model)
        if course.teacher is not None:
            runtime.place(course.teacher)
        phases = objective.phases(model, teacher=course.teacher)
        turns = phase_optimisers(model, phases, recorded=runtime.cuda_graphs)
        state = TrainState(
            modules={"model": model, **course.modules},
            optimisers={turn.phase.name: turn.optimiser for turn in turns},
            averages=start_averages(model, config.ema_decay),
            scaler=runtime.scaler(),
            settings=flat_settings(config, data, phases, settings or {}),
        )
        course.hand_over(state, turns)
        source = resume_state(state, Path(folder), resume, write=runtime.leads)
        runtime.processes.wait()
        with (
            open_log(Path(folder) if runtime.leads else None, state.step, tensorboard=config.tensorboard) as log,
            Bar(shown=console and runtime.leads) as bar,
            stopping() as stop,
            stop.held(),
        ):
            log.line(f"{'resumed from ' + str(source) if source else 'started'} at step {state.step} of {config.steps} on {runtime.device}")
            batches = Batches(
                data, config.batch_size, seed=config.seed, rank=runtime.processes.rank, world_size=runtime.processes.world_size, device=runtime.device
            )
            outputs = Outputs(state, config, runtime, Path(folder), data, log, evaluators or {}, evaluate_every)
            outputs.saved = state.step if source == checkpoint_path(Path(folder), state.step) else -1
            outputs.scored = state.step if runtime.processes.any(log.scored(state.step)) else -1
            graphs = Graphs() if runtime.cuda_graphs else None
            _Loop(state, config, runtime, turns, batches, outputs, stop, course, graphs).run(bar, log)
    return state


@dataclass(frozen=True)
class _Loop:
    state: TrainState
    config: TrainingConfig
    runtime: Runtime
    turns: tuple[PhaseOptimiser, ...]
    batches: Batches
    outputs: Outputs
    stop: Stop
    course: Course
    graphs: Graphs | None = None

    def run(self, bar: Bar, log: RunLog) -> None:
        """Step after step until the last one, a request to stop, or a loss that is not finite."""
        state, before, begun = self.state, self.state.seconds, time.monotonic()
        worked, began_to_work = state.processor_seconds, time.process_time()
        images = self.config.batch_size * sum(turn.phase.repeats for turn in self.turns if turn.phase.reads_data)
        bar.stage(self.course.title, self.course.end or self.config.steps, done=state.step, unit="steps", rate=(images, " images"), lines=True)
        self.state.modules["model"].train()
        if state.step == self.course.begun:
            self._show()
        try:
            while state.step < self.config.steps:
                self._step()
                elapsed = time.monotonic() - begun
                state.seconds, state.processor_seconds = before + elapsed, worked + time.process_time() - began_to_work
                self._show()
                bar.advance(1)
                self.outputs.after_step()
                if self._asked_to_stop():
                    saved = self.outputs.finish()
                    log.line(f"stopped by request after step {state.step}")
                    raise Stopped(state.step, self.config.steps, saved)
        except NonFiniteLoss as error:
            raise self.outputs.explain(error) from None
        self.outputs.finish()

    def _step(self) -> None:
        """Each phase's turn, then the averages."""
        state, stream = self.state, 0
        seed_step(self.config.seed, state.step, self.runtime)
        for turn in self.turns:
            turn.begin(state.step - self.course.begun, self.config.steps - self.course.begun)
            for number in range(turn.phase.repeats):
                turn.count((state.step - self.course.first_update) * turn.phase.repeats + number + 1)
                self._update(turn, self._draw(turn, stream))
                stream += 1
        if state.averages is not None:
            state.averages.update(state.step - self.course.begun)
        state.step += 1

    def _update(self, turn: PhaseOptimiser, batch: Batch) -> None:
        """One batch of a phase. Its numbers go into the window, which ends the training where one is not finite."""
        name, window, step = turn.phase.name, self.state.window, self.state.step + 1
        if self.graphs is None:
            _, metrics = self._learn(turn, batch, watched=True)
        else:
            terms, metrics = self.graphs(name, batch, partial(self._learn, turn))
            window.add(step, name, terms, must=True)
        window.add(step, name, metrics)
        if window.full:
            window.look(self.runtime.mean)

    def _learn(self, turn: PhaseOptimiser, batch: Batch, *, watched: bool = False) -> tuple[Scalars, Scalars]:
        """Loss, backward, merge, optimiser, commit. Gives the loss's terms, and what the commit reports.

        ``watched``: the terms go into the window before the weights move. A recording cannot do that, since it runs on the device alone. Where the
        scaler skips the step, "skipped" says so, and nothing is committed.
        """
        with self.runtime.autocast():
            loss = turn.phase.loss(batch)
        terms, metrics = terms_of(loss), dict[str, Tensor]()
        if watched:
            self.state.window.add(self.state.step + 1, turn.phase.name, terms, must=True)
            if self.runtime.watches_every_step:
                self.state.window.look(self.runtime.mean)
        moved = turn.descend(loss.total, self.runtime, self.state.scaler)
        if self.state.scaler is not None:
            metrics["skipped"] = torch.tensor(float(not moved), device=loss.total.device)
        if turn.phase.commit is not None and moved:
            with torch.no_grad():
                metrics |= turn.phase.commit(loss)
        return terms, metrics

    def _show(self) -> None:
        if self.runtime.leads:
            self.course.show(self.state.step, self.state.modules["model"])

    def _draw(self, turn: PhaseOptimiser, stream: int) -> Batch:
        """A fresh batch; only a phase that reads data uses up images."""
        state, reads = self.state, turn.phase.reads_data
        batch = self.batches.at(state.images_seen, step=state.step, stream=stream, pixels=reads)
        if reads:
            state.images_seen += self.config.batch_size
        if self.runtime.channels_last and batch.image is not None:
            return replace(batch, image=batch.image.contiguous(memory_format=torch.channels_last))
        return batch

    def _asked_to_stop(self) -> bool:
        """Whether to stop here; several processes agree on it every tenth step, since the signal may reach them at different ones."""
        if self.runtime.processes.world_size > 1 and self.state.step % 10:
            return False
        return self.runtime.processes.any(self.stop.made) and self.state.step < self.config.steps
