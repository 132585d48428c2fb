"""Tables as plain text: the first row holds the titles."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap


def in_columns(rows: Sequence[Sequence[str]], *, right: int | None = None, broken: bool = False) -> str:
    """For a terminal; columns from number ``right`` on stand at the right, as numbers do. ``broken``: long titles take several lines."""
    rows = [*_broken(rows), *rows[1:]] if broken else rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) if right is None else right
    lines = (
        [cell.ljust(width) if place < last else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _broken(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The titles in lines no wider than what stands below, where their words allow it; they end at the bottom."""
    widths = [max(max(map(len, column[1:]), default=0), *map(len, column[0].split())) for column in zip(*rows, strict=True)]
    titles = [wrap(title, width) for title, width in zip(rows[0], widths, strict=True)]
    height = max(map(len, titles))
    return [list(line) for line in zip(*([""] * (height - len(title)) + title for title in titles), strict=True)]


def in_markdown(rows: Sequence[Sequence[str]]) -> str:
    """For a document."""
    lines = (rows[0], ["---"] * len(rows[0]), *rows[1:])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
