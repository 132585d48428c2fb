"""How the numbers of a table were scored, and when and where they were made: the sentences under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from memogen.metrics.rows import ResultRow

from .history import is_number, protocol_of


def scored_by(rows: Iterable[tuple[str, ResultRow]]) -> list[str]:
    """A sentence for each recipe. ``rows`` are (title of the metric, row) in the order of the table's columns."""
    by_recipe: dict[str, dict[str, dict[str, list[str]]]] = {}
    for title, row in rows:
        whose = f"{row.recipe or row.get('model') or '-'}{_real(row)}"
        titles = by_recipe.setdefault(whose, {}).setdefault(_judge(row), {}).setdefault(_count(row), [])
        titles += [title] if title not in titles else []
    return [f"{whose}: {'; '.join(_told(judge, counts) for judge, counts in judges.items())}." for whose, judges in by_recipe.items()]


def made_at(rows: Iterable[ResultRow]) -> list[str]:
    """The days and the machines, of the rows that tell them; nothing where none does."""
    rows = list(rows)
    told = [row for row in rows if row.date and row.hardware]
    days, machines = sorted({str(row.date) for row in told}), dict.fromkeys(str(row.hardware) for row in told)
    if not told:
        return []
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [f"{'Made' if len(told) == len(rows) else 'Rows that tell it were made'} {span} on {'; '.join(machines)}."]


def _real(row: ResultRow) -> str:
    """That it speaks of real images, and of which part of the data; empty where it speaks of a model."""
    if row.variant != "real":
        return ""
    images = protocol_of(row).get("images")
    return f", real images{' of the ' + str(images['split']) + ' split' if isinstance(images, Mapping) and 'split' in images else ''}"


def _told(judge: str, counts: Mapping[str, Sequence[str]]) -> str:
    numbers = ", ".join(f"{', '.join(titles)} of {count}" if count else ", ".join(titles) for count, titles in counts.items())
    return f"{numbers}{judge}"


def _judge(row: ResultRow) -> str:
    """By what, and against which part of the data."""
    protocol, split = protocol_of(row), row.split
    right = f" ({100 * protocol['extractor_accuracy']:.1f} % right)" if is_number(protocol.get("extractor_accuracy")) else ""
    judge = f", by {protocol['extractor']}{right}" if protocol.get("extractor") else ""
    return f"{judge}, {'compared with the ' if judge else 'the '}{split} split" if split else judge


def _count(row: ResultRow) -> str:
    """How many samples, or images with so many importance samples each; empty where it is not told, or none were needed."""
    protocol = protocol_of(row)
    count, importance = protocol.get("num_samples"), protocol.get("importance_samples")
    if not is_number(count) or not count:
        return ""
    if is_number(importance):
        return f"{count:,} images by {importance:,} samples each"
    return f"{count:,} {'images' if protocol.get('extractor') is None else 'samples'}"
