"""The tutorials run from their first line to their last, in order, with few steps and few samples."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from memogen import cli

TUTORIALS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", flags=re.M | re.S)
FEW = "--training.steps 2 --training.sample_every 0 --scoring.likelihood_every 0 --scoring.num_samples {} --scoring.metrics"


def budget(line: str) -> list[str]:
    """The words of a command that does what the tutorial's does, on less."""
    line = re.sub(r"--(steps|num) \d+", lambda found: f"--{found[1]} 2", line)
    words = shlex.split(line, comments=True)[1:]
    match words:
        case ["train", recipe, *_] if recipe.startswith("replay_gan"):
            return [*words, *FEW.format(65).split(), "[accuracy]"]
        case ["train", *_]:
            return [*words, *FEW.format(400).split(), "[fid]"]
        case ["evaluate" | "extend", *_]:
            return [*words, "--num-samples", "400" if words[0] == "evaluate" else "65"]
        case _:
            return words


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("0", "1"):  # pictures of somebody, sorted into classes
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        _picture(folder / "a.png")
    names: dict[str, Any] = {}
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert {kind for kind, _ in found} >= {"python"}
    for kind, block in found:
        if kind == "python":
            exec(re.sub(r"\bsteps( ?= ?)\d+", r"steps\g<1>2", block), names)  # the page's own words
            continue
        for line in block.splitlines():
            assert line.startswith("memogen ")
            assert cli.main([*budget(line), "--debug"]) == 0, line


def _picture(path: Path) -> None:
    import numpy as np
    from PIL import Image

    Image.fromarray(np.zeros((28, 28), np.uint8)).save(path)
