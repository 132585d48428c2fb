"""What a memory costs: a training step with it against that of a plain GAN of equal size, in float32, on random images.

Both arms train networks with as many parameters in one process, step by step in turn (A B A B ...), so that a busy machine slows both alike.
A step is what training does: for each phase the loss, backward, the optimiser, and the commit that writes the memory. Beside it stand the time
of the memory's own work (reading with its gradient, writing, drawing) and the floor under that, the matrix products it cannot do without.

The paper reports 135 s against 124 s for an epoch of CIFAR-10, a ratio of 1.089 (Kim et al. 2018, section 4.2).
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from memogen.memory import VMFMemory
from memogen.memory.functional import unit
from memogen.metrics.rows import made
from memogen.models import MemoryGAN
from memogen.recipes import RECIPES, Recipe
from memogen.training.config import TrainingConfig
from memogen.training.optimise import make_turns
from memogen.training.runtime import Runtime, start
from memogen.types import Batch

PAPER_RATIO = {"memory_gan/cifar10": 135 / 124}
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
Work = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """Medians in seconds, and the spread of the ratio over rounds (first and third quartile)."""

    recipe: str
    with_memory: float
    without: float
    ratio: float
    spread: tuple[float, float]
    memory: float
    floor: float

    @property
    def gap(self) -> float:
        """The memory's own work above the floor."""
        return self.memory - self.floor


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, and append result rows where ``--out`` names a file."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    runtime = start(TrainingConfig(steps=1, device=options.device, channels_last=options.channels_last))
    print(f"{runtime.device}, {torch.get_num_threads()} threads, batch {options.batch_size}, {options.rounds} rounds, torch {torch.__version__}")
    print(HEADER)
    for name in options.recipes:
        cost = measure(RECIPES[name](), runtime, batch_size=options.batch_size, rounds=options.rounds, clock=CLOCKS[options.clock])
        print(line(cost), flush=True)
        if options.out:
            append(options.out, rows(cost, runtime, batch_size=options.batch_size, rounds=options.rounds, clock=options.clock))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="The cost of the memory in a training step.", allow_abbrev=False)
    options.add_argument("--recipes", nargs="+", choices=sorted(RECIPES), default=["memory_gan/fashion_mnist", "memory_gan/cifar10"])
    options.add_argument("--rounds", type=int, default=15, help="timed steps of each arm (default 15)")
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--device", default="auto")
    options.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    options.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: this process's own time, for a machine that others use too")
    options.add_argument("--channels-last", action="store_true")
    options.add_argument("--out", type=Path, help="append result rows (JSON lines) to this file")
    return options


def measure(recipe: Recipe, runtime: Runtime, *, batch_size: int, rounds: int, clock: Callable[[], float]) -> Cost:
    """Time a recipe with its memory and the plain GAN of its size."""
    arms = [training_step(arm, runtime, batch_size) for arm in (recipe, RECIPES[recipe.recipe](variant="no_memory"))]
    seconds = interleaved(arms, runtime.device, rounds, clock)
    ratios = sorted(a / b for a, b in zip(*seconds, strict=True))
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    memory = lived_in(recipe, runtime)
    parts = interleaved([memory_work(memory, batch_size), products(memory, batch_size)], runtime.device, rounds, clock)
    medians = [statistics.median(each) for each in (*seconds, *parts)]
    return Cost(recipe.recipe, medians[0], medians[1], statistics.median(ratios), (quartiles[0], quartiles[2]), medians[2], medians[3])


def interleaved(
    works: list[Work], device: torch.device, rounds: int, clock: Callable[[], float] = time.perf_counter, warm_up: int = 2
) -> list[list[float]]:
    """Seconds of each work in each round, the works taking turns; ``warm_up`` rounds are not counted."""
    seconds: list[list[float]] = [[] for _ in works]
    for turn in range(warm_up + rounds):
        for work, record in zip(works, seconds, strict=True):
            wait(device)
            begun = clock()
            work()
            wait(device)
            if turn >= warm_up:
                record.append(clock() - begun)
    return seconds


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def training_step(recipe: Recipe, runtime: Runtime, batch_size: int) -> Work:
    """One training step of a fresh model on random images, without the data pipeline and the log."""
    torch.manual_seed(0)
    model = recipe.model.build()
    if model.memory is not None:
        live_in(model.memory)
    runtime.place(model)
    model.train()
    turns, batches = make_turns(model, recipe.objective.phases(model)), random_batches(model, runtime, batch_size)

    def step() -> None:
        for turn in turns:
            turn.begin(0, 1)
            loss = turn.phase.loss(next(batches))
            turn.descend(loss.total, runtime, None)
            if turn.phase.commit is not None:
                turn.phase.commit(loss)

    return step


def random_batches(model: MemoryGAN, runtime: Runtime, batch_size: int) -> Iterator[Batch]:
    """Endless batches that share one tensor of random pixels; the noise is new in each."""
    image = torch.randint(0, 256, (batch_size, *model.config.image_shape), dtype=torch.uint8).to(runtime.device)
    if runtime.channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    index = torch.arange(batch_size, device=runtime.device)
    step = 0
    while True:
        yield Batch(index + step * batch_size, image, step=step)
        step += 1


def lived_in(recipe: Recipe, runtime: Runtime) -> VMFMemory:
    """A recipe's memory by itself, in use."""
    assert recipe.model.memory is not None, "the recipe has a memory"
    memory = recipe.model.memory.build()
    live_in(memory)
    return memory.to(runtime.device)


@torch.no_grad()
def live_in(memory: VMFMemory) -> None:
    """Every slot written, all with the same mass: the state of a memory after its first epoch, near enough for its cost."""
    memory.keys.copy_(unit(torch.randn(memory.keys.shape)))
    memory.mass.fill_(1.0)
    memory.age.copy_(torch.arange(memory.num_slots))


def memory_work(memory: VMFMemory, batch_size: int) -> Work:
    """What one step asks of the memory: two draws, the critic's read, gradient and write, the generator's read and gradient."""
    both = torch.randn(2 * batch_size, memory.key_dim, device=memory.keys.device, requires_grad=True)
    value = (torch.arange(2 * batch_size, device=memory.keys.device) < batch_size).float()

    def work() -> None:
        for _ in range(2):
            memory.draw(batch_size)
        read = memory(both)
        torch.autograd.grad(read.logit.sum(), both)
        memory.write(both, value, read)
        fake = both[:batch_size]
        torch.autograd.grad(memory(fake).logit.sum(), fake)

    return work


def products(memory: VMFMemory, batch_size: int) -> Work:
    """The floor: queries by keys and back for both phases, and the write's responsibilities by queries."""
    keys = memory.keys
    queries = [torch.randn(num, memory.key_dim, device=keys.device) for num in (2 * batch_size, batch_size)]
    scores = [torch.randn(len(query), len(keys), device=keys.device) for query in queries]

    def work() -> list[Tensor]:
        read = [query @ keys.T for query in queries]
        gradient = [score @ keys for score in scores]
        return [*read, *gradient, scores[0].T @ queries[0]]

    return work


HEADER = f"{'recipe':<26}{'with':>10}{'without':>10}{'ratio':>8}{'quartiles':>16}{'paper':>8}{'memory':>10}{'floor':>10}{'gap':>10}   (ms)"


def line(cost: Cost) -> str:
    """One row of the printed table."""
    paper = PAPER_RATIO.get(cost.recipe)
    spread = f"{cost.spread[0]:.3f}..{cost.spread[1]:.3f}"
    steps = f"{cost.with_memory * 1e3:>10.1f}{cost.without * 1e3:>10.1f}{cost.ratio:>8.3f}{spread:>16}{f'{paper:.3f}' if paper else '-':>8}"
    return f"{cost.recipe:<26}{steps}{cost.memory * 1e3:>10.1f}{cost.floor * 1e3:>10.1f}{cost.gap * 1e3:>10.1f}"


def rows(cost: Cost, runtime: Runtime, *, batch_size: int, rounds: int, clock: str) -> Iterator[Mapping[str, object]]:
    """The result rows of one recipe."""
    protocol = {
        "precision": "float32",
        "batch_size": batch_size,
        "rounds": rounds,
        "clock": clock,
        "threads": torch.get_num_threads(),
        "channels_last": runtime.channels_last,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "ratio_quartiles": cost.spread,
    }
    shared = {"recipe": cost.recipe, "seed": 0, "protocol": protocol, **made(runtime.device)}
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    values = [
        ("memory_gan", "step_seconds", cost.with_memory),
        ("no_memory", "step_seconds", cost.without),
        ("memory_gan", "step_ratio", cost.ratio),
        ("memory_gan", "memory_seconds", cost.memory),
        ("memory_gan", "memory_floor_seconds", cost.floor),
    ]
    for variant, metric, value in values:
        paper = PAPER_RATIO.get(cost.recipe) if metric == "step_ratio" else None
        yield {**shared, "variant": variant, "metric": metric, "value": value, "paper": paper, "command": command}


def append(path: Path, lines: Iterator[Mapping[str, object]]) -> None:
    """Rows as JSON lines at the end of ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in lines)


if __name__ == "__main__":
    main()
