"""Tables as plain text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memogen.report.text import in_columns, in_markdown

CELLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
ROWS = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=4))


def test_tables_line_up_and_read_as_markdown() -> None:
    rows = [["sign", "x"], ["a longer one", "1"]]
    assert in_columns(rows) == "sign          x\na longer one  1"
    assert in_columns([["value", "x"], ["a", "1000"]], right=1) == "value     x\na      1000"
    assert in_markdown(rows) == "| sign | x |\n| --- | --- |\n| a longer one | 1 |"


@given(ROWS)
def test_every_cell_is_found_again(rows: list[list[str]]) -> None:
    assert [line.split() for line in in_columns(rows).splitlines()] == rows
    lines = in_markdown(rows).splitlines()
    cells = [[cell.replace("\\|", "|") for cell in line[2:-2].split(" | ")] for line in [lines[0], *lines[2:]]]
    assert cells == rows
