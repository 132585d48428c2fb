"""Metrics by name, and the table of a run's scores: what results.jsonl holds, one line per variant and reference, one column per metric."""

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


ABOUT = ("Model", "Against", "Steps", "Seed")
"""The columns that say whose scores they are."""


@dataclass(frozen=True)
class Line:
    """One line of the table: a model (or real images) against one part of the data."""

    variant: str
    split: str
    steps: int | None
    seed: str
    cells: Mapping[str, ResultRow]


def score_lines(results: Sequence[Mapping[str, Any]], own: str = "") -> list[Line]:
    """Rows gathered into lines: the ``own`` variant first, real images last; a row that was written again counts in its newest form, but one of a
    scoring that was stopped only where there is no whole one.

    Rows of a single class stay in the rows: the section on tasks shows them.
    """
    lines: dict[tuple[str, str, int | None, str], dict[str, ResultRow]] = {}
    for row in map(ResultRow.read, results):
        if "metric" in row and is_number(row.value) and row.class_ is None:
            line, column = lines.setdefault(_line_of(row, own), {}), row_name(row)
            if column not in line or cut_short(line[column]) or not cut_short(row):
                line[column] = row
    found = [Line(variant, split, steps, seed, cells) for (variant, split, steps, seed), cells in lines.items()]
    return sorted(found, key=lambda line: _rank(line, own))


def _line_of(row: ResultRow, own: str) -> tuple[str, str, int | None, str]:
    """Variant, split, steps and seed."""
    variant, split, steps, seed = (row.get(key) for key in ("variant", "split", "steps", "seed"))
    return str(variant or own or "this run"), str(split or ""), int(steps) if is_number(steps) else None, "" if seed is None else str(seed)


def _rank(line: Line, own: str) -> tuple[int, str, str, int]:
    return (0 if line.variant in (own, "this run") else 2 if line.variant == "real" else 1, line.variant, line.split, line.steps or 0)


def metrics_of(lines: Sequence[Line]) -> list[str]:
    """All metrics of the lines, in the order of the registry."""
    return in_order(metric for line in lines for metric in line.cells)


def number(value: float) -> str:
    """Two decimals in the range of scores, none for large numbers, three for shares, three significant digits below."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def column(metric: str) -> Column:
    """A metric as the head of a column; of one that nobody knows the name in words."""
    title = registry.title(metric)
    return Column(title[:1].upper() + title[1:], registry.number_of(metric).better or "")


def score_table(results: Sequence[Mapping[str, Any]], own: str = "") -> tuple[Part, ...]:
    """The table, and under it the protocol of each number; a sentence when there are no scores. Columns that say nothing are left out."""
    lines = score_lines(results, own)
    if not lines:
        return (Text("There are no scores yet: memogen evaluate writes them to results.jsonl."),)
    metrics, protocols = metrics_of(lines), _protocols(lines)
    about = [list(texts) for texts in zip(*map(_about, lines), strict=True)]
    said = [place for place, texts in enumerate(about) if any(texts)]
    head: list[Column | str] = [*(ABOUT[place] for place in said), *map(column, metrics)]
    rows: list[list[Cell | str]] = [
        [*(about[place][number] for place in said), *(_cell(line.cells.get(metric), protocols) for metric in metrics)]
        for number, line in enumerate(lines)
    ]
    caption = "± is the spread over splits. If the paper prints a number, it stands beside ours. Raised letters name the protocol."
    listed = Listing("Protocols of these scores", [(_mark(place), text) for place, text in enumerate(protocols)])
    return Table(head, rows, caption, "stack"), *([listed] if any(protocols) else [])


def _about(line: Line) -> tuple[str, str, str, str]:
    steps = f"{line.steps:,}" if line.steps is not None and line.variant != "real" else ""
    return NAMES.get(line.variant, line.variant.replace("_", " ")), line.split, steps, line.seed


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


def _protocols(lines: Sequence[Line]) -> list[str]:
    """Every protocol once, in the order of the table."""
    return list(dict.fromkeys(_protocol(row) for line in lines for row in line.cells.values()))


def _protocol(row: ResultRow) -> str:
    parts = {key: value for key, value in protocol_of(row).items() if key != "seed"}
    return ", ".join(f"{key} {value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)}" for key, value in parts.items())
