"""Tables as text: in columns for a terminal, and as Markdown. A table is rows of texts, the titles first, or a table of results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from textwrap import wrap

from memogen.types import InputError

from .results import LEGEND, Results

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
WIDTH = 120  # of sentences in a terminal


def in_columns(rows: Sequence[Sequence[str]], *, right: int | None = None, broken: bool = False) -> str:
    """The table for a terminal. Columns from number ``right`` on are aligned right, as numbers are. ``broken`` wraps titles to the width of their
    column, as far as their words allow.
    """
    if broken:
        least = [max(max(map(len, column[1:]), default=0), *map(len, column[0].split())) for column in zip(*rows, strict=True)]
        titles = [wrap(title, width) for title, width in zip(rows[0], least, strict=True)]
        height = max(map(len, titles))
        rows = [*zip(*([""] * (height - len(title)) + title for title in titles), strict=True), *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) if right is None else right
    lines = (
        [cell.ljust(width) if place < last else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def in_markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table for a document."""
    lines = (rows[0], ["---"] * len(rows[0]), *rows[1:])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def results_text(tables: Sequence[Results]) -> str:
    """The tables as Markdown, each under its heading and over its notes, and the legend of the numbers."""
    parts = [part for table in tables for part in table.parts]
    return "\n\n".join([*("\n\n".join([f"### {part.heading}", results_table(part), *part.notes]) for part in parts), LEGEND])


def results_table(table: Results) -> str:
    """One table as Markdown, with the command of each line."""
    rows = [[*table.row(line), f"`{line.shown_command}`" if line.shown_command else "-"] for line in table.lines]
    return in_markdown([[*table.head, "command"], *rows])


def terminal_table(table: Results) -> str:
    """One table in columns, without the commands; each recipe stands above its lines."""
    num, rows = len(table.lines), [table.row(line) for line in table.lines]
    if not num:
        return f"{table.name}: no rows yet"
    text = in_columns([table.head[1:], *(row[1:] for row in rows)], right=2 if "scored by" in table.head else 1, broken=True).splitlines()
    lines = [f"  {titles}" for titles in text[:-num]]
    for recipe, group in groupby(zip(rows, text[-num:], strict=True), key=lambda pair: pair[0][0]):
        lines += [recipe, *(f"  {shown}" for _, shown in group)]
    return "\n".join([*lines, *(line for note in table.notes for line in wrap(note, WIDTH))])


def terminal_text(tables: Sequence[Results]) -> str:
    """What :func:`results_text` says, for a terminal: the commands stand under each table."""
    parts = ["\n".join([part.heading, "", terminal_table(part), *part.commands]) for table in tables for part in table.parts]
    return "\n\n".join([*parts, "\n".join(wrap(LEGEND, WIDTH))])


def write_results(tables: Sequence[Results], path: Path) -> None:
    """Write the Markdown to a file; in an existing file, between its two marks. Raises InputError if an existing file lacks them."""
    text = results_text(tables)
    if path.exists():
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise InputError(f"{path}: exists and has no {BEGIN} and {END}: add these lines, or name a new file")
        text = f"{before}{BEGIN}\n{text}\n{END}{after}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
