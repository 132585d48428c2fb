"""The training loop of every family. It sees an objective's phases (a loss, an optimiser, what to do after the step) and nothing of the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from memogen.data.batches import Batches
from memogen.progress import Bar
from memogen.stopping import Stop, stopping
from memogen.training.checkpoint import checkpoint_path
from memogen.training.config import TrainingConfig, flat_settings
from memogen.training.ema import check_undivided, start_averages, trainable
from memogen.training.graphs import Graphs, Scalars
from memogen.training.log import NonFiniteLoss, RunLog, open_log, terms_of
from memogen.training.optimise import PhaseOptimiser, keeping_gradient_flags, phase_optimisers
from memogen.training.outputs import Outputs
from memogen.training.runtime import Runtime, seed_step, settled, start
from memogen.training.state import TrainState, resume_state
from memogen.types import Batch, Evaluator, ImageData, Objective

Watch = Callable[[int, nn.Module], None]
"""Called with the step within this training and the live model, which it must not change."""


@dataclass(frozen=True)
class Course:
    """How the training of one task continues that of the tasks before it. The default is a training on its own.

    ``teacher`` is passed to the objective and saved in every checkpoint. ``begun`` is the step count at the start of this task. ``former`` is the
    state after the previous task: its counters continue, so that no noise is drawn twice, and with ``keep_optimisers`` Adam's moments continue too.
    The leading process calls ``watch`` before the first step and after every step. The progress bar shows ``title`` and counts to ``end``, the last
    step of all tasks (0: the last step of this training).
    """

    teacher: nn.Module | None = None
    begun: int = 0
    former: TrainState | None = None
    keep_optimisers: bool = False
    watch: Watch | None = None
    title: str = "training"
    end: int = 0

    def continue_counters(self, state: TrainState, turns: tuple[PhaseOptimiser, ...]) -> None:
        """Set the counters (and Adam's moments) of a fresh ``state`` to those at the end of the previous task."""
        state.step = self.begun
        if self.former is None:
            return
        state.images_seen, state.seconds = self.former.images_seen, self.former.seconds
        state.processor_seconds = self.former.processor_seconds
        if self.keep_optimisers:
            for turn in turns:
                turn.optimiser.state.update(self.former.optimisers[turn.phase.name].state)


class Stopped(Exception):  # noqa: N818  (the user's wish, not an error)
    """The training was asked to stop. It has saved ``checkpoint`` after ``step``; the same call continues it."""

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
    course: Course = Course(),
) -> TrainState:
    """Train ``model`` in place for ``config.steps`` steps. The run ``folder`` then holds checkpoints, metrics, samples and model/.

    ``resume`` is "auto" (continue from the newest checkpoint in ``folder``), "never" (remove its checkpoints and start again) or the path of a run or
    a checkpoint. ``settings`` are the caller's options as flat names; a checkpoint made with other settings is refused. ``evaluators`` score the
    averaged model every ``evaluate_every`` steps and at the end. Ctrl-C and SIGTERM finish the step, save, and raise :class:`Stopped`. ``course``
    says how this training continues earlier tasks (:func:`memogen.training.continual.fit_tasks`).
    Raises InputError for options that cannot run or resume here, NonFiniteLoss when a loss becomes infinite or NaN.
    """
    trainable(model)
    config = settled(config, *([] if resume == "never" else [Path(folder if resume == "auto" else resume)]))
    runtime = start(config)
    if course.watch is not None:
        check_undivided(model, "a watch")
    with runtime.numerics(), keeping_gradient_flags(model):
        runtime.place(model)
        if course.teacher is not None:
            runtime.place(course.teacher)
        phases = objective.phases(model, teacher=course.teacher)
        if runtime.compiled:
            phases = tuple(replace(phase, loss=torch.compile(phase.loss, dynamic=False)) for phase in phases)
        turns = phase_optimisers(model, phases, recorded=runtime.cuda_graphs)
        state = TrainState(
            modules={"model": model} if course.teacher is None else {"model": model, "teacher": course.teacher},
            optimisers={turn.phase.name: turn.optimiser for turn in turns},
            averages=start_averages(model, config.ema_decay),
            scaler=runtime.scaler(),
            settings=flat_settings(config, data, phases, settings or {}),
        )
        course.continue_counters(state, turns)
        source = resume_state(state, Path(folder), resume, write=runtime.leads)
        runtime.processes.wait()
        with (
            open_log(Path(folder) if runtime.leads else None, state.step, tensorboard=config.tensorboard) as log,
            Bar(shown=console and runtime.leads) as bar,
            stopping() as stop,
            stop.held(),
        ):
            begun, number = f"resumed from {source}" if source else "started", runtime.processes.world_size
            log.line(f"{begun} at step {state.step} of {config.steps} on {runtime.device}{f', {number} processes' if number > 1 else ''}")
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
        """Take steps until the last one, a request to stop, or a loss that is not finite."""
        state, before, begun = self.state, self.state.seconds, time.monotonic()
        worked, began_to_work = state.processor_seconds, time.process_time()
        images = self.config.batch_size * sum(turn.phase.repeats for turn in self.turns if turn.phase.reads_data)
        bar.stage(self.course.title, self.course.end or self.config.steps, done=state.step, unit="steps", rate=(images, " images"), lines=True)
        self.state.modules["model"].train()
        watch = self.course.watch if self.runtime.leads else None
        if watch is not None and state.step == self.course.begun:
            with torch.no_grad():
                watch(0, self.state.modules["model"])
        try:
            while state.step < self.config.steps:
                self._step()
                elapsed = time.monotonic() - begun
                state.seconds, state.processor_seconds = before + elapsed, worked + time.process_time() - began_to_work
                if watch is not None:
                    with torch.no_grad():
                        watch(state.step - self.course.begun, self.state.modules["model"])
                bar.advance(1)
                self.outputs.after_step()
                if state.step < self.config.steps and self._asked_to_stop():
                    saved = self.outputs.finish()
                    log.line(f"stopped by request after step {state.step}")
                    raise Stopped(state.step, self.config.steps, saved)
        except NonFiniteLoss as error:
            raise self.outputs.explain(error) from None
        self.outputs.finish()

    def _step(self) -> None:
        """One step: each phase updates its parameters ``phase.repeats`` times, each time on a fresh batch; then the averaged weights follow."""
        state, course, stream = self.state, self.course, 0
        first_update = 0 if course.keep_optimisers else course.begun  # the step at which Adam began to count its updates
        seed_step(self.config.seed, state.step, self.runtime)
        for turn in self.turns:
            turn.begin(state.step - course.begun, self.config.steps - course.begun)
            for number in range(turn.phase.repeats):
                turn.count((state.step - first_update) * turn.phase.repeats + number + 1)
                self._update(turn, self._draw(turn, stream))
                stream += 1
        if state.averages is not None:
            state.averages.update(state.step - course.begun)
        state.step += 1

    def _update(self, turn: PhaseOptimiser, batch: Batch) -> None:
        """One update of a phase. The terms of its loss go into the window, which raises NonFiniteLoss for one that is not finite."""
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
        """Loss, backward pass, optimiser step, commit. Returns the terms of the loss, and the numbers that the commit reports.

        With ``watched`` the terms go into the window before the weights move; a recorded CUDA graph cannot do that, as it runs on the device alone.
        When the scaler skips a step, the number "skipped" is 1 and nothing is committed.
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

    def _draw(self, turn: PhaseOptimiser, stream: int) -> Batch:
        """The batch of the next update. A phase that reads no data gets indices alone, and moves no image counter."""
        state, reads = self.state, turn.phase.reads_data
        batch = self.batches.at(state.images_seen, step=state.step, stream=stream, pixels=reads)
        if reads:
            state.images_seen += self.config.batch_size
        if self.runtime.channels_last and batch.image is not None:
            return replace(batch, image=batch.image.contiguous(memory_format=torch.channels_last))
        return batch

    def _asked_to_stop(self) -> bool:
        """Whether to stop after this step. Several processes ask each other every tenth step, as the signal may reach them at different steps."""
        if self.runtime.processes.world_size > 1 and self.state.step % 10:
            return False
        return self.runtime.processes.any(self.stop.made)
