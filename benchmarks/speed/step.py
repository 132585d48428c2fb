"""One training step as training does it, without the data pipeline and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.memory import live_in
from benchmarks.speed.timing import Work
from memogen.recipes import Recipe
from memogen.training import optimise
from memogen.training.runtime import Runtime
from memogen.types import Batch

STEPS = 1 << 40  # of the schedule


def training_step(recipe: Recipe, runtime: Runtime, batch_size: int, *, classes: int = 0) -> Work:
    """One step of a fresh model on random pixels: for each phase loss, backward, optimiser, and the commit that writes the memory.

    ``classes`` above 0: of a model that has learned all but the last of them and keeps the past by its objective's teacher.
    """
    torch.manual_seed(0)
    model, objective = recipe.model.build(), recipe.objective
    if getattr(model, "memory", None) is not None:
        live_in(model.memory)
    runtime.place(model)
    if classes:
        phases = objective.phases(model, teacher=taught(objective, model, runtime, classes))
    else:
        phases = objective.phases(model)
    model.train()
    turns = getattr(optimise, "phase_optimisers" if hasattr(optimise, "phase_optimisers") else "make_turns")(model, phases)  # its former name
    batches = random_batches(recipe, runtime, batch_size, classes)
    numbers = count()

    def step() -> None:
        number = next(numbers)
        for turn in turns:
            turn.begin(number, STEPS)
            for repeat in range(turn.phase.repeats):
                turn.count(number * turn.phase.repeats + repeat + 1)
                with runtime.autocast():
                    loss = turn.phase.loss(next(batches))
                turn.descend(loss.total, runtime, None)
                if turn.phase.commit is not None:
                    with torch.no_grad():
                        turn.phase.commit(loss)

    return step


def taught(objective: Any, model: Any, runtime: Runtime, classes: int) -> Any:
    """The teacher of all classes but the last, which the model is told to learn now."""
    teacher = objective.teacher(model)
    model.begin_task(0, range(classes - 1))
    if teacher is not None:
        runtime.place(teacher)
        objective.teach(teacher, model)
    model.begin_task(1, [classes - 1])
    return teacher


def random_batches(recipe: Recipe, runtime: Runtime, batch_size: int, classes: int = 0) -> Iterator[Batch]:
    """Endless batches that share one tensor of random pixels; the noise is new in each."""
    shape = (batch_size, *recipe.model.image_shape)
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(runtime.device)
    if runtime.channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    index = torch.arange(batch_size, device=runtime.device)
    label = torch.full_like(index, classes - 1) if classes else index % 10 if recipe.recipe.startswith("replay_gan") else None
    for step in count():
        yield Batch(index + step * batch_size, image, label, step=step)


def operations(work: Work) -> int:
    """Floating-point operations of a work's matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


class Operators(TorchDispatchMode):
    """Counts the operators that torch dispatches within."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[str(func)] += 1
        return func(*args, **(kwargs or {}))


def operators(work: Work) -> int:
    """How many operators a work dispatches."""
    with Operators() as mode:
        work()
    return mode.found.total()
