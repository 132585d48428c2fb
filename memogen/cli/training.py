"""The commands that make a run and score it: demo, train, evaluate, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from memogen.cli.data import Folder
from memogen.cli.files import open_data, open_model, recipe_of
from memogen.cli.options import UsageError
from memogen.cli.pictures import Model


def demo(*, out: Annotated[Path, "folder of the run"] = Path("runs/demo")) -> None:
    """Train a small memoryGAN on the embedded digits, then show its pictures, scores and report (CPU, minutes)."""
    from memogen.demo import demo as show

    show(out)


def train(
    recipe: Annotated[str, "a recipe such as memory_gan/digits (a wrong name lists them all), or a config.yaml"],
    *,
    data: Annotated[str | None, "a data set's folder, an image folder, or a data set's name"] = None,
    out: Annotated[Path | None, "folder of the run; without it one under runs/"] = None,
    variant: Annotated[str | None, "a row of the recipe's table: memory_gan, no_em, no_mcgn, no_memory"] = None,
    fidelity: Annotated[str | None, "robust trains (the default); paper and code are the literal algorithms of the paper and of its authors"] = None,
    resume: Annotated[str, "auto continues the run found in the folder, never starts anew, or a checkpoint's folder"] = "auto",
    dry_run: Annotated[bool, "print the complete configuration and what would happen, then stop"] = False,
    options: Mapping[str, str],
) -> None:
    """Train a recipe or a configuration file; a run that was stopped continues by itself.

    Every value of the configuration is an option of the same dotted name as in YAML and in Python:

      memogen train memory_gan/digits --model.memory.num_slots 1024 --training.steps 2000

    --dry-run lists them all; its output is itself a configuration file.
    """
    from memogen import runs
    from memogen.cli.plan import choose, describe

    chosen = choose(recipe, {"variant": variant, "fidelity": fidelity}, options)
    if dry_run:
        print(describe(chosen, data=data, out=out, resume=resume))
        return
    folder = runs.train(chosen, data=data, out=out, resume=resume)
    if os.environ.get("RANK", "0") == "0":
        print(f"run folder: {folder}")


def evaluate(
    model: Model,
    *,
    data: Annotated[str | None, "the data to compare with: a data set's name, or a folder; without it the run's own"] = None,
    folder: Folder = None,
    split: Annotated[str, "the part of the data to compare with"] = "test",
    extractor: Annotated[str | None, "the classifier that scores; without it the one of the data set"] = None,
    metrics: Annotated[str, "comma-separated: is (inception score), fid (Fréchet distance), prdc (precision, recall, density, coverage)"] = "is,fid",
    num_samples: Annotated[int, "number of samples to score", 1] = 10_000,
    seed: Annotated[int, "seed of the samples"] = 0,
    out: Annotated[Path | None, "a .jsonl file to append the rows to; without it a run's results.jsonl"] = None,
) -> None:
    """Score a model's samples against a data set."""
    opened = open_model(model)
    compared = open_data(data, model=model, folder=folder, split=split)
    from memogen.evaluation import append_rows
    from memogen.evaluation import evaluate as score
    from memogen.evaluation.features import classifier, classifier_names
    from memogen.training.runtime import choose_device

    device = choose_device("auto")
    if extractor is None and compared.name not in classifier_names():
        names = ", ".join(classifier_names())
        raise UsageError(f"--extractor: no classifier of {compared.name} ships with memogen; name one that reads such images: {names}")
    judge = classifier(extractor or compared.name, device=device)
    rows = score(opened.to(device), compared, extractor=judge, metrics=metrics.split(","), num_samples=num_samples, seed=seed)
    for row in rows:
        spread = "" if row["spread"] is None else f" +- {row['spread']:.4f}"
        print(f"{row['metric']:<18} {row['value']:.4f}{spread}")
    recipe = recipe_of(model)
    target = out or (Path(model).expanduser() / "results.jsonl" if recipe else None)
    if target is not None:
        whose = {"recipe": recipe.recipe, "variant": recipe.variant} if recipe else {"model": model}
        append_rows(target, [{**whose, "seed": seed, **row} for row in rows])
        print(f"appended to {target}")


def report(run: Annotated[Path, "a run folder, or a folder of result rows (.jsonl)"]) -> None:
    """Write the run's report.html: samples, curves, memory, nearest training images, scores. Of result rows, print a Markdown table."""
    if not (run / "config.yaml").is_file():
        from memogen.report import markdown

        if rows := markdown.read_rows(run):
            print(markdown.results_table(rows))
            return
        raise UsageError(f"{run}: no run folder (no config.yaml in it); name a folder that memogen train wrote")
    from memogen import runs
    from memogen.report import page
    from memogen.types import InputError

    images = None
    try:
        images = runs.load_data(runs.load_config(run / "config.yaml"))
    except InputError as error:
        print(f"memogen: the report goes without training images ({error})", file=sys.stderr)
    print(page.write_report(run, data=images))
