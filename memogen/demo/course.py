"""The demo: its three acts, what it prints, and the page that it writes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch

from ..parsing import parse_json, read_regular
from ..progress import Bar
from ..report.grid import CLEAR, LIGHT
from ..report.page import duration
from ..report.parts import Cell, Code, Section, Table, Text, render, write_page
from ..report.sections import picture, word
from .acts import ACTS, ARMS, Outcome, Plan, arm_folder
from .sentences import TIGHT

FOUND, PAGE = "demo.json", "demo.html"
WIDEST = 100  # letters of a line
NEXT = ("memogen explore digits", "memogen sample fashion --out grid.png")


def demo(out: str | Path = "runs/demo", *, plan: Plan = Plan(), console: bool = True) -> Path:  # noqa: B008  frozen
    """Play the three acts, print their results, write their pictures and the page demo.html into the folder ``out``, and return that folder.

    Called again, it continues, or shows what is there. Raises InputError for a folder that holds another run, and
    :class:`memogen.training.Stopped` if it is stopped while it trains.
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
    """Play all acts, continuing an interrupted demo."""
    outcomes, spent = list[Outcome](), time.process_time()
    with _one_thread():
        for number, act in enumerate(ACTS, start=1):
            print("\n".join(["", f"{number}  {act.title}", *_lines(act.told, "   ")]), flush=True)
            begun = time.monotonic()
            with Bar(shown=console) as bar:
                outcomes.append(act.play(plan, folder, bar))
            for drawn in outcomes[-1].pictures:
                drawn.draw(LIGHT).save(folder / drawn.file)
            print(f"   {duration(time.monotonic() - begun)}", flush=True)
    write_page(folder / PAGE, _page(plan, folder, outcomes))
    kept = {
        "plan": plan.named(),
        "sentences": [answer.sentence for outcome in outcomes for answer in outcome.answers],
        "pictures": [drawn.file for outcome in outcomes for drawn in outcome.pictures],
        "processor_seconds": round(time.process_time() - spent, 1),
        "numbers": [[answer.question.measured, *answer.numbers] for outcome in outcomes for answer in outcome.answers],
    }
    write_page(folder / FOUND, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return kept


def _kept(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """The results of a finished demo of this plan in the folder, or None."""
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


def _page(plan: Plan, folder: Path, outcomes: Sequence[Outcome]) -> str:
    """The HTML page: what this run showed, the numbers behind it, the pictures of the acts, and the next commands."""
    answers = [answer for outcome in outcomes for answer in outcome.answers]
    rows = list[list[Cell | str]]()
    for answer in answers:
        asked, (here, beside, difference) = answer.question, answer.numbers
        rows.append([asked.measured, Cell(here, f" {asked.here}"), Cell(beside, f" {asked.beside}"), difference])
    told = (
        f"Trained with seed {plan.seed}: {plan.task_steps:,} steps for each pair of digits, {plan.steps:,} steps for all digits at once. "
        "± is one standard error, over samples or held-out pictures of this run; another seed trains other models. "
        "A difference counts from two standard errors on."
    )
    numbered = [Text(f"{number}. {answer.sentence}") for number, answer in enumerate(answers, start=1)]
    scores = Table(["Measured", "Found", "Held against", "Difference"], rows, style="stack")
    sections = [Section("What this run shows", (*numbered, scores, Text(told, soft=True)))]
    for number, (act, outcome) in enumerate(zip(ACTS, outcomes, strict=True), start=1):
        shown = [picture(partial(each.draw, CLEAR), each.caption, each.caption, scrolls=True) for each in outcome.pictures]
        sections.append(Section(f"{number}. {act.title}", (Text(act.told), *shown)))
    places = [*(arm_folder(folder, arm) for arm in ARMS), folder / "digits"]
    commands = Code("\n".join([*(f"memogen report {word(place)}" for place in places), *NEXT]))
    behind = Text("The runs behind this page are whole run folders, each with a report of its own:")
    return render("page.html", title="Three things that a memory does", sections=[*sections, Section("How to go on", (behind, commands))])


def _lines(words: str, indent: str) -> list[str]:
    """The words in lines as wide as the terminal or less; a number and its error stay on one line."""
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    return [line.replace(TIGHT, " ") for line in wrap(words, max(width, 40), initial_indent=indent, subsequent_indent=indent)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: as fast for such small networks, and the same bits on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
