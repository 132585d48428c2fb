"""The state of a training: modules, optimisers, averaged weights, scaler and counters. Resumed from its checkpoint, it continues to the same bits.

No state of a random generator is saved: noise, data order and dropout are functions of the counters
(docs/decisions/0004-counted-randomness-and-resume.md).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from memogen.memory.shard import whole_state
from memogen.training.checkpoint import checkpoint_path, checkpoints, latest, read_checkpoint, remove, step_of, sweep, write_checkpoint
from memogen.training.config import Settings, check_unchanged
from memogen.training.ema import Averages
from memogen.training.log import Window
from memogen.types import InputError

_FORMAT = 1


@dataclass
class TrainState:
    """``modules`` by name, ``optimisers`` by phase name; ``window`` holds the numbers since the last line of metrics.

    ``seconds`` are wall-clock seconds; ``processor_seconds`` count this process's threads, NaN if an older checkpoint does not have them.
    """

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Adam]
    averages: Averages | None
    scaler: torch.amp.GradScaler | None
    settings: Settings
    step: int = 0
    images_seen: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    window: Window = field(default_factory=Window)

    @property
    def fingerprint(self) -> str:
        """A hash of the settings, by which result rows name a run's configuration."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]

    def counts(self) -> dict[str, object]:
        """What a result row tells about the training: steps, images, seconds, the data's digest, and the trainable parameters of each network."""
        networks = {name: sum(p.numel() for p in part.parameters() if p.requires_grad) for name, part in self.modules["model"].named_children()}
        processor = None if math.isnan(self.processor_seconds) else round(self.processor_seconds, 1)
        counted = {"steps": self.step, "images": self.images_seen, "training_seconds": round(self.seconds, 1), "processor_seconds": processor}
        return {**counted, "data": self.settings.get("data.digest"), "parameters": {name: size for name, size in networks.items() if size}}

    def save(self, folder: Path, keep: int = 2, *, write: bool = True) -> Path:
        """Write checkpoints/step-XXXXXXXX in the run ``folder``, then remove all but the newest ``keep``. Reads device memory.

        With ``write`` False (all processes but the leading one) nothing is written: the process sends its part of a divided memory.
        """
        path = checkpoint_path(folder, self.step)
        files: dict[str, Mapping[str, Tensor]] = {name: whole_state(module) for name, module in self.modules.items()}
        if not write:
            return path
        files["optimisers"] = self._optimiser_tensors()
        files["averages"] = self.averages.values if self.averages else {}
        seconds = {"seconds": self.seconds, "processor_seconds": self.processor_seconds}
        counters = {"step": self.step, "images_seen": self.images_seen, **seconds, "window": self.window.sums}
        scaler = self.scaler.state_dict() if self.scaler else None
        write_checkpoint(path, files, {"format": _FORMAT, **counters, "scaler": scaler, "settings": self.settings})
        remove(checkpoints(folder)[:-keep])
        return path

    def load(self, path: Path) -> None:
        """Load the checkpoint at ``path`` in place. Raises InputError if it is damaged or was made with other settings."""
        try:
            files, saved = read_checkpoint(path)
        except ValueError as error:
            raise InputError(f"{error}: choose another checkpoint") from error
        if saved.get("format") != _FORMAT:
            raise InputError(f"{path}: format {saved.get('format')!r}; this memogen reads format {_FORMAT}: continue with the version that wrote it")
        check_unchanged(saved["settings"], self.settings, path)
        try:
            self._restore(files)
        except (KeyError, RuntimeError) as error:
            raise InputError(f"{path}: does not fit this model ({str(error).splitlines()[0]}): use the model it was made with") from error
        if self.scaler and saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        self.step, self.images_seen, self.seconds = saved["step"], saved["images_seen"], saved["seconds"]
        self.processor_seconds = saved.get("processor_seconds", math.nan)  # unknown in checkpoints of version 0.1
        self.window = Window(saved["window"])

    def _optimiser_tensors(self) -> dict[str, Tensor]:
        """phase/parameter/exp_avg and so on, for every parameter that has been moved."""
        names = self._parameter_names()
        return {
            f"{phase}/{names[parameter]}/{key}": value
            for phase, optimiser in self.optimisers.items()
            for parameter, moments in optimiser.state.items()
            for key, value in moments.items()
        }

    @torch.no_grad()
    def _restore(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name, module in self.modules.items():
            module.load_state_dict(files[name])
        for name, value in (self.averages.values if self.averages else {}).items():
            value.copy_(files["averages"][name])
        parameters = {name: parameter for parameter, name in self._parameter_names().items()}
        for optimiser in self.optimisers.values():
            optimiser.state.clear()
        for address, value in files["optimisers"].items():
            phase, name, key = address.split("/")
            optimiser, parameter = self.optimisers[phase], parameters[name]
            optimiser.state[parameter][key] = _like(parameter, value, fused=bool(optimiser.defaults["fused"]))

    def _parameter_names(self) -> dict[Tensor, str]:
        return {p: f"{module}.{name}" for module, part in self.modules.items() for name, p in part.named_parameters()}


def resume_state(state: TrainState, folder: Path, resume: str | Path, *, write: bool = True) -> Path | None:
    """Load a checkpoint into ``state`` and return its path; None for a fresh start.

    ``resume`` "auto" takes the newest whole checkpoint of the run ``folder``, if there is one; "never" takes none; a path names a run or checkpoint.
    Checkpoints of ``folder`` after the loaded step are removed, all of them for "never"; with ``write`` False (all processes but the leading one)
    nothing is removed.
    """
    source = resume_source(folder, resume)
    if source is not None:
        state.load(source)
    if write:
        sweep(folder)
        remove([path for path in checkpoints(folder) if source is None or step_of(path) > state.step])
    return source


def resume_source(folder: Path, resume: str | Path) -> Path | None:
    """The checkpoint that a training in ``folder`` continues; None for a fresh start. Raises InputError for one that cannot be continued there."""
    if resume == "never":
        return None
    chosen = folder if resume == "auto" else Path(resume)
    source = chosen if step_of(chosen) >= 0 else latest(chosen)
    if source is None and (resume != "auto" or checkpoints(chosen)):
        raise InputError(f"{chosen}: holds no complete checkpoint to resume from: name another one, or start in another folder")
    if source is not None and source.resolve().parent != (folder / "checkpoints").resolve() and checkpoints(folder):
        raise InputError(f"{folder}: already holds another run, so {source} cannot be continued in it: use resume='auto', or another folder")
    return source


def _like(parameter: Tensor, value: Tensor, *, fused: bool) -> Tensor:
    """``value`` as Adam stores it: moments on the parameter's device in its memory format, the step count on the host unless Adam is fused."""
    if value.shape != parameter.shape or value.dim() == 0:
        return value.to(parameter.device) if fused else value.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
