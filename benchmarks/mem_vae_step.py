"""What a training step of a MEM-VAE costs, on random images: beside a VAE of equal width, and by five importance samples beside pythae's IWAE.

All arms train in one process, step by step in turn, so that a busy machine slows all alike. A step of ours is what training does: images drawn
black and white, loss, backward, both clips, Adam. A step of pythae (``pip install pythae``) is what its trainer does, on images that are black and
white already, and always in float32: its trainer knows no half precision on a CPU, and on a GPU its loss refuses it. Beside each of ours stand the
matrix products that it cannot do without.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.memory_step import CLOCKS, Work, append, interleaved
from memogen import __version__
from memogen.models import MemVAEConfig
from memogen.recipes import RECIPES, Recipe
from memogen.training.config import TrainingConfig
from memogen.training.optimise import make_turns
from memogen.training.runtime import Runtime, start
from memogen.types import Batch

AIM = 1.5  # times pythae's rate


@dataclass(frozen=True)
class Setting:
    """How everything is measured."""

    runtime: Runtime
    batch_size: int
    rounds: int
    clock: Callable[[], float]


@dataclass(frozen=True)
class Cost:
    """Median seconds of a step of ``variant``, of the ``other`` and of the matrix products; ``ratio`` is other / own, with its quartiles."""

    recipe: str
    variant: str
    precision: str
    other: str
    own: float
    others: float
    ratio: float
    spread: tuple[float, float]
    floor: float


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and append result rows where ``--out`` names a file."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    for number, precision in enumerate(options.precision):
        runtime = start(TrainingConfig(steps=1, device=options.device, precision=precision))
        setting = Setting(runtime, options.batch_size, options.rounds, CLOCKS[options.clock])
        if number == 0:
            print(
                f"{runtime.device}, {torch.get_num_threads()} threads, batch {options.batch_size}, {options.rounds} rounds, torch {torch.__version__}"
            )
            print(HEADER)
        for cost in costs(options.recipe, options.samples, setting):
            print(line(cost), flush=True)
            if options.out:
                append(options.out, rows(cost, setting, clock=options.clock, samples=options.samples))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.mem_vae_step", description="The cost of a MEM-VAE's step.", allow_abbrev=False)
    options.add_argument("--recipe", choices=sorted(name for name in RECIPES if name.startswith("mem_vae/")), default="mem_vae/mnist")
    options.add_argument("--rounds", type=int, default=50, help="timed steps of each arm (default 50)")
    options.add_argument("--batch-size", type=int, default=100)
    options.add_argument("--samples", type=int, default=5, help="importance samples of the IWAEs (default 5)")
    options.add_argument("--precision", nargs="+", choices=("float32", "bf16"), default=["float32", "bf16"], help="of ours (default both)")
    options.add_argument("--device", default="auto")
    options.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    options.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: this process's own time, for a machine that others use too")
    options.add_argument("--out", type=Path, help="append result rows (JSON lines) to this file")
    return options


def costs(name: str, samples: int, setting: Setting) -> Iterator[Cost]:
    """Memory beside none, then ours beside pythae's where it is installed."""
    memory, plain = RECIPES[name](variant="mem_vae"), RECIPES[name](variant="vae")
    yield measured(memory, "vae", training_step(plain, setting), setting)
    iwae = replace(plain, variant=f"iwae_{samples}", objective=replace(plain.objective, num_samples=samples))
    if iwae.model.output == "gaussian":
        print(f"{name} has Gaussian pixels, which pythae's IWAE has not: it is left out")
    elif find_spec("pythae") is None:
        print("pythae is not installed, so its IWAE is left out: make bench installs it")
    else:
        yield measured(iwae, "pythae", pythae_step(iwae.model, samples, setting), setting)


def measured(recipe: Recipe, other: str, others: Work, setting: Setting) -> Cost:
    """A recipe's step, another's, and the products, in turn."""
    works = [training_step(recipe, setting), others, products(recipe, setting)]
    own, theirs, floor = interleaved(works, setting.runtime.device, setting.rounds, setting.clock, warm_up=5)
    ratios = [b / a for a, b in zip(own, theirs, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    medians = [statistics.median(each) for each in (own, theirs, floor)]
    precision = setting.runtime.precision
    return Cost(recipe.recipe, recipe.variant, precision, other, medians[0], medians[1], quartiles[1], (quartiles[0], quartiles[2]), medians[2])


def training_step(recipe: Recipe, setting: Setting) -> Work:
    """One step of a fresh model, without the data pipeline and the log."""
    torch.manual_seed(0)
    runtime, model = setting.runtime, recipe.model.build()
    runtime.place(model)
    model.train()
    (turn,) = make_turns(model, recipe.objective.phases(model))
    image = pixels(recipe.model, setting)
    index, steps = torch.arange(len(image), device=image.device), iter(range(1 << 40))

    def step() -> None:
        number = next(steps)
        turn.begin(number, 1 << 40)
        turn.count(number + 1)
        with runtime.autocast():
            loss = turn.phase.loss(Batch(index + number * len(image), image, step=number))
        turn.descend(loss.total, runtime, None)

    return step


def pixels(config: MemVAEConfig, setting: Setting) -> Tensor:
    """Random bytes."""
    shape = (setting.batch_size, *config.image_shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(setting.runtime.device)


def pythae_step(config: MemVAEConfig, samples: int, setting: Setting) -> Work:
    """One step of pythae's IWAE with the same layers."""
    from pythae.models import IWAE, IWAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class TheirEncoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.mean, self.log_variance = (stack(below(config)), *(nn.Linear(config.hidden[-1], config.latent_dim) for _ in range(2)))

        def forward(self, x: Tensor) -> ModelOutput:
            h = self.body(x.flatten(1))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))

    class TheirDecoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            *inner, _ = above(config)
            self.body = nn.Sequential(stack(inner), nn.Linear(config.hidden[0], pixels_of(config)), nn.Sigmoid())

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.body(z))

    torch.manual_seed(0)
    options = IWAEConfig(input_dim=config.image_shape, latent_dim=config.latent_dim, number_samples=samples, reconstruction_loss="bce")
    model = IWAE(options, TheirEncoder(), TheirDecoder()).to(setting.runtime.device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    given = {"data": (pixels(config, setting) > 127).float()}

    def step() -> float:
        loss = model(given, epoch=1, dataset_size=len(given["data"]), uses_ddp=False).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss.item())  # its trainer looks at every loss

    return step


def stack(sides: list[tuple[int, int]]) -> nn.Sequential:
    """Linear, batch norm, ReLU, for each (in, out)."""
    return nn.Sequential(*(part for wide, width in sides for part in (nn.Linear(wide, width), nn.BatchNorm1d(width), nn.ReLU())))


def pixels_of(config: MemVAEConfig) -> int:
    return torch.Size(config.image_shape).numel()


def below(config: MemVAEConfig) -> list[tuple[int, int]]:
    """(in, out) of the encoder's hidden layers."""
    return list(zip((pixels_of(config), *config.hidden), config.hidden, strict=False))


def above(config: MemVAEConfig) -> list[tuple[int, int]]:
    """(in, out) of the decoder's layers, from z down to the pixels."""
    widths = (config.latent_dim, *config.hidden[::-1])
    heads = 2 if config.output == "gaussian" else 1
    return [*pairwise(widths), (config.hidden[0], heads * pixels_of(config))]


def products(recipe: Recipe, setting: Setting) -> Work:
    """The floor: for each layer its product, and in the backward pass those with its weights' and, but for the pixels, its input's gradient."""
    config, device = recipe.model, setting.runtime.device
    rows = setting.batch_size * recipe.objective.num_samples
    encoder = [(setting.batch_size, *sides) for sides in (*below(config), (config.hidden[-1], 2 * config.latent_dim))]
    slots = [side for width, num in zip(config.hidden, config.memory.slots, strict=False) for side in ((width, num), (num, width))]
    decoder = [(rows, *sides) for sides in (*above(config), *slots)]
    dtype = torch.bfloat16 if setting.runtime.precision == "bf16" else torch.float32
    sides = [tuple(torch.randn(shape, device=device, dtype=dtype) for shape in ((n, i), (i, o), (n, o))) for n, i, o in (*encoder, *decoder)]

    def work() -> list[Tensor]:
        forward = [x @ weight for x, weight, _ in sides]
        to_weights = [x.T @ gradient for x, _, gradient in sides]
        return [*forward, *to_weights, *(gradient @ weight.T for _, weight, gradient in sides[1:])]

    return work


HEADER = f"{'step of':<26}{'in':>8}{'ms':>8}{'beside':>10}{'ms':>8}{'ratio':>8}{'quartiles':>14}{'products':>10}{'gap':>8}"


def line(cost: Cost) -> str:
    """One row of the printed table: the ratio is the other's time over ours, the gap our time over that of the products."""
    spread = f"{cost.spread[0]:.2f}..{cost.spread[1]:.2f}"
    own = f"{cost.recipe.partition('/')[2]} {cost.variant:<18}"
    told = f"{own:<26}{cost.precision:>8}{cost.own * 1e3:>8.2f}{cost.other:>10}{cost.others * 1e3:>8.2f}{cost.ratio:>8.2f}{spread:>14}"
    aim = f"   (aim: {AIM} times)" if cost.other == "pythae" else ""
    return f"{told}{cost.floor * 1e3:>10.2f}{(cost.own - cost.floor) * 1e3:>8.2f}{aim}"


def rows(cost: Cost, setting: Setting, *, clock: str, samples: int) -> Iterator[Mapping[str, object]]:
    """The result rows of one comparison."""
    protocol = {
        "precision": cost.precision, "batch_size": setting.batch_size, "rounds": setting.rounds, "clock": clock, "threads": torch.get_num_threads(),
        "torch": torch.__version__, "machine": platform.machine(), "ratio_quartiles": cost.spread, "beside": cost.other,
        "importance_samples": samples if cost.variant.startswith("iwae") else 1,
    }  # fmt: skip
    shared = {"recipe": cost.recipe, "seed": 0, "protocol": protocol, "device": str(setting.runtime.device), "version": __version__}
    values = [
        (cost.variant, "step_seconds", cost.own),
        (cost.other, "step_seconds", cost.others),
        (cost.variant, "step_ratio", cost.ratio),
        (cost.variant, "products_seconds", cost.floor),
    ]
    for variant, metric, value in values:
        yield {**shared, "variant": variant, "metric": metric, "value": value, "paper": None, "command": "python -m benchmarks.mem_vae_step"}


if __name__ == "__main__":
    main()
