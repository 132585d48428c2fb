"""How works are measured beside each other: in turn, round by round, so that a busy machine slows all alike."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from memogen.recipes import Recipe
from memogen.training.config import TrainingConfig
from memogen.training.runtime import Runtime, start

Work = Callable[[], object]
SECONDS = "s"
LONG = 5.0  # seconds of a round: its first one is no warm-up, but counts
BUDGET = 30.0  # seconds of a case, once it has three rounds
MOST_ROUNDS, FEWEST_ROUNDS = 15, 3
SIDE, GPU_SIDE = 1024, 8192  # of the square matrices whose product tells the machine's rate
MOST_PRODUCTS = 20  # of them in a round


def processor_seconds() -> float:
    """Processor time of this process and of its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": processor_seconds}


@dataclass(frozen=True)
class Setting:
    """How everything is measured. ``rounds`` 0: as many as fit into half a minute, 3 to 15. ``quick``: tiny sizes, which only show that all runs."""

    device: str = "auto"
    threads: int = 0
    clock: str = "wall"
    rounds: int = 0
    precision: str = "float32"
    channels_last: bool = False
    quick: bool = False

    def runtime(self, recipe: Recipe | None = None) -> Runtime:
        """The device and precision of this setting's trainings. The memory format is the recipe's, or with ``channels_last`` that one."""
        channels_last = self.channels_last or (recipe is not None and recipe.training.channels_last)
        return start(TrainingConfig(steps=1, device=self.device, precision=self.precision, channels_last=channels_last))  # type: ignore[arg-type]

    def size(self, full: int, quick: int) -> int:
        """A size: the ``full`` one, or with ``quick`` the small one."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Aim:
    """``most`` times the "floor", times what stands "beside" it, times what it was "before", or in the unit itself ("value")."""

    most: float
    of: str

    def met(self, line: Line) -> bool | None:
        """Whether the line meets the aim; None if the line lacks the number to compare with."""
        found = {"value": line.value, "beside": line.ratio, "floor": line.floor_ratio, "before": line.change}[self.of]
        return None if found is None else found <= self.most

    def told(self, line: Line) -> str:
        """The aim in words."""
        if self.of == "value":
            return f"at most {shown(self.most, line.title.unit)}"
        other = line.title.beside if self.of == "beside" else self.of
        return f"ahead of {other}" if self.most == 1 else f"at most {self.most:.4g} x {other}"


@dataclass(frozen=True)
class Title:
    """What a case is called, in which ``unit`` it is measured ("s" is timed), what stands ``beside`` it, and what is aimed at."""

    what: str
    unit: str = SECONDS
    beside: str = ""
    aims: tuple[Aim, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Prepared:
    """A work with an input that ``before`` makes anew each time, outside the measurement."""

    before: Callable[[], Any]
    work: Callable[[Any], object]


@dataclass(frozen=True)
class Floor:
    """The least work that must be done: ``scale`` times the given work."""

    work: Work | Prepared
    scale: float = 1.0


@dataclass(frozen=True)
class Case:
    """What makes one line of the table. If its unit is not seconds, the works return the number."""

    title: Title
    ours: Work | Prepared
    beside: Work | Prepared | None = None
    floor: Floor | None = None


Round = tuple[float, float | None, float | None]
"""Ours, what stands beside it, the floor."""


@dataclass(frozen=True)
class Line:
    """What was measured: medians, and the ratio as the median of the rounds' own ratios, with the first and third quartile of these.

    ``before`` is the median of another checkout, ``change`` the ratio of both medians; ``missing`` says why there is no number.
    """

    title: Title
    value: float = float("nan")
    rounds: int = 0
    beside: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    floor: float | None = None
    floor_ratio: float | None = None
    before: float | None = None
    change: float | None = None
    change_quartiles: tuple[float, float] | None = None
    missing: str = ""
    judged: tuple[bool | None, ...] = field(default=(), compare=False)


def one_round(case: Case, setting: Setting, device: torch.device) -> Round:
    """Each work of a case once."""
    timed = case.title.unit == SECONDS

    def taken(work: Work | Prepared) -> float:
        given = work.before() if isinstance(work, Prepared) else None
        clock = CLOCKS[setting.clock]
        wait(device)
        begun = clock()
        found = work.work(given) if isinstance(work, Prepared) else work()
        wait(device)
        return clock() - begun if timed else float(found)  # type: ignore[arg-type]

    ours = taken(case.ours)
    beside = None if case.beside is None else taken(case.beside)
    return ours, beside, None if case.floor is None else taken(case.floor.work) * case.floor.scale


def rounds_of(take: Callable[[], Any], setting: Setting) -> list[Any]:
    """The results of ``take`` in the rounds that count; a short first round is a warm-up and does not."""
    begun = time.perf_counter()
    first = take()
    lasted = time.perf_counter() - begun
    found = [first] if lasted > LONG or setting.quick else []
    most = setting.rounds or (1 if setting.quick else MOST_ROUNDS)
    fewest = setting.rounds or (1 if setting.quick else FEWEST_ROUNDS)
    while len(found) < most and (len(found) < fewest or time.perf_counter() - begun < BUDGET):
        found.append(take())
    return found


def measured(case: Case, setting: Setting, device: torch.device) -> Line:
    """A case's line. A number that is counted, not timed, is the same in every round and taken once."""
    take = lambda: one_round(case, setting, device)  # noqa: E731
    return judged(line_of(case.title, rounds_of(take, setting) if case.title.unit == SECONDS else [take()]), setting)


def line_of(title: Title, rounds: Sequence[Round]) -> Line:
    """Medians and ratios over rounds."""
    ours, beside, floor = ([one for one in column if one is not None] for column in zip(*rounds, strict=True))
    line = Line(title, statistics.median(ours), len(ours))
    if beside:
        ratios = [a / b for a, b in zip(ours, beside, strict=True)]
        line = replace(line, beside=statistics.median(beside), ratio=statistics.median(ratios), quartiles=quartiles(ratios))
    if floor:
        ratios = [a / b for a, b in zip(ours, floor, strict=True)]
        line = replace(line, floor=statistics.median(floor), floor_ratio=statistics.median(ratios))
    return line


def judged(line: Line, setting: Setting) -> Line:
    """The line with its aims judged, unless the sizes are the tiny ones of ``quick``."""
    return replace(line, judged=tuple(None if setting.quick else aim.met(line) for aim in line.title.aims))


def quartiles(numbers: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile."""
    if len(numbers) < 2:
        return numbers[0], numbers[0]
    first, _, third = statistics.quantiles(numbers, n=4, method="inclusive")
    return first, third


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def products_of(operations: float, setting: Setting, device: torch.device) -> Floor:
    """The time of so many floating-point operations at the rate of large matrix products, measured anew in each round."""
    side = setting.size(GPU_SIDE if device.type == "cuda" else SIDE, 64)
    dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    products = operations / (2 * side**3)
    taken = min(MOST_PRODUCTS, max(1, int(products / 20)))

    def work() -> None:
        for _ in range(taken):
            a @ b

    return Floor(work, products / taken)


def shown(number: float, unit: str) -> str:
    """A number with its unit, at most nine characters wide."""
    if unit == SECONDS:
        return f"{number:.2f} s" if number >= 9.995 else f"{number:.3f} s" if number >= 0.9995 else f"{number * 1e3:.1f} ms"
    if unit == "MiB":
        return f"{number:,.1f} MiB" if number < 100 else f"{number:,.0f} MiB"
    return f"{number:,.0f}"


Cases = Iterator[Case]
"""What an entry yields; each case is prepared when it is asked for."""
