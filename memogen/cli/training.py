"""The commands demo, train, recipes and models."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from memogen.cli.options import KINDS
from memogen.errors import InputError

if TYPE_CHECKING:
    from memogen.recipes import Recipe


def demo(
    *,
    out: Annotated[Path, "folder of pictures, page and runs"] = Path("runs/demo"),
    seed: Annotated[int, "seed of the trainings, the samples and the noise", 0] = 0,
) -> None:
    """Show three uses of a memory: train on the embedded digits, measure, draw (one CPU core, two to three minutes).

    The numbers printed at the end were measured in this run. The same command again continues a stopped run, or shows what is there.
    """
    from memogen.demo import Plan
    from memogen.demo import demo as show

    show(out, plan=Plan(seed=seed))


def train(
    recipe: Annotated[str, "a recipe such as memory_gan/digits (memogen recipes lists them), or a config.yaml"],
    *,
    data: Annotated[str | None, f"{KINDS}; default: the recipe's own data"] = None,
    out: Annotated[Path | None, "folder of the run; default: a folder under runs/"] = None,
    variant: Annotated[
        str | None,
        "a row of the recipe's table, such as no_memory, mem_iwae_5 or replay_alignment, or the literal algorithm of the paper or of its authors, "
        "such as paper, code or joint_replay_code (memogen recipes lists them)",
    ] = None,
    resume: Annotated[
        str, "auto: continue the run in the folder; never: move that run aside and start anew; or the folder of a checkpoint to continue from"
    ] = "auto",
    start: Annotated[Path | None, "a run of the same classes in the same order; its first tasks are taken over instead of learned again"] = None,
    start_tasks: Annotated[int, "number of tasks to take over from --start", 1] = 1,
    dry_run: Annotated[bool, "print the complete configuration and what would happen, or refuse what training would, then stop"] = False,
    options: Mapping[str, str],
) -> None:
    """Train a recipe or a configuration file; the same command continues a stopped run.

    Every value of the configuration is an option of the same dotted name as in YAML and in Python:

      memogen train memory_gan/digits --model.memory.num_slots 1024 --training.steps 2000

    --steps, --seed, --batch-size and --device are short for those of --training. --dry-run lists all options; its output is itself a configuration
    file. If classes are learned one after another (replay_gan, and the tasks of memory_gan), --training.steps is the number for each task, and
    --succession.tasks.order [3,1,4], .classes_per_task and .num_tasks say which classes come when.
    """
    from memogen import runs
    from memogen.report import verdict

    if dry_run:
        print(_described(runs.choose(recipe, variant, options, data), data, out, resume, start, start_tasks))
        return
    folder = runs.train(recipe, variant=variant, overrides=options, data=data, out=out, resume=resume, start=start, start_tasks=start_tasks)
    if os.environ.get("RANK", "0") == "0":
        print(verdict.kept(folder))
        print(f"run folder: {folder}\nreport: {folder / 'report.html'}\nnext: memogen sample {shlex.quote(str(folder))} --out samples.png")
        if (folder / "tasks").is_dir() and (folder / "results.jsonl").exists():
            print(f"class by class after each task: memogen tasks matrix {folder}")


def _described(recipe: Recipe, data: str | None, out: Path | None, resume: str, start: Path | None, start_tasks: int) -> str:
    """The complete configuration as YAML, below comments that say what the training would do. Raises the InputError that the training would raise;
    images that would have to be fetched are not looked at.
    """
    import yaml

    from memogen import configs, runs
    from memogen.data.shards import is_there
    from memogen.models import outline

    if recipe.data.folder is not None and not is_there(Path(recipe.data.folder)):
        raise InputError(f"--data {data or recipe.data.folder}: there is no such file or folder")
    folder = out or runs.default_folder(recipe)
    runs.check_options(recipe, folder, resume=resume, start=start, start_tasks=start_tasks)
    recipe = runs.decided(recipe, folder, resume=resume, start=start)
    if runs.at_hand(recipe.data):
        splits = runs.Splits(recipe.data)
        recipe = runs.with_images(recipe, splits)
        runs.check_images(recipe, splits)
        runs.check_continued(recipe, folder, splits.train, resume=resume, start=start, start_tasks=start_tasks)
    phases = recipe.objective.phases(outline(recipe.model))
    steps, images = recipe.training.steps, sum(phase.repeats for phase in phases if phase.reads_data) * recipe.training.batch_size
    amount = f"{steps:,} steps of {images:,} images"
    num_classes = getattr(recipe.model, "num_classes", 0)
    if recipe.succession is None:
        amount += f", {steps * images:,} in all"
    elif num_classes < 2:  # the number of tasks is not known before the data
        amount += " for each task"
    else:
        tasks = len(replace(recipe.succession.tasks, joint=False).tasks(num_classes))
        joined = ", joined in one" if recipe.succession.tasks.joint else ""
        amount += f" for each of {tasks} tasks{joined}, {tasks * steps * images:,} in all"
    notes = [
        f"would train {recipe.recipe}, variant {recipe.variant}: {amount}",
        f"data: {recipe.data.folder or ('none yet: give --data FOLDER' if recipe.data.name == 'folder' else recipe.data.name)}",
        f"run folder: {folder}, {'which exists' if folder.exists() else 'which is new'}; resume: {resume}",
        "this output is a configuration file: memogen train config.yaml",
    ]
    return "\n".join([*(f"# {note}" for note in notes), yaml.safe_dump(configs.to_dict(recipe), sort_keys=False).rstrip()])


def recipes() -> None:
    """List the recipes that memogen train takes, each with its variants."""
    import inspect

    from memogen.recipes import RECIPES, variants_of

    for name, recipe in RECIPES.items():
        variants = variants_of(name)
        print(f"{name}\n    {(inspect.getdoc(recipe) or '').splitlines()[0]}" + (f"\n    variants: {', '.join(variants)}" if variants else ""))


def models(model: Annotated[str, "the model whose card to show; default: list all"] = "") -> None:
    """List the models that come with memogen, or show the card of one."""
    from memogen import shipped
    from memogen.configs import nearest

    known = shipped.shipped_models()
    if model and model not in known:
        raise InputError(f"{model}: no such model{nearest(model, list(known))}; there are {', '.join(known)}")
    if model:
        print((known[model].folder / "model" / "README.md").read_text(encoding="utf-8"))
        return
    for each in known.values():
        print(f"{each.name}\n    {each.about}")
    print("\nmemogen models MODEL shows a card; memogen sample MODEL --out grid.png draws; every command that takes a MODEL takes these names")
