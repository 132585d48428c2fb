"""Tables of results as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .html import Html, code_block, element, escape, page, paragraph, section, table, write_page
from .results import LEGEND, Results


def write(tables: Sequence[Results], path: Path) -> Path:
    """Write the page and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_page(path, results_page(tables))


def results_page(tables: Sequence[Results]) -> Html:
    """All tables under one another, each with what stands between it and the paper."""
    head = element("h1", escape("Results")), paragraph(LEGEND, "soft")
    return page("Results of memogen", *head, *(_section(part) for each in tables for part in each.parts), style="broad")


def _section(results: Results) -> Html:
    rows = [[escape(cell) for cell in results.row(line)] for line in results.lines]
    commands = code_block("\n".join(results.commands))
    notes = (paragraph(note, "soft") for note in results.notes)
    return section(f"{results.name}{': ' + results.title if results.title else ''}", table(results.head, rows), *notes, commands)
