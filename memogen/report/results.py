"""Result rows gathered into the lines of a table: means over seeds beside the printed numbers."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from memogen.metrics.registry import in_order, number_of, row_name, title
from memogen.metrics.rows import ResultRow
from memogen.recipes import mem_vae, memory_gan
from memogen.recipes.recipe import Claim
from memogen.recipes.tables import TABLES, claim_of, table_of
from memogen.types import InputError

from . import notes
from .history import cut_short, is_number, protocol_of, read_rows
from .parts import Column

Address = tuple[str, str, str, int]
"""Recipe, variant, budget and steps: what the rows of one line share."""

WIDE = 20  # columns of metrics; a wider table is split by recipe
OWN = ("--out", "--seeds", "--training.seed")
"""Options that differ between the runs of one line; the shown command leaves them out."""

LEGEND = (
    "± is the standard deviation between seeds or, where there is one seed, between the splits of its samples (of likelihoods and accuracies: the "
    "standard error over test images); in the paper's numbers it is the paper's. Networks are given with their trainable parameters. Processor "
    "seconds are those of training one run, hours those of all seeds together. Commands are shown without their seeds and the folder of the run."
)


@dataclass(frozen=True)
class Cell:
    """Our mean over ``seeds`` (None if the number is only printed) with its spread, and the paper's claim."""

    value: float | None
    spread: float | None
    claim: Claim | None
    seeds: int = 0

    def ours(self, seeds: int = 0) -> str:
        """Our number; it names its seeds if the line has more."""
        fewer = f" ({self.seeds} seed{'s' * (self.seeds > 1)})" if 0 < self.seeds < seeds else ""
        return _with_spread(self.value, self.spread) + fewer

    @property
    def paper(self) -> str:
        """The printed number."""
        return _with_spread(self.claim.value, self.claim.spread) if self.claim else "-"


@dataclass(frozen=True)
class Line:
    """One line of a table: a recipe's variant after ``steps`` (0 if unknown). ``recipe`` is empty for a method that only the paper ran.

    ``processor`` is the mean of the processor seconds of a run; ``command`` trained one of the runs.
    """

    recipe: str
    variant: str
    budget: str
    steps: int
    cells: Mapping[str, Cell]
    seeds: int = 0
    hours: float = 0.0
    parameters: str = ""
    processor: float | None = None
    command: str = ""
    extractor: str = ""

    @property
    def about(self) -> list[str]:
        """Recipe and variant as a reader sees them."""
        return [self.recipe or "others", "real images" if self.variant == "real" else self.variant]

    @property
    def cost(self) -> list[str]:
        """Budget, seeds, steps and hours."""
        if not self.seeds or self.variant == "real":  # images have no seeds, nor has a model without its run
            return ["-"] * 4
        if not self.steps:
            return [self.budget or "-", str(self.seeds), "-", "-"]
        return [self.budget or "-", str(self.seeds), f"{self.steps:,}", f"{self.hours:.2f}" if self.hours >= 0.01 else "<0.01"]

    @property
    def shown_command(self) -> str:
        """The command without the options of :data:`OWN`; empty for real images, which no command makes."""
        return "" if self.variant == "real" else shortened(self.command)


@dataclass(frozen=True)
class Results:
    """A table of results: one .jsonl file, or the rows of one reproduction. ``notes`` stand under it."""

    name: str
    lines: tuple[Line, ...]
    title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """The name and, if there is one, the title."""
        return f"{self.name}: {self.title}" if self.title else self.name

    @property
    def metrics(self) -> list[str]:
        """The metrics of all lines, in the order of the registry."""
        return in_order(metric for line in self.lines for metric in line.cells)

    @property
    def parts(self) -> tuple[Results, ...]:
        """The table itself; a table too wide to read as one for each recipe, with the notes under the last."""
        recipes = list(dict.fromkeys(line.recipe for line in self.lines))
        if len(self.metrics) <= WIDE or len(recipes) < 2:
            return (self,)
        parts = []
        for recipe in recipes:
            lines = tuple(line for line in self.lines if line.recipe == recipe)
            parts.append(replace(self, name=f"{self.name}/{recipe.rpartition('/')[2]}", lines=lines, notes=()))
        return *parts[:-1], replace(parts[-1], notes=self.notes)

    @property
    def commands(self) -> list[str]:
        """The shown commands of all lines, each once."""
        return list(dict.fromkeys(line.shown_command for line in self.lines if line.shown_command))

    @property
    def columns(self) -> list[Column]:
        """The columns of :meth:`row`."""
        found = [Column("recipe"), Column("variant")]
        if self._mixed:
            found.append(Column("scored by"))
        for metric in self.metrics:
            name, better = title(metric), number_of(metric).better or ""
            found += [Column(f"paper: {name}", better), Column(f"ours: {name}", better)] if self._claimed(metric) else [Column(name, better)]
        if self._sized:
            found += [Column("networks"), Column("processor s")]
        return [*found, *map(Column, ("budget", "seeds", "iterations", "hours"))]

    @property
    def head(self) -> list[str]:
        """The titles of the columns."""
        return [column.title for column in self.columns]

    def row(self, line: Line) -> list[str]:
        """One line as texts. A metric has a second column, before ours, if the paper printed one of its numbers."""
        texts = line.about
        if self._mixed:
            texts.append(line.extractor or "-")
        for metric in self.metrics:
            cell = line.cells.get(metric)
            if self._claimed(metric):
                texts.append(cell.paper if cell else "-")
            texts.append(cell.ours(line.seeds) if cell else "-")
        if self._sized:
            texts += [line.parameters or "-", f"{line.processor:,.0f}" if line.processor else "-"]
        return [*texts, *line.cost]

    @property
    def _mixed(self) -> bool:
        """Whether different extractors scored lines of one recipe, so that these cannot be compared."""
        pairs = {(line.recipe, line.extractor) for line in self.lines if line.extractor}
        return len(pairs) > len({recipe for recipe, _ in pairs})

    @property
    def _sized(self) -> bool:
        """Whether any line has the size of its networks; rows of version 0.1 have none."""
        return any(line.parameters for line in self.lines)

    def _claimed(self, metric: str) -> bool:
        return any(metric in line.cells and line.cells[metric].claim for line in self.lines)


def read_results(path: Path) -> list[Results]:
    """A table for one .jsonl file, or for every such file in a folder and below, by name. Raises InputError if there are no rows.

    Files in run folders, and below a folder "archive", are left out; a folder that holds only runs is one table of all their rows.
    """
    root, files = path.parent, [path]
    if path.is_dir():
        root, files = path, sorted(file for file in path.rglob("*.jsonl") if "archive" not in file.relative_to(path).parts)
    tables = []
    for file in files:
        if not (file.parent / "config.yaml").is_file():
            whole = "/".join(file.resolve().with_suffix("").parts[-2:])  # the whole name of a paper's table
            tables.append(gather(whole if table_of(whole) else file.relative_to(root).with_suffix("").as_posix(), read_rows(file)))
    if not any(table.lines for table in tables):
        tables = [gather(path.resolve().name, [row for file in files for row in read_rows(file)])]
    tables = [table for table in tables if table.lines]
    if not tables:
        rows = [row for file in files for row in read_rows(file) if "metric" in row]
        if any(row.class_ is not None for row in rows):
            raise InputError(f"{path}: holds {len(rows)} result rows, all of single classes: name their run's folder, whose page shows them")
        raise InputError(f"{path}: holds no result rows of a model: name a .jsonl file of results, a folder of them, or a run's folder")
    return tables


def gather(name: str, rows: Iterable[Mapping[str, Any]]) -> Results:
    """The table ``name`` of ``rows``; a name of ``memogen.recipes.tables.TABLES`` adds the methods that only the paper ran."""
    known = table_of(name)
    shown = [
        row
        for row in map(ResultRow.read, rows)
        if number_of(row_name(row)).tabled and is_number(row.value) and row.task is None and row.class_ is None
    ]
    budgets: dict[tuple[str, str, int], set[str]] = {}
    for row in shown:
        recipe, variant, budget, steps = _address(row)
        budgets.setdefault((recipe, variant, steps), set()).update({budget} - {""})
    groups: dict[Address, dict[str, list[ResultRow]]] = {}
    for row in shown:
        recipe, variant, budget, steps = _address(row)
        named = budgets[recipe, variant, steps]
        if not budget and len(named) == 1:  # rows of train and evaluate name no budget: they join the only one there is
            (budget,) = named
        extractor = str(protocol_of(row).get("extractor") or "")
        groups.setdefault((recipe, variant, budget, steps), {}).setdefault(extractor, []).append(row)
    lines = []
    for address, by_extractor in groups.items():
        unscored = by_extractor.pop("", [])  # numbers without an extractor, such as likelihoods, stand in the line of the first one
        for extractor, group in (by_extractor or {"": []}).items():
            lines.append(_line(address, extractor, [*group, *unscored]))
            unscored = []
    if known and lines:
        others = (row for row in known.rows if row.claim and not row.recipe)
        lines += [Line("", row.variant, "", 0, {row.claim.metric: Cell(None, None, row.claim)}) for row in others if row.claim]
    lines.sort(key=_rank)
    counts = notes.judged(known.criterion, lines) if known and known.criterion else ()
    note = " ".join(filter(None, (known.note if known else "", *counts)))
    scored = " ".join(notes.scored(shown))
    return Results(name, tuple(lines), known.title if known else "", tuple(filter(None, (note, f"Scored: {scored}" if scored else ""))))


def _address(row: ResultRow) -> Address:
    steps = int(row.steps) if is_number(row.steps) else 0
    return str(row.recipe or row.get("model") or "-"), str(row.variant or "-"), str(row.budget or ""), steps


def _line(address: Address, extractor: str, rows: Sequence[ResultRow]) -> Line:
    recipe, variant, budget, steps = address
    by_column: dict[str, list[ResultRow]] = {}
    for row in rows:
        by_column.setdefault(row_name(row), []).append(row)
    cells = {column: _cell(recipe, variant, column, group) for column, group in by_column.items()}
    by_seed = {row.seed: row for row in rows if row.seed is not None}
    hours = sum(row.training_seconds or 0 for row in by_seed.values()) / 3600
    spent = [float(row.processor_seconds) for row in by_seed.values() if is_number(row.processor_seconds)]
    processor = statistics.fmean(spent) if len(spent) == len(by_seed) and spent else None
    networks: Mapping[str, int] = next((row.parameters for row in rows if isinstance(row.parameters, Mapping)), {})
    sizes = ", ".join(f"{name} {size:,}" for name, size in networks.items())
    # The command that trained the model; evaluate made further numbers of it.
    command = min((str(row.command or "") for row in rows), key=lambda command: (command.startswith("memogen evaluate"), command), default="")
    return Line(recipe, variant, budget, steps, cells, len(by_seed), hours, sizes, processor, command, extractor)


def _cell(recipe: str, variant: str, column: str, rows: Sequence[ResultRow]) -> Cell:
    """The mean over seeds of the rows scored as the first one was: on the same split, with as many samples. The newest row of a seed counts.

    An interrupted scoring counts only if there is no other.
    """

    def way(row: ResultRow) -> tuple[object, ...]:
        protocol = protocol_of(row)
        return row.split, protocol.get("num_samples"), protocol.get("importance_samples")

    whole = [row for row in rows if not cut_short(row)] or rows
    newest = list({row.seed: row for row in whole if way(row) == way(whole[0])}.values())
    values = [float(row.value) for row in newest if row.value is not None]
    split = newest[0].spread
    spread = None if number_of(column).counted else statistics.stdev(values) if len(values) > 1 else split if is_number(split) else None
    printed = newest[0].paper
    claim = claim_of(recipe, variant, column) or (Claim(column, printed, None, "") if is_number(printed) else None)
    return Cell(statistics.fmean(values), spread, claim, len(newest))


def _rank(line: Line) -> tuple[bool, int, str, bool, int, int]:
    """The paper's other methods first; then by recipe, real images last, by steps and the papers' order of variants."""
    recipes, variants = _order()
    variant = variants.get(line.variant, len(variants))
    return bool(line.recipe), recipes.get(line.recipe, len(recipes)), line.recipe, line.variant == "real", line.steps, variant


@cache
def _order() -> tuple[dict[str, int], dict[str, int]]:
    """The places of recipes and variants in the papers' tables."""
    rows = [row for table in TABLES.values() for row in table.rows]
    recipes = dict.fromkeys(row.recipe for row in rows)
    variants = dict.fromkeys([*(row.variant for row in rows), *memory_gan.VARIANTS, *mem_vae.VARIANTS])
    return {name: place for place, name in enumerate(recipes)}, {name: place for place, name in enumerate(variants)}


def _with_spread(value: float | None, spread: float | None) -> str:
    """Both with the decimals that suit the value."""
    if value is None:
        return "-"
    decimals = 0 if abs(value) >= 1000 else 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4
    return f"{value:,.{decimals}f} ± {spread:,.{decimals}f}" if spread is not None else f"{value:,.{decimals}f}"


def shortened(command: str) -> str:
    """The command without the options of :data:`OWN`; unchanged if it cannot be split into words."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return shlex.join(word for before, word in zip(["", *words], words, strict=False) if before not in OWN and word.partition("=")[0] not in OWN)
