"""The commands that make a run and score it: demo, train, evaluate, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from memogen.cli.options import UsageError


def demo(*, out: Annotated[Path, "folder of the run"] = Path("runs/demo")) -> None:
    """Train a small memoryGAN on the embedded digits, then show its pictures, scores and report (CPU, minutes)."""
    from memogen import runs

    runs.demo(out)


def train(
    recipe: Annotated[str, "a recipe such as memory_gan/digits (a wrong name lists them all), or a config.yaml"],
    *,
    data: Annotated[str | None, "a data set's folder, an image folder, or a data set's name"] = None,
    out: Annotated[Path | None, "folder of the run; without it one under runs/"] = None,
    variant: Annotated[str | None, "a row of the recipe's table: memory_gan, no_em, no_mcgn, no_memory"] = None,
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

    chosen = choose(recipe, variant, options)
    if dry_run:
        print(describe(chosen, data=data, out=out, resume=resume))
        return
    print(f"run folder: {runs.train(chosen, data=data, out=out, resume=resume)}")


def evaluate(
    model: Annotated[str, "a run folder, a saved model's folder, or a hub id"],
    *,
    data: Annotated[str, "the data to compare with: a data set's name, or a folder"],
    split: Annotated[str, "the part of the data to compare with"] = "test",
    extractor: Annotated[str | None, "the classifier that scores; without it the one of the data set"] = None,
    metrics: Annotated[str, "comma-separated: is (inception score), fid (Fréchet distance), prdc (precision, recall, density, coverage)"] = "is,fid",
    num_samples: Annotated[int, "number of samples to score"] = 10_000,
    seed: Annotated[int, "seed of the samples"] = 0,
    out: Annotated[Path | None, "a .jsonl file to append the rows to; without it a run's results.jsonl"] = None,
) -> None:
    """Score a model's samples against a data set."""
    from memogen.cli.files import open_data, open_model, results_file

    opened, compared = open_model(model), open_data(data, split=split)
    from memogen.evaluation import append_rows
    from memogen.evaluation import evaluate as score

    rows = score(opened, compared, extractor=extractor or compared.name, metrics=metrics.split(","), num_samples=num_samples, seed=seed)
    for row in rows:
        print(f"{row['metric']:<16} {row['value']:.4f}" + (f" +- {row['spread']:.4f}" if row["spread"] is not None else ""))
    target = out or results_file(model)
    if target is not None:
        append_rows(target, rows)
        print(f"appended to {target}")


def report(run: Annotated[Path, "a run folder"]) -> None:
    """Write the run's report.html: samples, curves, memory, nearest training images, scores."""
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run}: no run folder (no config.yaml in it); name a folder that memogen train wrote")
    from memogen.report import page

    print(page.write_report(run))
