"""The command that runs a paper's table."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from memogen.cli.options import UsageError
from memogen.overrides import dotted

if TYPE_CHECKING:
    from memogen.runs.reproduce import Job, Plan


def reproduce(
    table: Annotated[str | None, "a table such as memory_gan/table2, or one recipe of it: memory_gan/table2/fashion_mnist"] = None,
    *,
    budget: Annotated[
        str, "smoke (minutes), short (hours on a CPU), long (minutes on a large GPU, where a table has it) or paper (hours there)"
    ] = "short",
    seeds: Annotated[int | None, "number of seeds; without it as many as the budget says", 1] = None,
    data: Annotated[Path | None, "the folder that holds the data sets' files; without it they are downloaded"] = None,
    out: Annotated[Path, "the folder of the runs and of TABLE.jsonl"] = Path("runs/reproduce"),
    variants: Annotated[str, "the rows wanted, comma-separated, or other variants of the same recipes; without it the paper's"] = "",
    extractor: Annotated[str | None, "scores in place of the data sets' own classifiers: inception-v3, resnet50=PATH, or a file of weights"] = None,
    list_: Annotated[bool, "list the tables and their rows"] = False,
    dry_run: Annotated[bool, "print the runs, their cost and their commands, then stop"] = False,
) -> None:
    """Train and score every row of a paper's table, and print it with the printed numbers beside ours.

    Rows are appended to OUT/TABLE.jsonl as each run ends. The same command again skips what is done and continues what was stopped.
    """
    if list_ or table is None:
        print(_listing())
        return
    from memogen.runs import reproduce as tables
    from memogen.training import NonFiniteLoss

    wanted = [name for name in variants.split(",") if name]
    planned = tables.plan(table, budget=budget, seeds=seeds, data=data, out=out, variants=wanted, extractor=extractor)
    if not planned.jobs:
        raise UsageError(f"{table}: nothing can be run: {planned.left_out[0] if planned.left_out else 'it has no such row'}")
    if dry_run:
        print(_description(planned))
        return
    try:
        tables.run(planned)
    except NonFiniteLoss:
        _show(planned)
        raise
    _show(planned)


def _show(planned: Plan) -> None:
    """The table as far as it has been run, and where it is kept."""
    from memogen.report.text import terminal_table

    if os.environ.get("RANK", "0") == "0":
        print(*(terminal_table(part) for part in planned.results().parts), sep="\n\n")
        print(f"\nrows  {planned.rows_file}\npage  {planned.rows_file.with_suffix('.html')}")


def _listing() -> str:
    from memogen.recipes.tables import TABLES

    lines = []
    for table in TABLES.values():
        lines.append(f"{table.name}: {table.title}")
        lines += [f"  {recipe:<26} {', '.join(dict.fromkeys(row.variant for row in table.rows if row.recipe == recipe))}" for recipe in table.recipes]
        others = [row.variant for row in table.rows if not row.recipe]
        lines += [f"  {'printed beside':<26} {', '.join(others)}"] if others else []
        lines += [f"  {table.note}"] if table.note else []
    return "\n".join(lines)


def _description(planned: Plan) -> str:
    from memogen.runs.reproduce import hours_of, in_words

    open_jobs = planned.open_jobs()
    hours = hours_of(open_jobs)
    where = " or ".join(sorted({job.budget.hardware for job in planned.jobs}))
    cost = f"about {in_words(hours)} on {where}" if hours is not None else "never measured: hours to days on one large GPU"
    lines = [f"{planned.table.name}: {len(open_jobs)} of {len(planned.jobs)} runs are to be done; {cost}"]
    lines += [f"left out: {line}" for line in planned.left_out]
    for job in planned.jobs:
        state = f"{job.recipe.training.steps:,} steps, {job.recipe.scoring.num_samples:,} samples" if job in open_jobs else "done"
        spent = f", about {in_words(job.budget.hours)}" if job.budget.hours is not None and job in open_jobs else ""
        lines += [f"{job.title}: {state}{spent}", f"  {_command(job)}"]
    return "\n".join([*lines, f"rows: {planned.rows_file}"])


def _command(job: Job) -> str:
    """The same training by itself: the recipe, and every option in which the budget differs from it."""
    from memogen import configs
    from memogen.recipes import RECIPES

    recipe = job.recipe
    plain = dotted(configs.to_dict(RECIPES[recipe.recipe](variant=recipe.variant)))
    changed = {name: value for name, value in dotted(configs.to_dict(recipe)).items() if value != plain[name] and name != "data.folder"}
    words = ["memogen", "train", recipe.recipe, "--variant", recipe.variant]
    words += ["--data", recipe.data.folder] if recipe.data.folder else []
    words += ["--out", str(job.folder)]
    return shlex.join(words + [word for name, value in changed.items() for word in (f"--{name}", json.dumps(value).strip('"'))])
