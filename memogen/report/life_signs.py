"""The life signs of a run's memory: as a table of texts, of one run or of several side by side, and as a section of the page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from memogen.metrics.life_signs import LifeSign, life_signs
from memogen.types import InputError

from . import charts
from .history import Run, read_run
from .html import Html, element, escape, paragraph, section, table
from .scores import number
from .sections import themed

GRADIENT = charts.Panel(
    "Gradient that reaches a query", (("mean norm", "critic/query_gradient"),), "mean norm; near 0: the encoder learns nothing from the memory", 0
)


def run_signs(run: Run, of_slots: LifeSign | None = None) -> tuple[LifeSign, ...]:
    """The signs of a run, and at their end that of what its slots know, where it was looked at.

    Raises InputError where the run has no memory, or too few metrics.
    """
    slots, share = run.setting("model.memory.num_slots"), run.last("critic/real_slots")
    if not isinstance(slots, int) or share is None:
        raise InputError(f"run {run.path}: its config.yaml or metrics.jsonl tells of no memory: name a training run of a memoryGAN")
    try:
        found = life_signs(run.metrics, real_slots=round(slots * share))
    except InputError as error:
        raise InputError(f"run {run.path}: {error}") from error
    return (*found, of_slots) if of_slots else found


def signs_table(runs: Sequence[Path], of_slots: Sequence[LifeSign | None] = ()) -> list[list[str]]:
    """The head and a line for every sign: of one run all there is to tell, of several a column each. Raises InputError as :func:`run_signs`.

    ``of_slots``: what the slots of each run know, or None where nobody could look.
    """
    found = [run_signs(read_run(path), sign) for path, sign in zip_longest(runs, of_slots)]
    if len(found) == 1:
        return [["sign", "middle third", "last tenth", "limit", "alive"], *map(_line, found[0])]
    head = ["sign", "must be", *(path.resolve().name for path in runs)]
    rules = {sign.name: sign.rule for signs in found for sign in signs}
    cells = [{sign.name: _cell(sign) for sign in signs} for signs in found]
    return [head, *([name, rule, *(column.get(name, "-") for column in cells)] for name, rule in rules.items())]


def _line(sign: LifeSign) -> list[str]:
    limit = f"{sign.bound} {_text(sign.limit)}"
    return [sign.name, _text(sign.earlier), _text(sign.last), limit, "yes" if sign.alive else "no"]


def _cell(sign: LifeSign) -> str:
    """From the middle third to the last tenth."""
    course = _text(sign.last) if sign.earlier is None else f"{_text(sign.earlier)} to {_text(sign.last)}"
    return course if sign.alive else f"{course}, fails"


def _text(value: float | None) -> str:
    """Whole numbers, such as counts of slots and a limit of nothing at all, without decimals; whatever is above zero never as zero."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value.is_integer() else number(value)


def life_section(run: Run, of_slots: LifeSign | None = None) -> Html:
    """The table beside the gradient over training; nothing for a run without memory, and the reason where no verdict can be given."""
    if run.last("critic/real_slots") is None:
        return Html("")
    gradient = themed(lambda theme: charts.panel(run.metrics, GRADIENT, theme=theme), f"{GRADIENT.title} over training", f"{GRADIENT.reading}.")
    try:
        signs = run_signs(run, of_slots)
    except InputError as error:
        return section("Life signs", paragraph(f"No verdict: {error}", "soft"), element("div", gradient, style="charts"))
    failing = [sign.name for sign in signs if not sign.alive]
    verdict = f"Signs that fail: {', '.join(failing)}." if failing else "The memory is alive by all signs."
    rows = [[escape(text) for text in [*_line(sign), sign.rule]] for sign in signs]
    head = ["Sign", "Middle third", "Last tenth", "Limit", "Kept", "Must be"]
    told = "Means over the middle third and the last tenth of the run, of the gradient medians; what slots tell is asked of the saved model."
    listed = table(head, rows, told if of_slots else told.partition(";")[0] + ".", style="words")
    return section("Life signs", paragraph(verdict), listed, element("div", gradient, style="charts"))
