"""The optimiser of one phase: the parameters it moves, the schedule of its rate, gradient clipping and the step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memogen.training.runtime import Runtime
from memogen.types import OptimiserConfig, Phase


@dataclass(frozen=True)
class PhaseOptimiser:
    """A phase with its optimiser. ``moved`` are the phase's parameters, ``still`` all other parameters of the model."""

    phase: Phase
    optimiser: Adam
    moved: tuple[nn.Parameter, ...]
    still: tuple[nn.Parameter, ...]

    def begin(self, step: int, steps: int) -> None:
        """Turn gradients on for the phase's parameters alone, and set the learning rate of this step."""
        for parameter in self.still:
            parameter.requires_grad_(False)
        for parameter in self.moved:
            parameter.requires_grad_(True)
        if self.phase.optimiser.schedule != "constant":
            self.optimiser.rate = learning_rate(self.phase.optimiser, step, steps)

    def count(self, update: int) -> None:
        """Correct update number ``update``, counted from 1, for moments that began at zero, where eps is added to the root before its correction.

        torch divides the root of the second moment by sqrt(1 - b2^t) and then adds eps; "uncorrected" adds eps to the root itself.
        """
        config = self.phase.optimiser
        if config.eps_form == "uncorrected":
            self.optimiser.correct(1 - config.betas[0] ** update, math.sqrt(1 - config.betas[1] ** update))

    def descend(self, total: Tensor, runtime: Runtime, scaler: torch.amp.GradScaler | None) -> bool:
        """Backward pass, mean of the gradients over the processes, clipping, step. False if the scaler skipped the step after an overflow."""
        for parameter in self.moved:
            parameter.grad = None
        with runtime.processes.merging(self.moved):
            (total if scaler is None else scaler.scale(total)).backward()
        if self.phase.optimiser.clip_norm > 0 or self.phase.optimiser.clip_value > 0:
            if scaler is not None:
                scaler.unscale_(self.optimiser)
            clip_gradients(self.moved, self.phase.optimiser)
        if scaler is None:
            self.optimiser.step()
            return True
        before = scaler.get_scale()
        scaler.step(self.optimiser)
        scaler.update()
        return scaler.get_scale() >= before


def learning_rate(config: OptimiserConfig, step: int, steps: int) -> float:
    """The rate of 0-based ``step`` of ``steps``; "linear" would reach zero just after the last."""
    if config.schedule == "linear":
        return config.learning_rate * (1 - step / steps)
    if config.schedule == "decay":
        stage = step * config.decay.stages // steps + 1
        return config.learning_rate * config.decay.factor ** max(0, stage - config.decay.hold)
    return config.learning_rate


def clip_gradients(parameters: tuple[nn.Parameter, ...], config: OptimiserConfig) -> None:
    """Scale the gradients to a joint norm of ``clip_norm`` at most, then clip every element to [-``clip_value``, ``clip_value``]."""
    if config.clip_norm > 0:
        nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    if config.clip_value > 0:
        nn.utils.clip_grad_value_(parameters, config.clip_value)


def phase_optimisers(model: nn.Module, phases: tuple[Phase, ...], *, recorded: bool = False) -> tuple[PhaseOptimiser, ...]:
    """An Adam for each phase. With ``recorded`` (CUDA graphs) the learning rate is a tensor on the device. Frozen parameters stay frozen.

    Raises ValueError for phases that share a name, read no data or move parameters outside the model.
    """
    if not any(phase.reads_data for phase in phases):
        raise ValueError("no phase of this objective reads data, so images_seen would never grow and every step would have the same noise")
    if len({phase.name for phase in phases}) < len(phases):
        raise ValueError(f"phases share a name: {', '.join(phase.name for phase in phases)}")
    own = [p for p in model.parameters() if p.requires_grad]
    return tuple(_phase_optimiser(phase, own, recorded) for phase in phases)


@contextmanager
def keeping_gradient_flags(model: nn.Module) -> Iterator[None]:
    """Restore afterwards which parameters require gradients, and drop the gradients."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag).grad = None


def _phase_optimiser(phase: Phase, own: list[nn.Parameter], recorded: bool) -> PhaseOptimiser:
    wanted = {id(p) for module in phase.modules for p in module.parameters() if p.requires_grad}
    moved = tuple(p for p in own if id(p) in wanted)
    if not moved or len(moved) < len(wanted):
        raise ValueError(f"phase {phase.name}: its modules must be parts of the model (else they would not be saved) with parameters that may move")
    still = tuple(p for p in own if id(p) not in wanted)
    return PhaseOptimiser(phase, _adam(phase.optimiser, moved, recorded), moved, still)


class Adam(torch.optim.Adam):
    """torch's Adam without the decorators that import torch's compiler, which takes longer than a hundred small steps."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        inspect.unwrap(torch.optim.Adam.add_param_group)(self, param_group)

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(self.param_groups[0]["lr"])

    @rate.setter
    def rate(self, rate: float) -> None:
        group = self.param_groups[0]
        if isinstance(group["lr"], Tensor):  # a recorded CUDA graph reads the rate from this tensor
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate

    def correct(self, first: float, root: float) -> None:
        """Choose eps such that adding it to the root of the second moment over ``root`` is adding the configured eps to the root itself."""
        self.param_groups[0]["eps"] = self.defaults["eps"] / root

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's has overloads
        found: float | None = inspect.unwrap(torch.optim.Adam.step)(self, closure)
        return found


class _RecordedAdam(Adam):
    """Adam with eps added to the root of the uncorrected second moment, for CUDA graphs, whose eps cannot change: both corrections go into the rate,
    rate * sqrt(1 - b2^t) / (1 - b1^t) (Kingma and Ba 2015, the end of section 2).
    """

    def __init__(self, parameters: tuple[nn.Parameter, ...], **options: Any) -> None:
        super().__init__(parameters, **options)
        self._rate = super().rate
        self._late = torch.full((), 1e9, device=parameters[0].device)  # a step at which torch's own corrections are 1

    @property
    def rate(self) -> float:
        """The learning rate, without the corrections."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate

    def correct(self, first: float, root: float) -> None:
        self.param_groups[0]["lr"].fill_(self._rate * root / first)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        group, (b1, b2) = self.param_groups[0], self.param_groups[0]["betas"]
        moved, gradients, means, squares, counted = (list[Tensor]() for _ in range(5))
        self._init_group(group, moved, gradients, means, squares, [], counted)  # type: ignore[no-untyped-call]
        torch._foreach_add_(counted, 1)
        late = [self._late] * len(moved)
        options = {"beta1": b1, "beta2": b2, "weight_decay": group["weight_decay"], "eps": group["eps"], "amsgrad": False, "maximize": False}
        torch._fused_adam_(moved, gradients, means, squares, [], late, lr=group["lr"], **options)
        return None


def _adam(config: OptimiserConfig, parameters: tuple[nn.Parameter, ...], recorded: bool) -> Adam:
    device = parameters[0].device
    rate = torch.tensor(config.learning_rate, dtype=torch.float32, device=device) if recorded else config.learning_rate
    fused = device.type in ("cpu", "cuda") or None
    kind = _RecordedAdam if recorded and config.eps_form == "uncorrected" else Adam
    return kind(parameters, lr=rate, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=fused, capturable=recorded)
