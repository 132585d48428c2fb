"""Result rows gathered into the lines of a table: means over seeds beside the printed numbers. Markdown, text and HTML are made from these."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memogen.metrics.registry import in_order, number_of, row_name, title
from memogen.metrics.rows import ResultRow
from memogen.recipes import mem_vae, memory_gan
from memogen.recipes.recipe import Claim
from memogen.recipes.table import Table
from memogen.recipes.tables import TABLES, claim_of, table_of
from memogen.types import InputError

from .criterion import sentences
from .history import cut_short, is_number, protocol_of, read_rows
from .parts import Column

Address = tuple[str, str, str, int]

WIDE = 20  # columns of metrics

LEGEND = (
    "± is the standard deviation between seeds or, where there is one seed, between the splits of its samples (of likelihoods and accuracies: the "
    "standard error over test images); in the paper's numbers it is the paper's. Networks are given with their trainable parameters. Processor "
    "seconds are those of training one run, hours those of all seeds together. Commands are shown without their seeds and the folder of the run."
)


@dataclass(frozen=True)
class Cell:
    """One number of ours, the mean of so many ``seeds``, None where it is only printed; and the paper's."""

    value: float | None
    spread: float | None
    claim: Claim | None
    seeds: int = 0

    def ours(self, seeds: int = 0) -> str:
        """Told to be of fewer seeds than the others of its line, where it is."""
        fewer = f" ({self.seeds} seed{'s' * (self.seeds > 1)})" if 0 < self.seeds < seeds else ""
        return _with_spread(self.value, self.spread) + fewer

    @property
    def paper(self) -> str:
        return _with_spread(self.claim.value, self.claim.spread) if self.claim else "-"


@dataclass(frozen=True)
class Line:
    """One row of a table: a recipe's variant after so many steps, 0 where none are known. ``recipe`` is empty for a method of others.

    ``command`` is one that made it, as typed.
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
        """Recipe and variant as a reader should see them."""
        return [self.recipe or "others", "real images" if self.variant == "real" else self.variant]

    @property
    def cost(self) -> list[str]:
        """Budget, seeds, steps and hours."""
        if not self.seeds or self.variant == "real":  # images of any origin have no seeds, nor has a model without its run
            return ["-"] * 4
        if not self.steps:
            return [self.budget or "-", str(self.seeds), "-", "-"]
        return [self.budget or "-", str(self.seeds), f"{self.steps:,}", f"{self.hours:.2f}" if self.hours >= 0.01 else "<0.01"]

    @property
    def size(self) -> list[str]:
        """The networks' trainable parameters, and the processor seconds of a run."""
        return [self.parameters or "-", "-" if not self.processor else f"{self.processor:,.0f}"]

    @property
    def shown_command(self) -> str:
        """As :data:`LEGEND` says; empty for real images, which no command makes."""
        return "" if self.variant == "real" else shortened(self.command)


@dataclass(frozen=True)
class Results:
    """A table of results: one .jsonl file, or the rows of one reproduction."""

    name: str
    lines: tuple[Line, ...]
    title: str = ""
    note: str = ""
    scored: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What stands under the table: between our numbers and the printed ones, how ours were scored, and when and where they were made."""
        return [*([self.note] if self.note else []), *(["Scored: " + " ".join(self.scored)] if self.scored else [])]

    @property
    def metrics(self) -> list[str]:
        """Those of the lines, in the order of the registry."""
        return in_order(metric for line in self.lines for metric in line.cells)

    @property
    def parts(self) -> tuple[Results, ...]:
        """The table itself; where it is too wide to be read, one for each recipe, the last with the notes of all."""
        recipes = list(dict.fromkeys(line.recipe for line in self.lines))
        if len(self.metrics) <= WIDE or len(recipes) < 2:
            return (self,)
        single = [replace(self, lines=tuple(line for line in self.lines if line.recipe == recipe), note="", scored=()) for recipe in recipes]
        named = [replace(part, name=f"{self.name}/{recipe.rpartition('/')[2]}") for part, recipe in zip(single, recipes, strict=True)]
        return *named[:-1], replace(named[-1], note=self.note, scored=self.scored)

    @property
    def head(self) -> list[str]:
        """The titles of :meth:`row`."""
        scored = ["scored by"] if self._mixed else []
        titles = [title for metric in self.metrics for title in self._titles(metric)]
        sized = ["networks", "processor s"] if self._sized else []
        return ["recipe", "variant", *scored, *titles, *sized, "budget", "seeds", "iterations", "hours"]

    @property
    def commands(self) -> list[str]:
        """What made the lines, each command once."""
        return list(dict.fromkeys(line.shown_command for line in self.lines if line.shown_command))

    @property
    def columns(self) -> list[Column]:
        """The same with the way in which each metric improves."""
        ways = {title: number_of(metric).better or "" for metric in self.metrics for title in self._titles(metric)}
        return [Column(title, ways.get(title, "")) for title in self.head]

    def row(self, line: Line) -> list[str]:
        """One line as texts; a metric has a second column, before ours, where the paper printed one of its numbers."""
        cells = [text for metric in self.metrics for text in self._texts(metric, line)]
        scored = [line.extractor or "-"] if self._mixed else []
        return [*line.about, *scored, *cells, *(line.size if self._sized else []), *line.cost]

    @property
    def _mixed(self) -> bool:
        """Whether lines of one recipe were scored by different extractors, so that they cannot be compared."""
        pairs = {(line.recipe, line.extractor) for line in self.lines if line.extractor}
        return len(pairs) > len({recipe for recipe, _ in pairs})

    @property
    def _sized(self) -> bool:
        """Whether any line tells the size of its networks; rows of version 0.1 do not."""
        return any(line.parameters for line in self.lines)

    def _claimed(self, metric: str) -> bool:
        return any(metric in line.cells and line.cells[metric].claim for line in self.lines)

    def _titles(self, metric: str) -> list[str]:
        name = title(metric)
        return [f"paper: {name}", f"ours: {name}"] if self._claimed(metric) else [name]

    def _texts(self, metric: str, line: Line) -> list[str]:
        cell = line.cells.get(metric)
        ours = cell.ours(line.seeds) if cell else "-"
        return [cell.paper if cell else "-", ours] if self._claimed(metric) else [ours]


def read_results(path: Path) -> list[Results]:
    """A table for every .jsonl file of rows in a folder and below, in the order of their names, or for the one file. Raises InputError.

    What lies inside run folders, or below in a folder "archive", is left out; a folder that holds nothing but runs is one table of them all.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.jsonl") if "archive" not in file.relative_to(path).parts)
    own = [file for file in files if not (file.parent / "config.yaml").is_file()]
    tables = [gather(_name(file, path), read_rows(file)) for file in own]
    if not any(table.lines for table in tables):
        tables = [gather(path.resolve().name, [row for file in files for row in read_rows(file)])]
    tables = [table for table in tables if table.lines]
    if not tables:
        raise InputError(f"{path}: {_no_table([row for file in files for row in read_rows(file) if 'metric' in row])}")
    return tables


def _no_table(rows: Sequence[ResultRow]) -> str:
    """Why there is nothing to show, and what to name instead."""
    if any(row.class_ is not None for row in rows):
        return f"holds {len(rows)} result rows, all of single classes: name their run's folder, whose page shows them"
    return "holds no result rows of a model: name a .jsonl file of results, a folder of them, or a run's folder"


def _name(file: Path, root: Path) -> str:
    """What a file's table is called: a paper's table by its whole name, else the path below ``root``."""
    whole = "/".join(file.resolve().with_suffix("").parts[-2:])
    return whole if table_of(whole) else file.relative_to(root if root.is_dir() else root.parent).with_suffix("").as_posix()


def gather(name: str, rows: Iterable[Mapping[str, Any]]) -> Results:
    """The table of that name from its rows; a name of ``memogen.recipes.tables.TABLES`` adds the methods of others that the paper printed."""
    known = table_of(name)
    shown = [
        row
        for row in map(ResultRow.read, rows)
        if number_of(row_name(row)).tabled and is_number(row.value) and row.task is None and row.class_ is None
    ]
    budgets = _budgets(shown)
    groups: dict[Address, dict[str, list[ResultRow]]] = {}
    for row in shown:
        recipe, variant, budget, steps = _address(row)
        named = budget or budgets.get((recipe, variant, steps), "")
        groups.setdefault((recipe, variant, named, steps), {}).setdefault(_extractor(row), []).append(row)
    lines = [_line(address, extractor, group) for address, by_extractor in groups.items() for extractor, group in _joined(by_extractor).items()]
    lines += _others(known) if known and lines else []
    title, note = (known.title, known.note) if known else ("", "")
    counts = " ".join(sentences(known.criterion, sorted(lines, key=_rank))) if known and known.criterion else ""
    return Results(name, tuple(sorted(lines, key=_rank)), title, " ".join(filter(None, (note, counts))), _scored(shown))


def _scored(rows: Sequence[ResultRow]) -> tuple[str, ...]:
    """What the rows say of their scoring, in the order of the columns."""
    columns = in_order(map(row_name, rows))
    ordered = sorted(rows, key=lambda row: (row.variant == "real", columns.index(row_name(row))))
    return *scored_by((title(row_name(row)), row) for row in ordered), *made_at(rows)


def _budgets(rows: Iterable[ResultRow]) -> dict[tuple[str, str, int], str]:
    """The only budget that rows of a recipe, variant and number of steps name: those that name none, made by train or evaluate, stand with them."""
    named: dict[tuple[str, str, int], set[str]] = {}
    for recipe, variant, budget, steps in map(_address, rows):
        named.setdefault((recipe, variant, steps), set()).update({budget} - {""})
    return {address: next(iter(budgets)) for address, budgets in named.items() if len(budgets) == 1}


def _address(row: ResultRow) -> Address:
    """Recipe, variant, budget and steps: what the rows of one line share."""
    steps = row.steps
    return (
        str(row.recipe or row.get("model") or "-"),
        str(row.variant or "-"),
        str(row.budget or ""),
        int(steps) if is_number(steps) else 0,
    )


def _extractor(row: ResultRow) -> str:
    """What scored the row; empty for a number that needs none, such as a likelihood."""
    return str(protocol_of(row).get("extractor") or "")


def _joined(by_extractor: Mapping[str, list[ResultRow]]) -> dict[str, list[ResultRow]]:
    """Numbers that need no extractor stand in the line of the first one."""
    named = {name: rows for name, rows in by_extractor.items() if name}
    first = next(iter(named), "")
    return {name: rows + (by_extractor.get("", []) if name == first else []) for name, rows in (named or {"": []}).items()}


def _line(address: tuple[str, str, str, int], extractor: str, rows: Sequence[ResultRow]) -> Line:
    recipe, variant, budget, steps = address
    cells = {column: _cell(recipe, variant, column, [row for row in rows if row_name(row) == column]) for column in set(map(row_name, rows))}
    by_seed = {row.seed: row for row in rows if row.seed is not None}
    hours = sum(row.training_seconds or 0 for row in by_seed.values()) / 3600
    spent = [float(row.processor_seconds) for row in by_seed.values() if is_number(row.processor_seconds)]
    processor = statistics.fmean(spent) if len(spent) == len(by_seed) and spent else None
    command = training_command(str(row.command or "") for row in rows)
    return Line(recipe, variant, budget, steps, cells, len(by_seed), hours, _networks(rows), processor, command, extractor)


def _networks(rows: Sequence[ResultRow]) -> str:
    """Each network with its trainable parameters; empty where the rows are of a time that did not count them."""
    counted: Mapping[str, int] = next((row.parameters for row in rows if isinstance(row.parameters, Mapping)), {})
    return ", ".join(f"{name} {size:,}" for name, size in counted.items())


def _cell(recipe: str, variant: str, column: str, rows: Sequence[ResultRow]) -> Cell:
    """Mean over seeds; the newest row of a seed counts, among those that are scored alike."""
    newest = list({row.seed: row for row in _alike(rows)}.values())
    values = [float(row.value) for row in newest if row.value is not None]
    split = newest[0].spread
    spread = None if number_of(column).counted else statistics.stdev(values) if len(values) > 1 else split if is_number(split) else None
    printed = newest[0].paper
    claim = claim_of(recipe, variant, column) or (Claim(column, printed, None, "") if is_number(printed) else None)
    return Cell(statistics.fmean(values), spread, claim, len(newest))


def _alike(rows: Sequence[ResultRow]) -> Sequence[ResultRow]:
    """The rows that were scored as the first one was: on the same split, by as many samples. An interrupted one counts where no other is there."""
    whole = [row for row in rows if not cut_short(row)] or rows
    return [row for row in whole if _way(row) == _way(whole[0])]


def _way(row: ResultRow) -> tuple[object, ...]:
    protocol = protocol_of(row)
    return row.split, protocol.get("num_samples"), protocol.get("importance_samples")


def _others(table: Table) -> list[Line]:
    return [Line("", row.variant, "", 0, {row.claim.metric: Cell(None, None, row.claim)}) for row in table.rows if row.claim and not row.recipe]


def _rank(line: Line) -> tuple[bool, int, str, bool, int, int]:
    """Methods of others by what they reach; then by recipe, real images last, by steps and the papers' order of variants."""
    recipes = list(dict.fromkeys(row.recipe for table in TABLES.values() for row in table.rows))
    variants = list(dict.fromkeys([*(row.variant for table in TABLES.values() for row in table.rows), *memory_gan.VARIANTS, *mem_vae.VARIANTS]))
    place = [names.index(name) if name in names else len(names) for name, names in ((line.recipe, recipes), (line.variant, variants))]
    return bool(line.recipe), place[0], line.recipe, line.variant == "real", line.steps, place[1]


def _with_spread(value: float | None, spread: float | None) -> str:
    """Both with the decimals that suit the value."""
    if value is None:
        return "-"
    decimals = 0 if abs(value) >= 1000 else 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4
    return f"{value:,.{decimals}f} ± {spread:,.{decimals}f}" if spread is not None else f"{value:,.{decimals}f}"


OWN = ("--out", "--seeds", "--training.seed")
"""Options that say where one run lies and which of the line's seeds it has."""


def shortened(command: str) -> str:
    """The command without these options; as it is where it is no command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    kept = [word for before, word in zip(["", *words], words, strict=False) if before not in OWN and word.partition("=")[0] not in OWN]
    return shlex.join(kept)


def training_command(commands: Iterable[str]) -> str:
    """The one that made the model, among those that made a line's numbers; the first by name where several did."""
    return min(commands, key=lambda command: (command.startswith("memogen evaluate"), command), default="")


def scored_by(rows: Iterable[tuple[str, ResultRow]]) -> list[str]:
    """A sentence for each recipe. ``rows`` are (title of the metric, row) in the order of the table's columns."""
    by_recipe: dict[str, dict[str, dict[str, list[str]]]] = {}
    for name, row in rows:
        whose = f"{row.recipe or row.get('model') or '-'}{_real(row)}"
        titles = by_recipe.setdefault(whose, {}).setdefault(_judge(row), {}).setdefault(_count(row), [])
        titles += [name] if name not in titles else []
    return [f"{whose}: {'; '.join(_in_words(judge, counts) for judge, counts in judges.items())}." for whose, judges in by_recipe.items()]


def made_at(rows: Iterable[ResultRow]) -> list[str]:
    """The days and the machines, of the rows that tell them; nothing where none does."""
    rows = list(rows)
    dated = [row for row in rows if row.date and row.hardware]
    days, machines = sorted({str(row.date) for row in dated}), dict.fromkeys(str(row.hardware) for row in dated)
    if not dated:
        return []
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [f"{'Made' if len(dated) == len(rows) else 'Rows that tell it were made'} {span} on {'; '.join(machines)}."]


def _real(row: ResultRow) -> str:
    """That it speaks of real images, and of which part of the data; empty where it speaks of a model."""
    if row.variant != "real":
        return ""
    images = protocol_of(row).get("images")
    return f", real images{' of the ' + str(images['split']) + ' split' if isinstance(images, Mapping) and 'split' in images else ''}"


def _in_words(judge: str, counts: Mapping[str, Sequence[str]]) -> str:
    numbers = ", ".join(f"{', '.join(titles)} of {count}" if count else ", ".join(titles) for count, titles in counts.items())
    return f"{numbers}{judge}"


def _judge(row: ResultRow) -> str:
    """By what, and against which part of the data."""
    protocol, split = protocol_of(row), row.split
    right = f" ({100 * protocol['extractor_accuracy']:.1f} % right)" if is_number(protocol.get("extractor_accuracy")) else ""
    judge = f", by {protocol['extractor']}{right}" if protocol.get("extractor") else ""
    return f"{judge}, {'compared with the ' if judge else 'the '}{split} split" if split else judge


def _count(row: ResultRow) -> str:
    """How many samples, or images with so many importance samples each; empty where it is not told, or none were needed."""
    protocol = protocol_of(row)
    count, importance = protocol.get("num_samples"), protocol.get("importance_samples")
    if not is_number(count) or not count:
        return ""
    if is_number(importance):
        return f"{count:,} images by {importance:,} samples each"
    return f"{count:,} {'images' if protocol.get('extractor') is None else 'samples'}"
