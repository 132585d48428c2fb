"""Tables as plain text: the first row holds the titles."""

from __future__ import annotations

from collections.abc import Sequence


def in_columns(rows: Sequence[Sequence[str]], *, right: int | None = None) -> str:
    """For a terminal; columns from number ``right`` on stand at the right, as numbers do."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) if right is None else right
    lines = (
        [cell.ljust(width) if place < last else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def in_markdown(rows: Sequence[Sequence[str]]) -> str:
    """For a document."""
    lines = (rows[0], ["---"] * len(rows[0]), *rows[1:])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
