"""The documents say what is so: links lead somewhere, the page of options is that of the code, and departures are listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.configuration import PAGE, page

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    for target in targets:
        name, _, anchor = target.partition("#")
        there = (path.parent / name) if name else path
        assert there.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_the_page_of_options_is_that_of_the_code() -> None:
    """``python docs/configuration.py`` mends it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_departure_is_told() -> None:
    """By the name of its file, on a page of ``docs/explanation``."""
    told = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "explanation").glob("*.md"))
    marked = {path.name for path in (ROOT / "memogen").rglob("*.py") if "# departs:" in path.read_text(encoding="utf-8")}
    assert marked and not {name for name in marked if f"`{name}`" not in told}


def test_pages_named_in_the_code_are_there() -> None:
    sources = [path for folder in ("memogen", "tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    named = {found for path in [*sources, *ROOT.glob("*.md")] for found in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))}
    assert named and not {name for name in named if not (ROOT / name).exists()}
