"""Benchmarks in processes of their own: with this package, or before and after with that of another checkout, which take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import torch

import memogen.cli
from benchmarks.speed.timing import SECONDS, Aim, Line, Round, Setting, Title, judged, line_of, one_round, quartiles, rounds_of

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
    """The environment of a command that uses the package being measured."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE)}


def commit_of(checkout: Path | None) -> str:
    """The commit of a checkout, with a "+" if its package was changed since; None: the checkout of the package being measured."""

    def git(*given: str) -> str:
        return subprocess.run(["git", "-C", str(checkout or PACKAGE), *given], capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "no commit") + ("+" if git("status", "--porcelain", "--", "memogen") else "")


def answer(module: str, function: str, *numbers: int, setting: Setting) -> float:
    """What a function of a benchmark returns in a new process, so that its peak of memory is its own."""
    asked = json.dumps({"module": module, "function": function, "numbers": numbers, "setting": asdict(setting)})
    done = subprocess.run(words(PACKAGE, "processes", "reply", asked), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return float(done.stdout.split()[-1])


def reply(asked: str) -> None:
    """The process behind :func:`answer`."""
    told = json.loads(asked)
    setting = Setting(**told["setting"])
    prepare(setting)
    print(getattr(import_module(f"benchmarks.speed.{told['module']}"), told["function"])(setting, *told["numbers"]))


def prepare(setting: Setting) -> None:
    """Give this process the number of threads asked for, and the memory allocator as the commands of memogen set it."""
    if setting.threads:
        torch.set_num_threads(setting.threads)
    if hasattr(memogen.cli, "keep_freed_memory"):  # an earlier checkout has none
        memogen.cli.keep_freed_memory()


class NotThere(Exception):  # noqa: N818  (of an earlier checkout, no error)
    """A checkout lacks what an entry asks for."""


class Player:
    """A process that goes through the cases of one entry and measures a round of the current case on request."""

    def __init__(self, checkout: Path, name: str, setting: Setting) -> None:
        asked = json.dumps({"name": name, "setting": asdict(setting)})
        self._process = subprocess.Popen(
            words(checkout, "processes", "play", asked), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.title: Title | None = None
        self.missing = ""

    def __enter__(self) -> Player:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def next(self) -> bool:
        """Go to the next case and return whether there is one. ``missing`` says why not, if the process failed."""
        told = self._ask("next")
        self.missing = told.get("missing", "")
        title = told.get("title")
        self.title = None if title is None else Title(**{**title, "aims": tuple(Aim(**aim) for aim in title["aims"])})
        return self.title is not None

    def round(self) -> Round:
        """One round of the current case. Raises NotThere."""
        told = self._ask("round")
        if "missing" in told:
            raise NotThere(told["missing"])
        ours, beside, floor = told["round"]
        return ours, beside, floor

    def _ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return {"missing": f"the process ended with {self._process.wait()}"}


def play(asked: str) -> None:
    """The process behind a :class:`Player`. What an entry prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        for told in _answers(json.loads(asked), sys.stdin):
            answers.write(json.dumps(told) + "\n")
    except Exception as error:
        answers.write(json.dumps({"missing": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}) + "\n")


def _answers(asked: dict[str, Any], questions: TextIO) -> Iterator[dict[str, Any]]:
    from benchmarks.speed import entries

    setting, name = Setting(**asked["setting"]), asked["name"]
    prepare(setting)
    next(questions)
    entry = entries([name.partition(".")[0]])[name]
    device = setting.runtime().device
    for case in entry(setting):
        yield {"title": asdict(case.title)}
        while next(questions).strip() == "round":
            yield {"round": one_round(case, setting, device)}
    yield {"end": True}


def compared(name: str, setting: Setting, other: Path) -> Iterator[Line]:
    """The lines of an entry, for this package and that of another checkout. If one lacks a case, the line says so instead of a number."""
    with ExitStack() as stack:
        now, then = (stack.enter_context(Player(checkout, name, setting)) for checkout in (PACKAGE, other))
        there = then.next()
        while now.next():
            if not there or then.title != now.title:
                yield _alone(now, setting, then.missing)
                continue
            try:
                yield _turns(now, then, setting)
            except NotThere as error:
                yield _alone(now, setting, str(error))
            there = then.next()
        if now.missing:
            raise RuntimeError(now.missing)


def _turns(now: Player, then: Player, setting: Setting) -> Line:
    """Measure both in turn. Raises NotThere if the other checkout cannot."""
    assert now.title is not None

    def take() -> tuple[Round, Round]:
        return now.round(), then.round()

    pairs = rounds_of(take, setting) if now.title.unit == SECONDS else [take()]
    line, before = line_of(now.title, [a for a, _ in pairs]), line_of(now.title, [b for _, b in pairs])
    spread = quartiles([a[0] / b[0] for a, b in pairs])
    return judged(replace(line, before=before.value, change=line.value / before.value, change_quartiles=spread), setting)


def _alone(now: Player, setting: Setting, why: str) -> Line:
    """Measure a case that the other checkout lacks."""
    assert now.title is not None
    line = line_of(now.title, rounds_of(now.round, setting) if now.title.unit == SECONDS else [now.round()])
    return judged(replace(line, missing=f"before: not there{f' ({why})' if why else ''}"), setting)
