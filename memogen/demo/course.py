"""The demo from its first line on the terminal to the page that it leaves."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch

from ..parsing import parse_json, read_regular
from ..progress import Bar
from ..report.grid import LIGHT
from ..report.page import duration
from ..report.parts import write_page
from . import page
from .acts import ACTS, Outcome
from .plan import Plan
from .sentences import TIGHT

FOUND, PAGE = "demo.json", "demo.html"
WIDEST = 100  # letters of a line
NEXT = ("memogen explore digits", "memogen sample fashion --out grid.png")


def demo(out: str | Path = "runs/demo", *, plan: Plan = Plan(), console: bool = True) -> Path:  # noqa: B008  frozen
    """Play the three acts in the folder ``out``, print what this run showed, and write its pictures and the page demo.html there.

    Returns the folder. Run again, it continues, or shows what is there. Raises InputError for a folder that holds another run, and
    :class:`memogen.training.Stopped` when asked to stop while it trains.
    """
    folder = Path(out)
    kept = _kept(folder, plan)
    if kept is None:
        print(f"memogen demo: three things that a memory does. Seed {plan.seed}, one processor core, no network, two to three minutes.")
        kept = _played(folder, plan, console)
    else:
        print(f"{folder}: this demo is finished. To train another: memogen demo --seed {plan.seed + 1} --out {folder}-{plan.seed + 1}")
    print(_summary(folder, kept["sentences"], kept["pictures"]))
    return folder


def _played(folder: Path, plan: Plan, console: bool) -> dict[str, Any]:
    """All acts one after another; what is left of earlier tries is used."""
    outcomes, spent = list[Outcome](), time.process_time()
    with _one_thread():
        for number, act in enumerate(ACTS, start=1):
            print("\n".join(["", f"{number}  {act.title}", *_lines(act.told, "   ")]), flush=True)
            begun = time.monotonic()
            with Bar(shown=console) as bar:
                outcomes.append(act.play(plan, folder, bar))
            for picture in outcomes[-1].pictures:
                picture.draw(LIGHT).save(folder / picture.file)
            print(f"   {duration(time.monotonic() - begun)}", flush=True)
    write_page(folder / PAGE, page.text(plan, folder, outcomes, NEXT))
    kept = {
        "plan": plan.named(),
        "sentences": [answer.sentence for outcome in outcomes for answer in outcome.answers],
        "pictures": [picture.file for outcome in outcomes for picture in outcome.pictures],
        "processor_seconds": round(time.process_time() - spent, 1),
        "numbers": [[answer.question.measured, *answer.numbers] for outcome in outcomes for answer in outcome.answers],
    }
    write_page(folder / FOUND, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return kept


def _kept(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """What a demo of this plan left in the folder; None where it is not whole."""
    try:
        kept = parse_json(read_regular(folder / FOUND))
        whole = kept["plan"] == plan.named() and all((folder / file).is_file() for file in [PAGE, *kept["pictures"]])
        return kept if whole and all(isinstance(words, str) for words in kept["sentences"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _summary(folder: Path, sentences: Sequence[str], pictures: Sequence[str]) -> str:
    """The sentences, where to look, and what to do next."""
    lines = ["", "What this run shows (± is one standard error, over samples or pictures; one training of each model):"]
    for number, words in enumerate(sentences, start=1):
        first, *rest = _lines(words, "      ")
        lines += [f"   {number}. {first.strip()}", *rest]
    shown = [*(f"   {folder / file}" for file in pictures), f"   {folder / PAGE}"]
    return "\n".join([*lines, "", "To look at:", *shown, "", "Next:", *(f"   {command}" for command in NEXT)])


def _lines(words: str, indent: str) -> list[str]:
    """As wide as the terminal, or less; a number and its spread stay on one line."""
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    return [line.replace(TIGHT, " ") for line in wrap(words, max(width, 40), initial_indent=indent, subsequent_indent=indent)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """As fast for nets this small; and rounding, hence the run, does not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
