"""The commands about result rows: compare, reproduce, report."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from memogen.cli.files import choose_data, recipe_of
from memogen.cli.options import OwnData
from memogen.errors import InputError

if TYPE_CHECKING:
    from memogen.metrics.paired import PerImage
    from memogen.runs.reproduce import Job, Plan

SIDE = "a run folder, or several seeds of one model, comma-separated; with --rows the name of a variant"


def compare(
    first: Annotated[str, SIDE],
    second: Annotated[str, "the same for the other model"],
    *,
    rows: Annotated[Path | None, "a .jsonl file of result rows that holds both, such as that of a reproduced table"] = None,
    recipe: Annotated[str | None, "the recipe, if --rows holds several"] = None,
    budget: Annotated[str | None, "the budget, if --rows holds several"] = None,
    metric: Annotated[str, "what to compare: log_likelihood or elbo"] = "log_likelihood",
) -> None:
    """Print by how much the first model is better than the second on the same images, with the standard error over pairs.

    Both must have been scored by nll on the same images, binarised by the same seed.
    """
    from memogen.metrics.paired import paired

    if rows is not None:
        sides = [_of_variant(rows, side, recipe, budget, metric) for side in (first, second)]
    else:
        sides = [_of_runs(side, metric) for side in (first, second)]
    seeds = sorted(sides[0], key=str) if set(sides[0]) == set(sides[1]) else []  # else all runs of one side against all of the other
    ordered = [[side[seed] for seed in seeds] or list(side.values()) for side in sides]
    found = paired(*ordered)
    samples = ordered[0][0].settings.get("importance_samples")
    print(f"{metric} of {found.num_images:,} images, {samples:,} importance samples each" if isinstance(samples, int) else metric)
    for name, value, side in ((first, found.first, ordered[0]), (second, found.second, ordered[1])):
        print(f"{value:>10.3f}  {name}{f', mean of {len(side)} runs' if len(side) > 1 else ''}")
    times = f", {abs(found.mean) / found.error:.1f} times it" if found.error > 0 else ""
    print(f"{found.mean:>+10.3f} ± {found.error:.3f} (standard error over the images){times}")
    if len(seeds) > 1:
        pairs = ", ".join(f"{value:+.3f}" for value in found.by_seed)
        spread = f" ± {found.seed_error:.3f} between them" if math.isfinite(found.seed_error) else ""
        print(f"pairs of runs (seeds {', '.join(map(str, seeds))}): {pairs}{spread}")


def _of_runs(names: str, metric: str) -> dict[object, PerImage]:
    """The per-image scores that the newest rows of run folders kept, by seed."""
    from memogen.metrics.paired import per_image_of
    from memogen.models.outline import outline
    from memogen.report.history import read_rows
    from memogen.types import LikelihoodModel

    found: dict[object, PerImage] = {}
    for name in names.split(","):
        folder = Path(name).expanduser()
        recipe = recipe_of(name) if folder.is_dir() else None
        if recipe is not None and not isinstance(outline(recipe.model), LikelihoodModel):
            raise InputError(
                f"{name}: a model of {recipe.recipe} gives images no likelihood, by which runs are compared; memogen report shows its scores"
            )
        if not (folder / "results.jsonl").is_file():
            raise InputError(f"{name}: no run folder with results.jsonl; name runs that were scored by nll, or give --rows and two variants")
        kept = per_image_of(read_rows(folder / "results.jsonl"), folder, metric=metric)
        if not kept:
            raise InputError(f"{name}: its rows keep no {metric} of single images; score it: memogen evaluate {name} --metrics nll")
        for seed, scores in kept.items():
            found[seed if seed not in found else (seed, name)] = scores
    return found


def _of_variant(rows: Path, variant: str, recipe: str | None, budget: str | None, metric: str) -> dict[object, PerImage]:
    """The per-image scores that the rows of a variant kept, by seed."""
    from memogen.metrics.paired import per_image_of
    from memogen.report.history import read_rows

    if not rows.is_file():
        raise InputError(f"--rows {rows}: no such file; name the .jsonl file of a reproduced table")
    asked = [row for row in read_rows(rows) if row.variant == variant and row.metric == metric]
    for key, wanted in (("recipe", recipe), ("budget", budget)):
        known = sorted({str(row.get(key)) for row in asked})
        if wanted is None and len(known) > 1:
            raise InputError(f"--{key}: {rows} holds {variant} of {', '.join(known)}; name one of them")
        asked = [row for row in asked if wanted in (None, row.get(key))]
    kept = per_image_of(asked, rows.parent, metric=metric)
    if not kept:
        raise InputError(f"{variant}: {rows} keeps no {metric} of single images of this variant; memogen reproduce makes such rows")
    return kept


def reproduce(
    table: Annotated[str | None, "a table such as memory_gan/table2, or one recipe of it: memory_gan/table2/fashion_mnist"] = None,
    *,
    budget: Annotated[
        str, "smoke (minutes), short (hours on a CPU), long (minutes on a large GPU, if the table has it) or paper (hours on a large GPU)"
    ] = "short",
    seeds: Annotated[int | None, "number of seeds; default: that of the budget", 1] = None,
    data: Annotated[Path | None, "the folder with the files of the data sets; default: download them"] = None,
    out: Annotated[Path, "the folder of the runs and of TABLE.jsonl"] = Path("runs/reproduce"),
    variants: Annotated[str, "rows to run, comma-separated, or other variants of the same recipes; default: the paper's rows"] = "",
    extractor: Annotated[
        str | None, "the network that scores: inception-v3, resnet50=PATH, or a file of weights; default: each data set's own classifier"
    ] = None,
    list_: Annotated[bool, "list the tables and their rows"] = False,
    dry_run: Annotated[bool, "print the runs, their cost and their commands, then stop"] = False,
) -> None:
    """Train and score every row of a paper's table, and print our numbers beside the printed ones.

    Rows are appended to OUT/TABLE.jsonl as each run ends. The same command again skips what is done and continues what was stopped.
    """
    if list_ or table is None:
        from memogen.recipes.tables import TABLES

        given = {"budget": budget != "short", "seeds": seeds, "data": data, "out": out != Path("runs/reproduce"), "variants": variants}
        given |= {"extractor": extractor, "dry-run": dry_run}
        if unused := [f"--{name}" for name, value in given.items() if value]:
            raise InputError(
                f"reproduce: {', '.join(unused)}: of no use to a list of the tables; name a table, as in memogen reproduce memory_gan/table2"
            )
        for each in TABLES.values():
            print(f"{each.name}: {each.title}")
            for recipe in each.recipes:
                print(f"  {recipe:<26} {', '.join(dict.fromkeys(row.variant for row in each.rows if row.recipe == recipe))}")
            if others := [row.variant for row in each.rows if not row.recipe]:
                print(f"  {'printed beside':<26} {', '.join(others)}")
            if each.note:
                print(f"  {each.note}")
        return
    from memogen.report.text import terminal_table
    from memogen.runs import reproduce as tables

    wanted = [name for name in variants.split(",") if name]
    planned = tables.plan(table, budget=budget, seeds=seeds, data=data, out=out, variants=wanted, extractor=extractor)
    if not planned.jobs:
        raise InputError(f"{table}: nothing can be run: {planned.left_out[0] if planned.left_out else 'it has no such row'}")
    if dry_run:
        _print_plan(planned)
        return
    from memogen.training import NonFiniteLoss

    diverged = None
    try:
        tables.run(planned)
    except NonFiniteLoss as error:  # the rows of the other runs are worth showing
        diverged = error
    if os.environ.get("RANK", "0") == "0":
        print(*(terminal_table(part) for part in planned.results().parts), sep="\n\n")
        print(f"\nrows  {planned.rows_file}\npage  {planned.rows_file.with_suffix('.html')}")
    if diverged is not None:
        raise diverged


def _print_plan(planned: Plan) -> None:
    """The runs of a table, what they cost, and the command of each."""
    from memogen.runs.reproduce import hours_of, in_words

    shaped = planned.with_images() if planned.rows_file.exists() else planned  # rows name a run by its configuration, which has the images' shape
    still = shaped.open_jobs()
    open_jobs = [job for job, known in zip(planned.jobs, shaped.jobs, strict=True) if known in still]
    hours = hours_of(open_jobs)
    where = " or ".join(sorted({job.budget.hardware for job in planned.jobs}))
    cost = f"about {in_words(hours)} on {where}" if hours is not None else "their cost was never measured"
    print(f"{planned.table.name}: {len(open_jobs)} of {len(planned.jobs)} runs are to be done; {cost}")
    for line in planned.left_out:
        print(f"left out: {line}")
    for job in planned.jobs:
        state = f"{job.recipe.training.steps:,} steps, {job.recipe.scoring.num_samples:,} samples" if job in open_jobs else "done"
        spent = f", about {in_words(job.budget.hours)}" if job.budget.hours is not None and job in open_jobs else ""
        print(f"{job.title}: {state}{spent}\n  {_command(job)}")
    print(f"rows: {planned.rows_file}")


def _command(job: Job) -> str:
    """The command that runs one training of a table: the recipe, and every option in which the budget differs from it."""
    from memogen import configs
    from memogen.recipes import RECIPES

    recipe = job.recipe
    plain = configs.dotted(configs.to_dict(RECIPES[recipe.recipe](variant=recipe.variant)))
    words = ["memogen", "train", recipe.recipe, "--variant", recipe.variant]
    words += ["--data", recipe.data.folder] if recipe.data.folder else []
    words += ["--out", str(job.folder)]
    for name, value in configs.dotted(configs.to_dict(recipe)).items():
        if value != plain[name] and name != "data.folder":
            words += [f"--{name}", json.dumps(value).strip('"')]
    return shlex.join(words)


def report(
    run: Annotated[Path, "a run folder; or a folder of result rows, or a .jsonl file of them"],
    *,
    data: OwnData = None,
    out: Annotated[
        Path | None, "for result rows: a .html page, or a .md file (of an existing one only the part between its two marks changes)"
    ] = None,
) -> None:
    """Write the run's report.html: samples, curves, memory, nearest training images, scores. For result rows, print tables.

    The tables are Markdown if the output is not a terminal.
    """
    if any((run / part).is_file() for part in ("config.yaml", "metrics.jsonl", "model/config.json")):
        if out is not None:
            raise InputError(f"--out {out}: the page of a run is its report.html; leave it out")
        return _report_run(run, data)
    if data is not None:
        raise InputError(f"--data {data}: {run} holds result rows, not a run, and they need no images; leave --data out")
    if not run.exists():
        raise InputError(f"{run}: no such file or folder; name a run folder, a folder of result rows, or a .jsonl file of them")
    if run.is_dir() and not any(run.rglob("*.jsonl")):
        raise InputError(f"{run}: holds neither a run (config.yaml) nor result rows (.jsonl files); name a folder that does")
    from memogen.report import page, text
    from memogen.report.results import read_results

    tables = read_results(run)
    if out is None:
        return print(text.terminal_text(tables) if sys.stdout.isatty() else text.results_text(tables))
    if out.suffix not in (".html", ".md"):
        raise InputError(f"--out {out}: neither .html nor .md; end the name with one of them")
    page.write_results(tables, out) if out.suffix == ".html" else text.write_results(tables, out)
    print(out)


def _report_run(run: Path, data: str | None) -> None:
    from memogen import runs

    splits = None
    if (run / "config.yaml").is_file():  # a model that was extended has none
        try:
            splits = runs.Splits(choose_data(data, model=str(run)).config)
            len(splits.train)
        except InputError as error:
            if data is not None:
                raise
            splits = None
            print(f"memogen: the report is written without training images ({error})", file=sys.stderr)
    print(runs.write_report(run, splits))
