"""The table of a run's scores from results.jsonl: a line for each variant and reference, a column for each metric."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memogen.metrics import registry
from memogen.metrics.registry import in_order, row_name
from memogen.metrics.rows import ResultRow

from .history import cut_short, is_number, protocol_of
from .parts import Cell, Column, Listing, Part, Table, Text

NAMES = {
    "vae": "VAE",
    "mem_vae": "MEM-VAE",
    "vis_mem_vae": "VIS-MEM-VAE",
    "memory_gan": "memoryGAN",
    "real": "real images",
    "no_memory": "without memory",
    "no_em": "without EM",
    "no_mcgn": "generator without slots",
}


@dataclass(frozen=True)
class Line:
    """The scores of one model, or of real images, against one split of the data."""

    variant: str
    split: str
    steps: int | None
    seed: str
    cells: Mapping[str, ResultRow]


def score_lines(results: Sequence[Mapping[str, Any]], own: str = "") -> list[Line]:
    """The rows as lines: the variant ``own`` first, real images last. Rows of single classes are left out.

    The newest row of a line and metric counts; a row of an interrupted scoring only if there is no other.
    """
    lines: dict[tuple[str, str, int | None, str], dict[str, ResultRow]] = {}
    for row in map(ResultRow.read, results):
        if "metric" in row and is_number(row.value) and row.class_ is None:
            variant, split, steps, seed = (row.get(key) for key in ("variant", "split", "steps", "seed"))
            about = str(variant or own or "this run"), str(split or ""), int(steps) if is_number(steps) else None, "" if seed is None else str(seed)
            line, column = lines.setdefault(about, {}), row_name(row)
            if column not in line or cut_short(line[column]) or not cut_short(row):
                line[column] = row
    found = [Line(variant, split, steps, seed, cells) for (variant, split, steps, seed), cells in lines.items()]
    order = {own: 0, "this run": 0, "real": 2}
    return sorted(found, key=lambda line: (order.get(line.variant, 1), line.variant, line.split, line.steps or 0))


def metrics_of(lines: Sequence[Line]) -> list[str]:
    """All metrics of the lines, in the order of the registry."""
    return in_order(metric for line in lines for metric in line.cells)


def number(value: float) -> str:
    """No decimals for large numbers, two in the range of scores, three for shares, three significant digits below."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def column(metric: str) -> Column:
    """The column of a metric."""
    title = registry.title(metric)
    return Column(title[:1].upper() + title[1:], registry.number_of(metric).better or "")


def score_table(results: Sequence[Mapping[str, Any]], own: str = "") -> tuple[Part, ...]:
    """The table of scores without empty columns, and the protocol of each number under it; a sentence if there are no scores."""
    lines = score_lines(results, own)
    if not lines:
        return (Text("There are no scores yet: memogen evaluate writes them to results.jsonl."),)
    metrics, protocols = metrics_of(lines), list(dict.fromkeys(_protocol(row) for line in lines for row in line.cells.values()))
    about = [
        [NAMES.get(line.variant, line.variant.replace("_", " ")) for line in lines],
        [line.split for line in lines],
        [f"{line.steps:,}" if line.steps is not None and line.variant != "real" else "" for line in lines],
        [line.seed for line in lines],
    ]
    named = [(title, texts) for title, texts in zip(("Model", "Against", "Steps", "Seed"), about, strict=True) if any(texts)]
    rows = list[list[Cell | str]]()
    for place, line in enumerate(lines):
        cells = [_cell(line.cells.get(metric), protocols) for metric in metrics]
        rows.append([*(texts[place] for _, texts in named), *cells])
    caption = "± is the spread over splits. If the paper prints a number, it stands beside ours. Raised letters name the protocol."
    table = Table([*(title for title, _ in named), *map(column, metrics)], rows, caption, "stack")
    listed = Listing("Protocols of these scores", [(_mark(place), text) for place, text in enumerate(protocols)])
    return (table, listed) if any(protocols) else (table,)


def _cell(row: ResultRow | None, protocols: Sequence[str]) -> Cell:
    if row is None or row.value is None:
        return Cell("")
    spread, paper = row.spread, row.paper
    small = f" ± {spread:.2g}" if is_number(spread) else ""
    small += f" (paper {number(paper)})" if is_number(paper) else ""
    return Cell(number(row.value), small, _mark(protocols.index(_protocol(row))) if len(protocols) > 1 else "")


def _mark(place: int) -> str:
    """a, b, ... z, aa, ab, ...: a raised number beside a score would look like an exponent."""
    letters = chr(ord("a") + place % 26)
    return letters if place < 26 else chr(ord("a") + place // 26 - 1) + letters


def _protocol(row: ResultRow) -> str:
    parts = {key: value for key, value in protocol_of(row).items() if key != "seed"}
    return ", ".join(f"{key} {value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)}" for key, value in parts.items())
