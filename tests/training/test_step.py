"""The page that tells of one step of training tells of the functions that it passes, in their order."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

import pytest

from memogen.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "training_step.md"


def test_a_step_passes_the_functions_of_the_page_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [(name, file) for name, file in re.findall(r"^\| \d+ \| `([\w.]+)` \| `([\w/]+\.py)`", PAGE.read_text(), flags=re.M)]
    passed: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        place = frame.f_code.co_filename.rpartition("/memogen/")[2]
        found = (frame.f_code.co_qualname, place)
        if event == "call" and found in told and found not in passed:
            passed.append(found)

    loop = import_module("memogen.training.fit")._Loop
    step = loop._step

    def watched(self: object) -> None:
        sys.setprofile(note)
        try:
            step(self)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(loop, "_step", watched)
    options = ["--steps", "1", "--out", str(tmp_path / "run"), "--scoring.metrics", "[]", "--training.sample_every", "0"]
    assert main(["train", "memory_gan/digits", *options]) == 0
    assert len(told) == 12 and passed == told
