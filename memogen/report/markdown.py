"""Tables of results as Markdown, and as text for a terminal. README's tables are made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memogen.types import InputError

from .results import LEGEND, Results
from .text import in_columns, in_markdown

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def results_text(tables: Sequence[Results]) -> str:
    """The tables one after another, each under its name, and what the numbers mean."""
    return "\n\n".join([*(_titled(table) for table in tables), LEGEND])


def results_table(table: Results) -> str:
    """One table with the command that makes each line."""
    rows = [[*table.row(line), f"`{line.command}`" if line.command and line.variant != "real" else "-"] for line in table.lines]
    return in_markdown([[*table.head, "command"], *rows])


def terminal_table(table: Results) -> str:
    """One table in columns, without the commands."""
    text = in_columns([table.head, *(table.row(line) for line in table.lines)])
    return f"{text}\n{table.note}" if table.note else text


def write_results(tables: Sequence[Results], path: Path) -> None:
    """Write the Markdown to a file. A file that is there keeps all but what stands between its two marks. Raises InputError where it has none."""
    text = results_text(tables)
    if path.exists():
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise InputError(f"{path}: is there and has no {BEGIN} and {END}: add these lines, or name a new file")
        text = f"{before}{BEGIN}\n{text}\n{END}{after}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")


def _titled(table: Results) -> str:
    parts = [f"### {table.name}{': ' + table.title if table.title else ''}", results_table(table), *([table.note] if table.note else [])]
    return "\n\n".join(parts)
