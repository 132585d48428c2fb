"""The sentences under a table of results: how its numbers were scored, when and where, and whether its comparisons count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from memogen.metrics.registry import in_order, row_name, title
from memogen.metrics.rows import ResultRow
from memogen.recipes.table import Criterion

from .history import is_number, protocol_of

if TYPE_CHECKING:
    from .results import Line


def scored(rows: Sequence[ResultRow]) -> list[str]:
    """A sentence on the scoring for each recipe, in the order of the table's columns, then the dates and machines."""
    columns = in_order(map(row_name, rows))
    by_recipe: dict[str, dict[str, dict[str, list[str]]]] = {}
    for row in sorted(rows, key=lambda row: (row.variant == "real", columns.index(row_name(row)))):
        whose = f"{row.recipe or row.get('model') or '-'}"
        if row.variant == "real":
            images = protocol_of(row).get("images")
            split = images.get("split") if isinstance(images, Mapping) else None
            whose += f", real images of the {split} split" if split else ", real images"
        titles = by_recipe.setdefault(whose, {}).setdefault(_judge(row), {}).setdefault(_count(row), [])
        if title(row_name(row)) not in titles:
            titles.append(title(row_name(row)))
    found = []
    for whose, judges in by_recipe.items():
        parts = []
        for judge, counts in judges.items():
            numbers = [f"{', '.join(titles)} of {count}" if count else ", ".join(titles) for count, titles in counts.items()]
            parts.append(f"{', '.join(numbers)}{judge}")
        found.append(f"{whose}: {'; '.join(parts)}.")
    return [*found, *_made_at(rows)]


def _judge(row: ResultRow) -> str:
    """The extractor and its accuracy, and the split that the samples are compared with."""
    protocol = protocol_of(row)
    right = f" ({100 * protocol['extractor_accuracy']:.1f} % right)" if is_number(protocol.get("extractor_accuracy")) else ""
    judge = f", by {protocol['extractor']}{right}" if protocol.get("extractor") else ""
    return f"{judge}, {'compared with the ' if judge else 'the '}{row.split} split" if row.split else judge


def _count(row: ResultRow) -> str:
    """The number of samples, or of images with the number of importance samples for each; empty if the row gives none."""
    protocol = protocol_of(row)
    count, importance = protocol.get("num_samples"), protocol.get("importance_samples")
    if not is_number(count) or not count:
        return ""
    if is_number(importance):
        return f"{count:,} images by {importance:,} samples each"
    return f"{count:,} {'images' if protocol.get('extractor') is None else 'samples'}"


def _made_at(rows: Sequence[ResultRow]) -> list[str]:
    """One sentence with the dates and machines, or none if no row has both."""
    dated = [row for row in rows if row.date and row.hardware]
    if not dated:
        return []
    days, machines = sorted({str(row.date) for row in dated}), dict.fromkeys(str(row.hardware) for row in dated)
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [f"{'Made' if len(dated) == len(rows) else 'Rows that tell it were made'} {span} on {'; '.join(machines)}."]


def judged(criterion: Criterion, lines: Sequence[Line]) -> Iterator[str]:
    """For each recipe and budget, whether comparisons of methods count by ``criterion``; a missing line is named."""
    for recipe, budget in dict.fromkeys((line.recipe, line.budget) for line in lines if line.variant != "real" and line.recipe):
        own = {line.variant: line for line in lines if line.recipe == recipe and (line.budget == budget or line.variant == "real")}
        yield f"{recipe}{f', {budget}' if budget else ''}: {_verdict(criterion, own)}."


def _verdict(criterion: Criterion, found: Mapping[str, Line]) -> str:
    wanted = (criterion.upper, criterion.floor, "real")
    missing = [name for name in wanted if name not in found]
    if missing:
        return f"not known yet whether comparisons count: {' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} not been run"
    for metric in criterion.metrics:
        cells = [found[name].cells.get(metric) for name in wanted]
        values = [cell.value for cell in cells if cell is not None and cell.value is not None]
        if len(values) == len(wanted):
            break
    else:
        return "not known whether comparisons count: nothing was scored that all have"
    upper, floor, real = values
    upper_name, floor_name = criterion.upper.replace("_", " "), criterion.floor.replace("_", " ")
    words = f"{metric.replace('_', ' ')}: {upper_name} {upper:.3f}, {floor_name} {floor:.3f}, real images {real:.3f}"
    reasons = []
    if upper < criterion.least * real:
        reasons.append(f"{upper_name} is below {criterion.least:.0%} of real images")
    if floor > criterion.most * upper:
        reasons.append(f"{floor_name} keeps more than {criterion.most:.0%} of it")
    return f"comparisons {'do not count, as ' + ' and '.join(reasons) if reasons else 'count'} ({words})"
