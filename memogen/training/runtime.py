"""Where a training runs: device, precision, seeds and processes. All processes must see the same run folder.

What batch norm does across processes is in docs/decisions/0003-batch-norm-across-processes.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from memogen.processes import Processes, launched_size
from memogen.training.checkpoint import saved_settings, step_of
from memogen.training.config import Precision, TrainingConfig
from memogen.types import InputError

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """The device and the processes of one training, its precision and its memory format, of which none is "auto" any more."""

    device: torch.device
    processes: Processes = field(default_factory=Processes)
    precision: Precision = "float32"
    channels_last: bool = False
    sync_batch_norm: bool = False
    cuda_graphs: bool = False
    compiled: bool = False

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes files."""
        return self.processes.leads

    @property
    def watches_every_step(self) -> bool:
        """Whether it costs nothing to read a number on the host: one process on the CPU."""
        return self.device.type == "cpu" and self.processes.world_size == 1

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which a loss is computed: half precision if asked for."""
        if self.precision not in _AUTOCAST:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_AUTOCAST[self.precision])

    def scaler(self) -> torch.amp.GradScaler | None:
        return torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None

    @contextmanager
    def numerics(self) -> Iterator[None]:
        """The context of a training: float64 as the default type if asked for, and the fastest convolution algorithms on CUDA.

        Matrix products stay in full float32: a vMF memory multiplies cosines by its concentration, for which TF32's ten bits are too few.
        """
        default, benchmark = torch.get_default_dtype(), torch.backends.cudnn.benchmark
        torch.set_default_dtype(torch.float64 if self.precision == "float64" else default)
        torch.backends.cudnn.benchmark = benchmark or self.device.type == "cuda"
        try:
            yield
        finally:
            torch.set_default_dtype(default)
            torch.backends.cudnn.benchmark = benchmark

    def place(self, model: nn.Module) -> None:
        """Move ``model`` in place to the device, type and memory format, and give every process the weights and buffers of rank 0."""
        if self.sync_batch_norm and self.processes.world_size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model.to(self.device, torch.float64 if self.precision == "float64" else None)
        if self.channels_last:
            for parameter in model.parameters():
                if parameter.dim() == 4:
                    # `contiguous` does not change the strides of a single channel; the next layers would then mix formats and be many times slower
                    parameter.data = torch.empty_like(parameter.data, memory_format=torch.channels_last).copy_(parameter.data)
        self.processes.follow(model.state_dict().values())

    def merge_statistics(self, model: nn.Module) -> None:
        """Average the running means and variances of batch norm over the processes."""
        norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        self.processes.average(b for norm in norms for b in norm.buffers() if b.is_floating_point())

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a host tensor over the processes, in place."""
        self.processes.average([values])
        return values


def start(config: TrainingConfig) -> Runtime:
    """The device of ``config``, the processes that the launcher started, and the precision that suits them all. It may be called more than once.

    Raises InputError for a device that is not here, and for options that do not work on it.
    """
    device = check(config)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    processes = Processes.launched(cuda=device.type == "cuda")
    graphs, compiled = (wanted and device.type == "cuda" for wanted in (config.cuda_graphs, config.compile))
    precision = config.precision
    if precision == "auto":
        precision = "float32" if processes.any(not computes_bf16(device)) else "bf16"
    channels_last = device.type == "cpu" if config.channels_last == "auto" else config.channels_last
    return Runtime(device, processes, precision, channels_last, config.sync_batch_norm, graphs, compiled)


def check(config: TrainingConfig) -> torch.device:
    """The device of ``config``. Raises InputError for one that is not here, and for options that do not work on it or on so many processes."""
    device, world_size = choose_device(config.device), launched_size()
    if config.batch_size % world_size:
        raise InputError(f"training.batch_size is {config.batch_size}: {world_size} processes cannot share it: use a multiple of {world_size}")
    if config.sync_batch_norm and device.type != "cuda":
        raise InputError(f"training.sync_batch_norm is true: it works on CUDA alone, and the device is {device.type}: leave it off")
    if config.cuda_graphs and (world_size > 1 or config.precision == "fp16"):
        raise InputError(
            "training.cuda_graphs is true: several processes and fp16's scaler talk to the host in every step: leave it off, or use bf16"
        )
    return device


def computes_bf16(device: torch.device) -> bool:
    """Whether the processor has circuits for products of bfloat16: AMX tiles of a CPU, or a GPU's. Without them bf16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()


def settled(config: TrainingConfig, *begun: Path) -> TrainingConfig:
    """The options with what "auto" stands for: that of the first training found in ``begun``, run folders or checkpoints; else what suits the
    processors. Raises InputError as :func:`start` does.
    """
    undecided = [name for name in ("precision", "channels_last") if getattr(config, name) == "auto"]
    if not undecided:
        return config
    saved = (path for place in begun for path in ([place] if step_of(place) >= 0 else sorted(place.rglob("step-*"))))
    kept = next((found for path in saved if {f"training.{name}" for name in undecided} <= (found := saved_settings(path)).keys()), None)
    suited = start(config) if kept is None else None
    return replace(config, **{name: getattr(suited, name) if kept is None else kept[f"training.{name}"] for name in undecided})


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is CUDA if there is one, else the CPU. Each of several processes takes its own CUDA device.

    MPS is refused: it has no double precision, which noise and slots are drawn in. Raises InputError.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"training.device is {name!r}: no such device: use auto, cpu, cuda or cuda:0") from error
    if device.type == "mps":
        raise InputError(f"training.device is {name!r}: MPS has no double precision, in which noise and slots are drawn: use cpu")
    present = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(device.type, 0)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if (device.index or 0) >= present:
        raise InputError(f"training.device is {name!r}: {present} such devices are here: use cpu, or no more processes than devices")
    return device


def seed(number: int) -> None:
    """Seed torch's generators. Call it before a model is built, so that its initial weights are a function of the seed."""
    torch.manual_seed(number)


def seed_step(number: int, step: int, runtime: Runtime) -> None:
    """Seed torch's generators (dropout and the like) by (seed, step, rank), so that a checkpoint need not save their state."""
    mixed = (number * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + runtime.processes.rank * 0x94D049BB133111EB) % 2**63
    torch.default_generator.manual_seed(mixed)  # a hundred times cheaper than torch.manual_seed
    if runtime.device.type == "cuda":
        torch.cuda.manual_seed(mixed)
