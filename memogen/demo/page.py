"""The page that the demo leaves: what this run showed, the numbers behind it, and the pictures of its acts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..report.grid import CLEAR
from ..report.parts import Cell, Code, Part, Section, Table, Text, render
from ..report.sections import picture, word
from .acts import ACTS, Act, Answer, Outcome
from .plan import Plan


def text(plan: Plan, folder: Path, outcomes: Sequence[Outcome], commands: Sequence[str]) -> str:
    """The whole HTML document, which asks for nothing outside itself."""
    answers = [answer for outcome in outcomes for answer in outcome.answers]
    acts = [_act(number, act, outcome) for number, (act, outcome) in enumerate(zip(ACTS, outcomes, strict=True), start=1)]
    return render("page.html", title="Three things that a memory does", sections=[_shows(plan, answers), *acts, _next(folder, commands)])


def _shows(plan: Plan, answers: Sequence[Answer]) -> Section:
    told = (
        f"Trained with seed {plan.seed}: {plan.task_steps:,} steps for each pair of digits, {plan.steps:,} steps for all digits at once. "
        "± is one standard error, over samples or held-out pictures of this run; another seed trains other models. "
        "A difference counts from two standard errors on."
    )
    sentences = [Text(f"{number}. {answer.sentence}") for number, answer in enumerate(answers, start=1)]
    return Section("What this run shows", (*sentences, _scores(answers), Text(told, soft=True)))


def _scores(answers: Sequence[Answer]) -> Table:
    rows: list[list[Cell | str]] = []
    for answer in answers:
        here, beside, difference = answer.numbers
        asked = answer.question
        rows.append([asked.measured, Cell(here, f" {asked.here}"), Cell(beside, f" {asked.beside}"), difference])
    return Table(["Measured", "Found", "Held against", "Difference"], rows, style="stack")


def _act(number: int, act: Act, outcome: Outcome) -> Section:
    shown: list[Part] = [picture(partial(each.draw, CLEAR), each.caption, each.caption, scrolls=True) for each in outcome.pictures]
    return Section(f"{number}. {act.title}", (Text(act.told), *shown))


def _next(folder: Path, commands: Sequence[str]) -> Section:
    runs = [f"memogen report {word(folder / name)}" for name in ("with_replay", "without_replay", "digits")]
    return Section(
        "How to go on", (Text("The runs behind this page are whole run folders, each with a report of its own:"), Code("\n".join([*runs, *commands])))
    )
