"""The commands that make a run: demo, train."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from memogen.cli.data import KINDS


def demo(
    *,
    out: Annotated[Path, "folder of pictures, page and runs"] = Path("runs/demo"),
    seed: Annotated[int, "seed of the trainings, the samples and the noise", 0] = 0,
) -> None:
    """Show three things that a memory does: train on embedded digits, measure, draw (one CPU core, two to three minutes).

    What is printed at the end was measured in this run. Run again, it continues, or shows what is there.
    """
    from memogen.demo import Plan
    from memogen.demo import demo as show

    show(out, plan=Plan(seed=seed))


def train(
    recipe: Annotated[str, "a recipe such as memory_gan/digits (a wrong name lists them all), or a config.yaml"],
    *,
    data: Annotated[str | None, f"{KINDS}; without it the recipe's own"] = None,
    out: Annotated[Path | None, "folder of the run; without it one under runs/"] = None,
    variant: Annotated[
        str | None,
        "a row of the recipe's table, such as no_memory, mem_iwae_5 or replay_alignment, or the literal algorithm of the paper or of its authors, "
        "such as paper, code or joint_replay_code (a wrong name lists them all)",
    ] = None,
    resume: Annotated[str, "auto continues the run found in the folder, never moves it aside and starts anew, or a checkpoint's folder"] = "auto",
    start: Annotated[Path | None, "a run of the same classes in the same order, whose first tasks are taken over instead of learned again"] = None,
    start_tasks: Annotated[int, "how many of them", 1] = 1,
    dry_run: Annotated[bool, "print the complete configuration and what would happen, then stop"] = False,
    options: Mapping[str, str],
) -> None:
    """Train a recipe or a configuration file; a run that was stopped continues by itself.

    Every value of the configuration is an option of the same dotted name as in YAML and in Python:

      memogen train memory_gan/digits --model.memory.num_slots 1024 --training.steps 2000

    --steps, --seed, --batch-size and --device are short for those of --training. --dry-run lists all options; its output is itself a configuration
    file. Where classes are learned one after another (replay_gan, and the tasks of memory_gan), --training.steps are those of each task, and
    --succession.tasks.order [3,1,4], .classes_per_task and .num_tasks say which classes come when.
    """
    from memogen import runs
    from memogen.cli.plan import describe
    from memogen.report import verdict

    if dry_run:
        print(describe(runs.choose(recipe, variant, options, data), data=data, out=out, resume=resume))
        return
    folder = runs.train(recipe, variant=variant, overrides=options, data=data, out=out, resume=resume, start=start, start_tasks=start_tasks)
    if os.environ.get("RANK", "0") == "0":
        print(verdict.kept(folder))
        print(f"run folder: {folder}\nreport: {folder / 'report.html'}\nnext: memogen sample {shlex.quote(str(folder))} --out samples.png")
        if (folder / "tasks").is_dir() and (folder / "results.jsonl").exists():
            print(f"class by class after each task: memogen tasks matrix {folder}")


def recipes() -> None:
    """List the recipes that memogen train takes, each with its variants."""
    import inspect

    from memogen.recipes import RECIPES, variants_of

    for name, recipe in RECIPES.items():
        variants = variants_of(name)
        print(f"{name}\n    {(inspect.getdoc(recipe) or '').splitlines()[0]}" + (f"\n    variants: {', '.join(variants)}" if variants else ""))


def models(model: Annotated[str, "one of them, whose card is shown; without it all are listed"] = "") -> None:
    """List the models that come with memogen, or show the card of one."""
    from memogen import shipped
    from memogen.cli.options import UsageError
    from memogen.overrides import nearest

    known = shipped.shipped_models()
    if model and model not in known:
        raise UsageError(f"{model}: no such model{nearest(model, list(known))}; there are {', '.join(known)}")
    if model:
        print((known[model].folder / "model" / "README.md").read_text(encoding="utf-8"))
        return
    for each in known.values():
        print(f"{each.name}\n    {each.about}")
    print("\nmemogen models MODEL shows a card; memogen sample MODEL --out grid.png draws; every command that takes a MODEL takes these names")
