"""``python -m benchmarks.house``: the layers of the package in numbers, and the way of one training through them.

Files, lines and functions of each folder; then a training of two steps on a small folder of images, from the command line to its report: functions
and files passed, how often the code of a run folder is entered from elsewhere, and how often the image folder is walked. It runs in any commit.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from PIL import Image

import memogen

ROOT = Path(memogen.__file__).parent
OF_RUNS = ("runs", "runs.py", "streams.py", "stages.py", "unlabelled.py", "extend.py", "reproduce.py")


def layers() -> list[tuple[str, int, int, int, int]]:
    """(folder or file, files, lines, functions, functions of at most three lines) of each part of the package."""
    rows = Counter[tuple[str, int]]()
    for path in ROOT.rglob("*.py"):
        part, text = path.relative_to(ROOT).parts[0], path.read_text(encoding="utf-8")
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        bodies = [node.body[1:] if ast.get_docstring(node) else node.body for node in functions]
        short = sum(not body or (body[-1].end_lineno or 0) - body[0].lineno < 3 for body in bodies)
        for place, number in enumerate((1, len(text.splitlines()), len(functions), short)):
            rows[part, place] += number
    parts = sorted({part for part, _ in rows}, key=lambda part: -rows[part, 1])
    return [(part, rows[part, 0], rows[part, 1], rows[part, 2], rows[part, 3]) for part in parts]


class Trace:
    """What a call passes through, noted by the interpreter's profile."""

    def __init__(self) -> None:
        self.functions = set[CodeType]()
        self.entries, self.walks = 0, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        part = self._part(frame.f_code)
        if not part:
            return
        if frame.f_code not in self.functions and not frame.f_code.co_name.startswith("<"):
            self.functions.add(frame.f_code)
        self.walks += frame.f_code.co_name == "find_pictures"
        caller = frame.f_back
        while caller is not None and not self._part(caller.f_code):
            caller = caller.f_back
        self.entries += part in OF_RUNS and (caller is None or self._part(caller.f_code) not in OF_RUNS)

    @staticmethod
    def _part(code: CodeType) -> str:
        try:
            return Path(code.co_filename).relative_to(ROOT).parts[0]
        except ValueError:
            return ""


def trained(folder: Path) -> Trace:
    """The way of a short training on an image folder with two classes and a test split."""
    drawn = np.random.default_rng(0).integers(0, 256, (2, 2, 20, 16, 16), dtype=np.uint8)
    for split, images in zip(("train", "test"), drawn, strict=True):
        for name, of_class in zip("ab", images, strict=True):
            (folder / "data" / split / name).mkdir(parents=True)
            for number, image in enumerate(of_class):
                Image.fromarray(image).save(folder / "data" / split / name / f"{number}.png")
    from memogen.cli import main

    trace, words = Trace(), ["train", "memory_gan/folder", "--data", str(folder / "data"), "--out", str(folder / "run"), "--training.steps", "2"]
    sys.setprofile(trace)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert main([*words, "--training.batch_size", "8", "--training.sample_every", "0"]) == 0
    finally:
        sys.setprofile(None)
    return trace


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.house", description=__doc__).parse_args()
    rows = layers()
    print(f"{'':<16}{'files':>7}{'lines':>8}{'functions':>11}{'of <= 3 lines':>15}")
    for name, *numbers in [*rows, ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))]:
        print(f"{name:<16}{numbers[0]:>7}{numbers[1]:>8,}{numbers[2]:>11,}{numbers[3]:>15,}")
    with tempfile.TemporaryDirectory() as folder:
        trace = trained(Path(folder))
    files = {code.co_filename for code in trace.functions}
    print(f"\none training passes {len(trace.functions)} functions in {len(files)} files")
    print(f"enters the code of a run folder {trace.entries} times, and walks the image folder {trace.walks} times")


if __name__ == "__main__":
    main()
