"""Commands that the documents show can be typed: the command, its options, recipes, variants, settings and tables are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from memogen.cli import parser
from memogen.cli.table import COMMANDS
from memogen.recipes.tables import find_table
from memogen.runs import choose

ROOT = Path(__file__).parents[1]
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.parent.name not in ("results", "decisions")]  # records
PLACEHOLDER = re.compile(r"[A-Z]{4,}(\.\.\.)?$")


def shown(path: Path) -> set[str]:
    """The commands of a page, in blocks and within a sentence."""
    text = path.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, flags=re.M | re.S)).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    inline = [" ".join(words.split()) for words in re.findall(r"`(memogen [^`]*)`", prose)]
    return {line.strip() for line in [*blocks, *inline] if line.strip().startswith("memogen ")}


def parsed(line: str) -> tuple[str, list[str], dict[str, str]]:
    """The command, the words that are its own, and the options that it hands on. Options that it lacks are among the latter."""
    words = shlex.split(line, comments=True)[1:]
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    assert name in COMMANDS or any(known.startswith(f"{name} ") for known in COMMANDS) or name.startswith("--") or PLACEHOLDER.match(name), (
        f"{line}: no such command"
    )
    if name not in COMMANDS:
        return name, [], {}
    names = parser.build(name, COMMANDS[name])[1]
    own, others = parser.split(words[len(name.split()) :], names)
    return name, own, others


@pytest.mark.parametrize(("page", "line"), [(page.name, line) for page in PAGES for line in sorted(shown(page))])
def test_what_a_page_shows_is_there(page: str, line: str) -> None:
    name, own, others = parsed(line)
    assert name == "train" or not others, f"{line}: no option {others}"
    if not own or any(PLACEHOLDER.match(word) for word in [*own, *others.values()]):
        return
    if name == "train" and not own[0].endswith(".yaml"):
        variant = own[own.index("--variant") + 1] if "--variant" in own else None
        assert choose(own[0], variant, others).recipe == own[0]
    elif name == "reproduce" and not own[0].startswith("--"):
        assert find_table(own[0]).rows


def test_a_wrong_line_fails() -> None:
    with pytest.raises(ValueError, match="width_"):
        choose("memory_gan/digits", None, parsed("memogen train memory_gan/digits --model.width_ 3")[2])
    assert parsed("memogen sample digits --nmu 3")[2]
    with pytest.raises(AssertionError, match="no such command"):
        parsed("memogen smaple digits")
