"""The card of a model, README.md in the form that the hub reads, taken apart: its titles, sentences, points and tables as plain text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_RULE = re.compile(r"[|:\-\s]+")


@dataclass
class CardPart:
    """What stands under one title: blocks of ("text", its lines), ("points", their texts) or ("rows", those of a table of two columns)."""

    title: str
    blocks: list[tuple[str, list[Any]]] = field(default_factory=list)

    def add(self, kind: str, words: object, *, begins: bool) -> None:
        """One line more; of the block before where that is of the same kind and this line ``begins`` none."""
        if begins or not self.blocks or self.blocks[-1][0] != kind:
            self.blocks.append((kind, []))
        self.blocks[-1][1].append(words)


def read_card(text: str) -> list[CardPart]:
    """The parts under the titles of second rank, without code; what stands before the first of them, which is about loading, is left out."""
    found, part, before = list[CardPart](), CardPart(""), ""
    for line in _lines(text):
        begins = not before
        if line.startswith("## "):
            part = CardPart(_plain(line[3:]))
            found.append(part)
        elif line.startswith("|"):
            cells = [_plain(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if len(cells) == 2:
                part.add("rows", (cells[0], cells[1]), begins=False)
        elif line.startswith(("- ", "* ")):
            part.add("points", _plain(line[2:]), begins=False)
        elif line.strip() and not line.startswith("#"):
            part.add("text", _plain(line), begins=begins)
        before = line.strip()
    return [part for part in found if part.blocks]


def _lines(text: str) -> list[str]:
    """The lines, less the head between dashes, code, and the heads and rules of tables."""
    lines = text.splitlines()
    if lines[:1] == ["---"] and "---" in lines[1:]:
        lines = lines[lines.index("---", 1) + 1 :]
    kept, code = list[str](), False
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        code ^= line.startswith("```")
        if not code and not line.startswith("```") and not _is_rule(line) and not (line.startswith("|") and _is_rule(below)):
            kept.append(line)
    return kept


def _is_rule(line: str) -> bool:
    """Whether a line parts the head of a table from its rows."""
    return line.startswith("|") and "-" in line and _RULE.fullmatch(line) is not None


def _plain(words: str) -> str:
    """Without the marks of code, of strength and of links."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words.replace("\\|", "|"))
    return re.sub(r"`|\*\*", "", words).strip()
