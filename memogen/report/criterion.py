"""Whether comparisons of methods that learn tasks count, in a sentence for each recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from memogen.recipes.table import Criterion

if TYPE_CHECKING:
    from .results import Line


def sentences(criterion: Criterion, lines: Sequence[Line]) -> Iterator[str]:
    """One for each recipe and budget that has a line; what is missing is named."""
    for recipe, budget in dict.fromkeys((line.recipe, line.budget) for line in lines if line.variant != "real" and line.recipe):
        own = [line for line in lines if line.recipe == recipe and (line.budget == budget or line.variant == "real")]
        yield f"{recipe}{f', {budget}' if budget else ''}: {_judged(criterion, own)}."


def _judged(criterion: Criterion, lines: Sequence[Line]) -> str:
    found: dict[str, Line] = {line.variant: line for line in lines}
    wanted = (criterion.upper, criterion.floor, "real")
    missing = [name for name in wanted if name not in found]
    if missing:
        return f"not known yet whether comparisons count: {' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} not been run"
    metric = next((name for name in criterion.metrics if all(_value(found[line], name) is not None for line in wanted)), None)
    if metric is None:
        return "not known whether comparisons count: nothing was scored that all have"
    upper, floor, real = (_value(found[line], metric) or 0.0 for line in wanted)
    names = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in ((criterion.upper, upper), (criterion.floor, floor), ("real images", real))]
    words = f"{metric.replace('_', ' ')}: {', '.join(names)}"
    reasons = [] if upper >= criterion.least * real else [f"{criterion.upper.replace('_', ' ')} is below {criterion.least:.0%} of real images"]
    reasons += [] if floor <= criterion.most * upper else [f"{criterion.floor.replace('_', ' ')} keeps more than {criterion.most:.0%} of it"]
    return f"comparisons {'do not count, as ' + ' and '.join(reasons) if reasons else 'count'} ({words})"


def _value(line: Line, metric: str) -> float | None:
    cell = line.cells.get(metric)
    return None if cell is None else cell.value
