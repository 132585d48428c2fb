"""A table of a paper: all its runs one after another. A run that was stopped is continued, one that is done is skipped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..configs import suggest
from ..data import DATASETS
from ..metrics import append_rows
from ..metrics.extractors import own_extractor
from ..metrics.paired import moved
from ..metrics.registry import row_name
from ..metrics.rows import ResultRow
from ..recipes import RECIPES, Recipe, variants_of
from ..recipes.table import Budget, Table
from ..recipes.tables import TABLES, find_table
from ..report.history import read_rows
from ..report.page import write_results
from ..report.results import Results, gather
from ..training import NonFiniteLoss, runtime
from ..types import InputError
from . import tasks
from .configuration import Splits, with_images
from .folder import config_hash, leads, save_config
from .refusals import check_options, check_scoring
from .run import train

OUT = Path("runs") / "reproduce"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One run of a table: a recipe at a budget and a seed, and the run's folder."""

    recipe: Recipe
    budget: Budget
    budget_name: str
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.recipe.recipe} {self.recipe.variant}, seed {self.recipe.training.seed}"

    def finished(self, rows: Sequence[ResultRow]) -> bool:
        """Whether all rows of its folder are among ``rows``: a write may have been cut off."""
        wanted = config_hash(self.recipe), self.budget_name, self.recipe.training.seed
        there = {_known_by(row) for row in rows if (row.config, row.budget, row.seed) == wanted}
        return bool(there) and there.issuperset(_known_by(row) for row in self.made() if row.variant != "real")

    def made(self) -> list[ResultRow]:
        """The rows in its folder that are of its configuration."""
        return [row for row in read_rows(self.folder / "results.jsonl") if row.config == config_hash(self.recipe)]


@dataclass(frozen=True)
class Plan:
    """The jobs of a table, the file that collects their rows, and what is left out with the reason."""

    table: Table
    jobs: tuple[Job, ...]
    rows_file: Path
    left_out: tuple[str, ...] = ()

    def open_jobs(self) -> tuple[Job, ...]:
        """Those whose rows are not there yet."""
        rows = read_rows(self.rows_file)
        return tuple(job for job in self.jobs if not job.finished(rows))

    def with_images(self) -> Plan:
        """The jobs in the shapes of their images. A missing data set or extractor is refused here, before the first run."""
        splits = {job.recipe.data: Splits(job.recipe.data) for job in self.jobs}
        jobs = tuple(replace(job, recipe=with_images(job.recipe, splits[job.recipe.data])) for job in self.jobs)
        for recipe in {job.recipe.recipe: job.recipe for job in jobs}.values():
            check_scoring(recipe, splits[recipe.data])
        return replace(self, jobs=jobs)

    def results(self) -> Results:
        """The table as far as it has been run."""
        return gather(self.table.name, read_rows(self.rows_file))


def run(planned: Plan, *, console: bool = True) -> Results:
    """Train and score what is not done yet, and return the table with our numbers beside the printed ones.

    Rows are appended to the plan's file as each run ends; a run that was stopped continues. Raises InputError,
    :class:`memogen.training.Stopped` when asked to stop, and, after all others have run, NonFiniteLoss for the first run that diverged.
    """
    say: Say = (lambda text: print(text, file=sys.stderr, flush=True)) if console and leads() else (lambda text: None)
    for line in planned.left_out:
        say(f"left out: {line}")
    for job in planned.jobs[:1]:
        runtime.start(job.recipe.training)  # the processes meet before the images are fetched, which may take long
    planned = planned.with_images()
    jobs, diverged, began = planned.open_jobs(), list[NonFiniteLoss](), time.monotonic()
    say(f"{planned.table.name}: {len(planned.jobs) - len(jobs)} of {len(planned.jobs)} runs are done")
    for number, job in enumerate(jobs):
        left = _left(jobs[:number], jobs[number:], (time.monotonic() - began) / 3600)
        say(f"[{number + 1} of {len(jobs)}] {job.title}: {job.recipe.training.steps:,} steps; {left}")
        try:
            _run(job, planned.rows_file, console)
        except NonFiniteLoss as error:
            say(f"{job.title} diverged ({error}); on to the next run")
            diverged.append(error)
        _write_page(planned)
    _write_page(planned)
    if diverged:
        raise diverged[0]
    return planned.results()


def _write_page(planned: Plan) -> None:
    """The table as far as it has been run, beside its rows."""
    results = planned.results()
    if leads() and results.lines:
        write_results([results], planned.rows_file.with_suffix(".html"))


def plan(
    table: Table | str,
    *,
    budget: str = "short",
    seeds: int | None = None,
    data: str | Path | None = None,
    out: str | Path = OUT,
    variants: Sequence[str] = (),
    extractor: str | None = None,
) -> Plan:
    """The jobs of a table in the order of its rows. Nothing is written. A precision "auto" is decided once for all, or was by a run that has begun.

    ``table`` is a name of ``memogen.recipes.tables.TABLES``, narrowed to a recipe as in "memory_gan/table2/fashion_mnist", or a Table of your
    own; ``budget`` "smoke", "short", "paper" or, of a memoryGAN, "long"; ``seeds`` the number of seeds (default: the budget's); ``data`` the
    folder that holds the data sets' files (default: they are downloaded); ``variants`` the rows wanted (default: all); ``extractor`` scores in
    place of the data sets' own classifiers. Raises InputError.
    """
    found = find_table(table) if isinstance(table, str) else table
    whole = TABLES.get(found.name, found)
    found = found.of_variants(tuple(variants)) if variants else found
    folder = Path(out) / (found.runs or found.name) / budget
    jobs, left_out = [], []
    for row in {(row.recipe, row.variant): row for row in found.rows if row.recipe}.values():
        cost, known = found.budget(row.recipe, budget, row.variant), variants_of(row.recipe)
        if row.variant not in known:
            raise InputError(f"variants: {row.variant!r} is not a variant of {row.recipe}: {suggest(row.variant, known)}")
        recipe = _scored(found.scored(_at_home(RECIPES[row.recipe](variant=row.variant), data)), extractor)
        if not (recipe.scoring.judged or recipe.scoring.asked):
            left_out.append(f"{row.recipe}: no classifier of {recipe.data.name} ships with memogen: name another extractor")
            continue
        for seed in range(seeds or cost.seeds):
            name = f"{whole.folder_of(row.recipe)}-{row.variant}-{seed}"
            jobs.append(Job(cost.spent_on(recipe, seed=seed), cost, budget, folder / name))
    open_precision = [job.folder for job in jobs if job.recipe.training.precision == "auto"]
    jobs = [replace(job, recipe=replace(job.recipe, training=runtime.settled(job.recipe.training, *open_precision))) for job in jobs]
    for job in jobs:
        check_options(job.recipe, job.folder)
    return Plan(found, tuple(jobs), Path(out) / f"{found.name}.jsonl", tuple(dict.fromkeys(left_out)))


def _at_home(recipe: Recipe, data: str | Path | None) -> Recipe:
    """The recipe with its images in that folder, where they are not embedded."""
    if data is None:
        return recipe
    folder = Path(data).expanduser()
    if not folder.exists():
        raise InputError(f"data: {data}: there is no such folder: name the one that holds the data sets' files, or leave it out to download them")
    return recipe if DATASETS[recipe.data.name].embedded else replace(recipe, data=replace(recipe.data, folder=str(folder.resolve())))


def _scored(recipe: Recipe, extractor: str | None) -> Recipe:
    """The recipe scored by that extractor; else by its own, or by the classifier of its data where one ships. Unchanged where no metric needs one."""
    if set(recipe.scoring.metrics) <= set(recipe.scoring.asked):
        return recipe
    own = recipe.scoring.extractor or own_extractor(recipe.data.name)
    return replace(recipe, scoring=replace(recipe.scoring, extractor=extractor or own))


def _run(job: Job, rows_file: Path, console: bool) -> None:
    """Train and score one job; append its rows to the table's, with those of the real images where there are none yet.

    The complete configuration lies beside the rows under its hash. Methods that learn the same first task learn it once.
    """
    if leads():
        share_first_task(job.recipe, job.folder)
    train(job.recipe, out=job.folder, budget=job.budget_name, console=console)
    if not leads():
        return
    known = {_known_by(row) for row in read_rows(rows_file)}
    anywhere = replace(job.recipe, data=replace(job.recipe.data, folder=None))
    save_config(anywhere, rows_file.parent / "configs" / f"{config_hash(job.recipe)}.yaml")
    append_rows(rows_file, moved([row for row in job.made() if _known_by(row) not in known], job.folder, rows_file.parent))


def share_first_task(recipe: Recipe, folder: Path) -> bool:
    """Begin the run ``folder`` with the first task of a run beside it: see :func:`.tasks.shared_start`. ``recipe`` has the shape of its images."""
    return recipe.succession is not None and tasks.shared_start(tasks.Training(recipe, folder, console=False))


def _known_by(row: ResultRow) -> tuple[object, ...]:
    """What identifies a score; for one of real images the model does not matter."""
    own = () if row.variant == "real" else ("config", "seed", "task", "class")
    return *(row.get(key) for key in ("recipe", "variant", "budget", *own)), row_name(row)


def _left(done: Sequence[Job], ahead: Sequence[Job], spent: float) -> str:
    """The time for the jobs ahead: the budgets' hours, corrected by the hours ``spent`` on those that are done."""
    hours, planned = hours_of(ahead), sum(job.budget.hours or 0.0 for job in done)
    return "time left unknown" if hours is None else f"about {in_words(hours * (spent / planned if planned else 1.0))} left"


def hours_of(jobs: Sequence[Job]) -> float | None:
    """The forecast for all jobs together; None where one was never measured."""
    hours = [job.budget.hours for job in jobs]
    return None if None in hours else sum(hour for hour in hours if hour is not None)


def in_words(hours: float) -> str:
    """Hours, or minutes."""
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"
