"""What a training writes while it runs and when it ends: lines of metrics, sample grids, scores, checkpoints, the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from memogen.training.checkpoint import checkpoint_path, latest
from memogen.training.config import TrainingConfig
from memogen.training.ema import AveragedModel, DividedModel, averaged_model, trainable
from memogen.training.grid import grid
from memogen.training.log import NonFiniteLoss, RunLog
from memogen.training.runtime import Runtime
from memogen.training.state import TrainState
from memogen.types import Evaluator, ImageData, ReplayingTeacher, to_uint8

_SHOWN = 64  # images in a sample grid


@dataclass
class Outputs:
    """Writes on the leading process; the others join where all are needed.

    ``saved`` and ``scored`` are the steps of the last checkpoint and of the last scores, -1 for none.
    """

    state: TrainState
    config: TrainingConfig
    runtime: Runtime
    folder: Path
    data: ImageData
    log: RunLog
    evaluators: Mapping[str, Evaluator]
    evaluate_every: int = 0
    saved: int = -1
    scored: int = -1

    def after_step(self) -> None:
        """Write what is due after a step. The checkpoint comes last: a run that is killed before it writes the rest again."""
        config, step = self.config, self.state.step
        if _due(step, config.log_every) or step == config.steps:
            self._write_metrics()
        sampling, scoring = _due(step, config.sample_every), bool(self.evaluators) and _due(step, self.evaluate_every)
        if sampling or scoring:
            averaged = self._averaged()
            if sampling and self.runtime.leads:
                self._write_samples(averaged)
            if scoring:
                self._score(averaged)
        if _due(step, config.checkpoint_every):
            self.save()

    def save(self) -> Path:
        """Write the checkpoint of this step, and return its path. Raises NonFiniteLoss for weights that are not finite; nothing is written then."""
        state, path = self.state, checkpoint_path(self.folder, self.state.step)
        if self.saved == state.step:
            return path
        state.window.look(self.runtime.mean)
        self.runtime.merge_statistics(self._model)
        self._check_weights()
        state.save(self.folder, self.config.keep, write=self.runtime.leads)
        self.log.line(f"saved {path.name}")
        self.runtime.processes.wait()
        self.saved = state.step
        return path

    def finish(self) -> Path:
        """Write the checkpoint, model/ for ``from_pretrained``, and after the last step the scores; return the checkpoint's path.

        Without averaged weights the model itself gets the calibrated statistics too, so that it draws what model/ draws.
        """
        from memogen.pretrained import save_pretrained

        path = self.save()
        averaged, live = self._averaged(), self._live()
        if self.state.averages is None:
            self._model.load_state_dict(_module(averaged).state_dict())
        if self.evaluators and self.evaluate_every and self.state.step == self.config.steps and self.scored != self.state.step:
            self._score(averaged)
        if self.runtime.leads:
            save_pretrained(_module(averaged), self.folder / "model", live=live)
            self.log.line(f"wrote model/ at step {self.state.step}")
        self.runtime.processes.wait()
        return path

    def explain(self, error: NonFiniteLoss) -> NonFiniteLoss:
        """The error with the last good checkpoint in its message, which also goes to train.log."""
        good = latest(self.folder)
        kept = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        explained = NonFiniteLoss(error.step, error.term, f"; {kept}; try a lower learning rate, clip_norm, or another precision")
        self.log.line(str(explained))
        return explained

    @property
    def _model(self) -> nn.Module:
        return self.state.modules["model"]

    @property
    def _learned(self) -> ImageData:
        """The images that the model learns from, a teacher's replays included."""
        teacher = self.state.modules.get("teacher")
        return teacher.among(self.data) if isinstance(teacher, ReplayingTeacher) else self.data

    def _averaged(self) -> AveragedModel:
        """The averaged model, whole on the leading process. All processes make it: to calibrate a synchronised batch norm takes all of them."""
        self.runtime.merge_statistics(self._model)
        self._model.zero_grad(set_to_none=True)
        averaged = averaged_model(self._model, self.state.averages, self._learned)
        if isinstance(averaged, DividedModel):
            averaged.unite()
        return averaged

    def _write_metrics(self) -> None:
        state = self.state
        state.window.look(self.runtime.mean)
        self.log.metrics(state.step, state.images_seen, state.seconds, state.window.close())

    def _write_samples(self, model: AveragedModel) -> None:
        samples = self.folder / "samples"
        samples.mkdir(exist_ok=True)
        with torch.no_grad():
            images = to_uint8(model.sample(_SHOWN), model.image_range)
        grid(images).save(samples / f"step-{self.state.step:08d}.png")

    def _score(self, model: AveragedModel) -> None:
        """Run the evaluators on the leading process while the others wait."""
        if self.runtime.leads:
            scores = {
                f"eval/{name}/{metric}": value
                for name, evaluator in self.evaluators.items()
                for metric, value in evaluator(_module(model), self.data, seed=self.config.seed).items()
            }
            self.log.metrics(self.state.step, self.state.images_seen, self.state.seconds, scores)
        self.scored = self.state.step
        self.runtime.processes.wait()

    def _check_weights(self) -> None:
        """Raise NonFiniteLoss if a parameter is not finite. The norms of all parameters are read at once."""
        parameters = dict(self._model.named_parameters())
        norms = torch.stack([norm.cpu().double() for norm in torch._foreach_norm(list(parameters.values()), torch.inf)])
        for name, finite in zip(parameters, norms.isfinite().tolist(), strict=True):
            if not finite:
                raise NonFiniteLoss(self.state.step, f"parameter {name}")

    def _live(self) -> dict[str, torch.Tensor] | None:
        """The tensors of the averaged parts before averaging, with batch statistics of their own; None without averages. All processes make them."""
        if self.state.averages is None:
            return None
        prefixes = tuple(f"{part}." for part in trainable(self._model).averaged_parts)
        calibrated = _module(averaged_model(self._model, None, self._learned)).state_dict()
        return {name: tensor for name, tensor in calibrated.items() if name.startswith(prefixes)}


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _module(model: AveragedModel) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"{type(model).__name__} is not an nn.Module")
    return model
