"""Whether a run's memory is alive: evaluators for its training, its curves, and the signs of life as a table and on the page.

Figs. 3a and 3c of Kim et al. 2018 are :func:`course` of what :class:`HeldOutQueries` and :class:`SortedPrior` measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import nn

from memogen.memory.inspect import best_slots, mean_cosine, sorted_prior, written
from memogen.metrics.life_signs import LifeSign, life_signs
from memogen.types import ImageData, InputError

from . import charts
from .figures import memory_of, with_queries
from .history import RANK, Run, priors_logged, read_run, series
from .parts import Group, Section, Sign, Table, Text
from .scores import number
from .sections import curve

APART = 0.3  # of a cosine: a third of what no living memory reaches
BLOCK = 500  # images encoded at once
GRADIENT = charts.Panel(
    "Gradient that reaches a query", (("mean norm", "critic/query_gradient"),), "Mean norm; near 0: the encoder learns nothing from the memory.", 0
)


@dataclass(frozen=True)
class HeldOutQueries:
    """An evaluator of the queries q = mu(x) of the first ``num`` images of ``held_out``.

    ======================  =========================================================================================
    ``images``              their number
    ``log_likelihood``      their mean log p(q | y = 1), in nats
    ``best_slots``          number of different slots that are the most probable real slot of some image
    ``query_cosine``        mean cosine between two of the queries
    ``key_cosine``          mean cosine between two written real keys
    ======================  =========================================================================================

    The paper calls the likelihood "biased": it is the density of the queries on the unit sphere, not of the pixels, and mu changes during
    training. The cosines are nan with fewer than two to compare.
    """

    held_out: ImageData
    num: int = 10_000

    @torch.no_grad()
    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        """The numbers above; ``data`` and ``seed`` are not used. Raises InputError for a model without memory."""
        memory, asked, images = memory_of(model), with_queries(model), self.held_out.image[: self.num]
        assert asked is not None
        blocks = [asked.encode(torch.from_numpy(images[start : start + BLOCK].copy())) for start in range(0, len(images), BLOCK)]
        best = torch.cat([best_slots(memory, block) for block in blocks])
        return {
            "images": float(len(images)),
            "log_likelihood": float(torch.cat([memory.log_likelihood(block, value=1) for block in blocks]).double().mean()),
            "best_slots": float(len(best[best >= 0].unique())),
            "query_cosine": mean_cosine(torch.cat(blocks)),
            "key_cosine": mean_cosine(memory.keys[(memory.values > 0.5) & written(memory)]),
        }


@dataclass(frozen=True)
class SortedPrior:
    """An evaluator: the sorted prior p(c | v = 1) at the ranks 1, 2, 4, .. and the last."""

    def __call__(self, model: nn.Module, data: ImageData, *, seed: int) -> dict[str, float]:
        """{"rank_1": the largest, "rank_2": ...}. Raises InputError for a model without memory."""
        ordered = sorted_prior(memory_of(model))
        ranks = sorted({min(2**power, len(ordered)) for power in range(len(ordered).bit_length() + 1)})
        return {f"{RANK}{rank}": float(ordered[rank - 1]) for rank in ranks if rank > 0}


Curve = Literal["likelihood", "prior", "gradient"]


def course(run: Run, curve: Curve) -> Image.Image:
    """A curve of the memory over training. Raises InputError if the run did not log it."""
    needed = "with scoring.likelihood_every above 0 and not above the steps"
    if curve == "gradient":
        picture, needed = charts.panel(run.metrics, GRADIENT), "and name its run"
    elif curve == "prior":
        states = prior_states(run)
        picture = charts.priors(states) if states else None
    else:
        steps, values = series(run.metrics, "eval/held_out/log_likelihood")
        picture, needed = charts.likelihood(steps, values) if steps else None, f"on data with a test split, {needed}"
    if picture is None:
        raise InputError(f"run {run.path}: its metrics.jsonl has no {curve} to draw: train a memoryGAN {needed}")
    return picture


def prior_states(run: Run) -> list[tuple[str, dict[int, float]]]:
    """(step in words, sorted prior) of up to six of the logged priors, evenly over training."""
    logged = priors_logged(run.metrics)
    return [(f"step {step:,}", ranks) for step, ranks in logged[:: -(-len(logged) // 6) or 1]]


def run_signs(run: Run, of_slots: LifeSign | None = None) -> tuple[LifeSign, ...]:
    """The signs of a run, and last ``of_slots``, what its slots know, if given.

    Raises InputError if the run has no memory, or too few metrics.
    """
    slots, share = run.setting("model.memory.num_slots"), run.last("critic/real_slots")
    if not isinstance(slots, int) or share is None:
        raise InputError(f"run {run.path}: its config.yaml or metrics.jsonl tells of no memory: name a training run of a memoryGAN")
    try:
        found = life_signs(run.metrics, real_slots=round(slots * share))
    except InputError as error:
        raise InputError(f"run {run.path}: {error}") from error
    return (*found, of_slots) if of_slots else found


def signs_table(runs: Sequence[Path], of_slots: Sequence[LifeSign | None] = ()) -> list[list[str]]:
    """The titles and a line for each sign: of one run in full, of several a column each. Raises InputError as :func:`run_signs`.

    ``of_slots``: what the slots of each run know, or None.
    """
    found = [run_signs(read_run(path), sign) for path, sign in zip_longest(runs, of_slots)]
    if len(found) == 1:
        return [["sign", "middle third", "last tenth", "limit", "alive"], *map(_line, found[0])]
    rows = {sign.name: [sign.name, sign.rule] for signs in found for sign in signs}
    for signs in found:
        by_name = {sign.name: sign for sign in signs}
        for name, row in rows.items():
            sign = by_name.get(name)
            if sign is None:
                row.append("-")
            else:
                course = _text(sign.last) if sign.earlier is None else f"{_text(sign.earlier)} to {_text(sign.last)}"
                row.append(course if sign.alive else f"{course}, fails")
    return [["sign", "must be", *(path.resolve().name for path in runs)], *rows.values()]


def _line(sign: LifeSign) -> list[str]:
    limit = f"{sign.bound} {_text(sign.limit)}"
    return [sign.name, _text(sign.earlier), _text(sign.last), limit, "yes" if sign.alive else "no"]


def _text(value: float | None) -> str:
    """Whole numbers without decimals; a number above zero never as zero."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value.is_integer() else number(value)


def section(run: Run, of_slots: LifeSign | None = None) -> tuple[Section, ...]:
    """The table of signs beside the gradient over training, or the reason why there is no verdict; empty for a run without memory."""
    if run.last("critic/real_slots") is None:
        return ()
    gradient = curve(run, GRADIENT)
    drawn = (Group(gradient),) if gradient else ()
    try:
        signs = run_signs(run, of_slots)
    except InputError as error:
        why = str(error).removeprefix(f"run {run.path}: ").removeprefix("life signs: ")
        return (Section("Signs of life", (Text(f"No verdict: {why}.", soft=True), *drawn)),)
    failing = [each.name for each in signs if not each.alive]
    verdict = Text(f"Signs that fail: {', '.join(failing)}." if failing else "The memory is alive by all signs.")
    head = ["Sign", "Middle third", "Last tenth", "Limit", "Kept", "Must be"]
    told = "Means over the middle third and the last tenth of the run, of the gradient medians"
    told += "; what slots tell is asked of the saved model." if of_slots else "."
    return (Section("Signs of life", (verdict, *drawn, Table(head, [[*_line(each), each.rule] for each in signs], told, "words stack"))),)


def sign(run: Run, of_slots: LifeSign | None = None) -> Sign | None:
    """The verdict in a few words; None for a run without memory."""
    if run.last("critic/real_slots") is None:
        return None
    try:
        signs = run_signs(run, of_slots)
    except InputError:
        return Sign(None, "it is too short, or was logged too rarely, to judge its memory")
    # A cosine that rose but is small is no failure: in a short run of few pictures keys move from 0.0 to 0.2 while samples improve.
    failing = [each.name for each in signs if not each.alive and not (each.name.startswith("cosine") and each.last < APART)]
    if failing:
        return Sign(False, f"{len(failing)} of {len(signs)} signs of life of its memory fail{'s' * (len(failing) == 1)} ({', '.join(failing)})")
    kept = sum(each.alive for each in signs)
    return Sign(True, f"its memory shows {f'{kept} of' if kept < len(signs) else 'all'} {len(signs)} signs of life")
