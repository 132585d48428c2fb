"""Updates recorded as CUDA graphs. On a large GPU a small network waits for the host, which launches hundreds of kernels a step one by one; a
recorded update is launched as a whole.

A recording repeats kernels, not Python: everything that changes from step to step (the batch, the learning rate) must lie in tensors on the
device. An update that reads a number from the device cannot be recorded, and is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from memogen.training.log import alike
from memogen.types import Batch, InputError

WARM_UP = 3  # updates before the recording, in which Adam makes its moments and the libraries choose their algorithms

Scalars = dict[str, Tensor]
Turning = Callable[[Batch], tuple[Scalars, Scalars]]
"""One update on a batch: loss, backward pass, optimiser, commit. Returns the terms of the loss, and the numbers that the commit reports."""


@dataclass(frozen=True)
class _Recording:
    """The kernels read ``batch`` and write the scalars ``row``, called ``names``; the first ``num_terms`` are terms of the loss."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    names: tuple[str, ...]
    num_terms: int
    row: Tensor

    def __call__(self, batch: Batch) -> tuple[Scalars, Scalars]:
        for own, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            own.copy_(new)
        self.graph.replay()
        values = list(zip(self.names, self.row.clone().unbind(), strict=True))
        return dict(values[: self.num_terms]), dict(values[self.num_terms :])


@dataclass
class Graphs:
    """The recordings of a training. Each phase and repeat has its own, as the stream number that addresses its noise is a constant in the graph."""

    taken: Counter[tuple[str, int]] = field(default_factory=Counter)
    recordings: dict[tuple[str, int], _Recording] = field(default_factory=dict)

    def __call__(self, phase: str, batch: Batch, turn: Turning) -> tuple[Scalars, Scalars]:
        """Make the update on this batch. Raises InputError if it cannot be recorded."""
        key = phase, batch.stream
        if key not in self.recordings:
            self.taken[key] += 1
            if self.taken[key] <= WARM_UP:
                return _aside(batch, turn)
            self.recordings[key] = _record(phase, batch, turn)
        return self.recordings[key](batch)


def _aside(batch: Batch, turn: Turning) -> tuple[Scalars, Scalars]:
    """The update on a CUDA stream beside the main one, as the warm-up requires."""
    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        made = turn(batch)
    main.wait_stream(side)
    return made


def _record(phase: str, batch: Batch, turn: Turning) -> _Recording:
    """Record the update's kernels. None of them runs yet."""
    own = replace(batch, index=batch.index.clone(), image=_clone(batch.image), label=_clone(batch.label))
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            terms, metrics = turn(own)
            row = torch.stack(alike([*terms.values(), *metrics.values()]))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"training.cuda_graphs: phase {phase} cannot be recorded ({reason}): leave it off") from error
    return _Recording(graph, own, (*terms, *metrics), len(terms), row)


def _tensors(batch: Batch) -> list[Tensor]:
    """The parts of a batch that lie on the device."""
    return [tensor for tensor in (batch.index, batch.image, batch.label) if tensor is not None]


def _clone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
