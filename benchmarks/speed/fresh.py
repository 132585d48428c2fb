"""Processes of their own: with this package, or with that of another checkout and these benchmarks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import memogen
from benchmarks.speed.timing import Setting

ROOT = Path(__file__).parents[2]
PACKAGE = Path(memogen.__file__).parents[1]
"""The checkout whose package is being measured."""

_BEGIN = """import sys
sys.path[0] = sys.argv[1]
import memogen
sys.path[0] = sys.argv[2]
from benchmarks.speed.{module} import {function}
{function}(*sys.argv[3:])
"""


def words(checkout: Path, module: str, function: str, *given: str) -> list[str]:
    """The command of a process that takes ``memogen`` from ``checkout`` and the benchmarks from here, and calls one of their functions."""
    return [sys.executable, "-c", _BEGIN.format(module=module, function=function), str(checkout), str(ROOT), *given]


def environment() -> dict[str, str]:
    """That of a process which runs the package being measured as a command."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE)}


def commit_of(checkout: Path | None) -> str:
    """The commit that a checkout stands at, with a "+" where its package was changed since; None: that of the package being measured."""

    def git(*given: str) -> str:
        return subprocess.run(["git", "-C", str(checkout or PACKAGE), *given], capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "no commit") + ("+" if git("status", "--porcelain", "--", "memogen") else "")


def answer(module: str, function: str, *numbers: int, setting: Setting) -> float:
    """What a function of a benchmark gives in a process of its own, whose peak of memory is its own too."""
    asked = json.dumps({"module": module, "function": function, "numbers": numbers, "setting": asdict(setting)})
    done = subprocess.run(words(PACKAGE, "fresh", "reply", asked), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return float(done.stdout.split()[-1])


def reply(asked: str) -> None:
    """The other end of :func:`answer`."""
    import torch

    told = json.loads(asked)
    setting = Setting(**told["setting"])
    if setting.threads:
        torch.set_num_threads(setting.threads)
    print(getattr(import_module(f"benchmarks.speed.{told['module']}"), told["function"])(setting, *told["numbers"]))
