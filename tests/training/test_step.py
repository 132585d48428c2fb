"""The page on one step of training names the functions that are called from the command to the memory, in their order."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

import pytest

from memogen.cli import main
from memogen.noise import Stream

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "training_step.md"


def test_a_training_passes_the_functions_of_the_page_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = [(name, file) for name, file in re.findall(r"^\| \d+ \| `([\w.]+)` \| `([\w/]+\.py)`", PAGE.read_text(), flags=re.M)]
    first = page.index(("_Loop._step", "training/fit.py"))
    awaited, passed = page[:first], list[tuple[str, str]]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal awaited
        found = (frame.f_code.co_qualname, frame.f_code.co_filename.rpartition("/memogen/")[2])
        if event == "call" and found == page[first]:
            awaited = page[first:]
        if event == "call" and found in awaited and found not in passed:
            passed.append(found)
        if event == "return" and found == page[first]:
            awaited = []

    monkeypatch.chdir(tmp_path)
    options = ["--steps", "1", "--out", "run", "--scoring.metrics", "[]", "--training.sample_every", "0", "--scoring.likelihood_every", "0"]
    sys.setprofile(note)
    try:
        code = main(["train", "memory_gan/digits", *options])
    finally:
        sys.setprofile(None)
    assert code == 0 and len(page) == 29 and passed == page


def test_the_page_lists_the_streams() -> None:
    listed = set(re.findall(r"`([A-Z_]+)`", PAGE.read_text()))
    assert {name for name in vars(Stream) if name.isupper()} <= listed
