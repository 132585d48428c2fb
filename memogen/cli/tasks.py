"""The commands about sequences of tasks: matrix, evolution, embedding, samples, cost; and extend, which teaches a saved model one category more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from memogen.cli.data import KINDS, Folder
from memogen.cli.files import check_picture, choose_data, class_names, class_number, recipe_of, write_picture
from memogen.cli.options import UsageError

if TYPE_CHECKING:
    from memogen.cli.files import DataChoice
    from memogen.report.replay_gan import Groups

OF_CLASS = (
    "share of a class's images found to be of it, Fréchet distance to its real ones; for a model without classes: each class's share of the samples"
)
RunOfTasks = Annotated[Path, "the folder of a run that learned a sequence of tasks"]


def matrix(
    run: RunOfTasks,
    *,
    metric: Annotated[Literal["accuracy", "fid", "class_share"] | None, OF_CLASS] = None,
    out: Annotated[Path | None, "a picture of it"] = None,
) -> None:
    """Print how each class stood after each task."""
    if out is not None:
        check_picture(out)
    from memogen.report import tasks
    from memogen.report.history import read_run
    from memogen.report.text import in_columns

    found = tasks.class_matrix(read_run(run), metric)
    print(in_columns(tasks.matrix_rows(found), right=1))
    if out is not None:
        write_picture(tasks.matrix_chart(found), out)


def evolution(
    *run: RunOfTasks,
    label: Annotated[str | None, "the class, by its number or name; without it the first that was learned"] = None,
    ends: Annotated[bool, "one row for each task, its end; without it steps 0, 1, 2, 4, 8, ... of each"] = False,
    out: Annotated[Path, "the picture"] = Path("evolution.png"),
) -> None:
    """Draw how images of fixed latents changed while later classes were learned; several runs stand below each other, under their variants."""
    check_picture(out)
    from memogen.report import tasks
    from memogen.report.grid import stacked
    from memogen.report.history import read_run

    found = [read_run(path) for path in run]
    labels = [class_number(label, each.setting("model.classes") or ()) for each in found]
    write_picture(stacked([tasks.evolution_sheet(*one, ends=ends, named=len(run) > 1) for one in zip(found, labels, strict=True)]), out)


def embedding(
    *run: RunOfTasks,
    label: Annotated[str | None, "the class, by its number or name; without it the first that was learned"] = None,
    tasks: Annotated[str, "of one run: the tasks after which it is looked at, such as 1,2,4,10; without it the last of every run"] = "",
    num: Annotated[int, "images of each group", 4] = 500,
    data: Annotated[str | None, f"the real images: {KINDS}; without it those of the first run"] = None,
    folder: Folder = None,
    seed: Annotated[int, "seed of the samples and of t-SNE"] = 0,
    out: Annotated[Path, "the picture"] = Path("embedding.png"),
) -> None:
    """Draw real images of a class and those of several methods, or of one after several tasks, by t-SNE of a classifier's features."""
    check_picture(out)
    if tasks and len(run) > 1:
        raise UsageError(f"--tasks {tasks}: {len(run)} runs were named; look at one run after several tasks, or at the ends of several runs")
    from memogen.report import replay_gan as drawn

    name, groups = _groups(run, label, tasks, num, choose_data(data, model=str(run[0]), folder=folder), seed)
    first, *_ = groups
    for group, apart in drawn.distances(groups).items():
        few = f"too few for a distance: both groups need more images than the {groups[group].shape[1]} features"
        told = "" if group == first else f", {few}" if apart is None else f", Fréchet distance to {first} {apart:.2f}"
        print(f"{group}: {len(groups[group])} images{told}")
    write_picture(drawn.embedding(groups, of=f"a classifier's features, class {name}", seed=seed), out)


def samples(
    *run: RunOfTasks,
    num: Annotated[int, "images of each run; of a model that is told classes, as many of each", 1] = 20,
    seed: Annotated[int, "seed of the samples"] = 0,
    out: Annotated[Path, "the picture"] = Path("samples.png"),
) -> None:
    """Draw samples of each run after its last task, one row under each other, for a comparison of methods."""
    check_picture(out)
    from memogen.report.history import read_run
    from memogen.report.tasks import samples_sheet

    write_picture(samples_sheet([read_run(path) for path in run], num=num, seed=seed), out)


def cost(*run: RunOfTasks) -> None:
    """Print what each run took: hours, real images, images that generators drew, and what was kept beside the model."""
    from memogen.report.history import read_run
    from memogen.report.tasks import cost_rows
    from memogen.report.text import in_columns

    print(in_columns(cost_rows([read_run(path) for path in run]), right=2))


def extend(
    model: Annotated[str, "a replay_gan: one that ships (memogen models), a run folder, a saved model's folder, or a hub id; it stays as it is"],
    *,
    data: Annotated[str, f"the images of the new category: {KINDS}; if there are several classes, the one named by --label"],
    label: Annotated[str, "what the new category is called"],
    out: Annotated[Path | None, "folder of the run; without it runs/extend-LABEL"] = None,
    method: Annotated[Literal["joint_replay", "replay_alignment", "joint_replay_alignment"], "how the known categories are kept"] = "joint_replay",
    steps: Annotated[int, "generator iterations", 1] = 1000,
    learning_rate: Annotated[float, "of critic and generator"] = 1e-3,
    weights: Annotated[
        Literal["averaged", "live"], "which generator teaches and learns on: the running average, or the last training's own"
    ] = "averaged",
    extractor: Annotated[str | None, "who judges: a classifier's name or file; without it one is trained on replays and new images"] = None,
    num_samples: Annotated[int, "images of each category to judge", 1] = 1000,
    precision: Annotated[Literal["float32", "bf16"], "bf16 is faster where the processor has it"] = "float32",
    fit: Annotated[
        Literal["error", "resize", "crop"] | None, "what happens to images of another size than the model's; without it as in its run, or resize"
    ] = None,
    seed: Annotated[int, "seed of the training"] = 0,
) -> None:
    """Add a category to a saved model from its images alone: none of the known ones are needed. Prints every category before and after.

    A run that was stopped continues by itself.
    """
    from memogen.report.text import in_columns
    from memogen.runs import extend as extending

    where = out or Path("runs") / f"extend-{label.replace('/', '-')}"
    config = extending.ExtendConfig(
        method=method,
        steps=steps,
        learning_rate=learning_rate,
        weights=weights,
        extractor=extractor,
        num_samples=num_samples,
        precision=precision,
        fit=fit,
        seed=seed,
    )
    changes = extending.extend(model, data=data, label=label, out=where, config=config)
    if changes:
        print(f"{in_columns(extending.changes_table(changes), right=1)}\n\n{extending.judged_by(config)}\nmodel: {where / 'model'}")


def _groups(runs: tuple[Path, ...], label: str | None, tasks: str, num: int, choice: DataChoice, seed: int) -> tuple[str, Groups]:
    """The class's name; and features of its real test images, and of the samples of each model."""
    recipe = recipe_of(str(runs[0]))
    if recipe is None or recipe.scoring.extractor is None:
        raise UsageError(f"{runs[0]}: names no classifier (scoring.extractor in its config.yaml); name a run that was scored")
    from memogen.metrics.extractors import extractor
    from memogen.report.replay_gan import after_tasks, class_groups, first_learned, replay_gan

    judge = extractor(recipe.scoring.extractor)
    models = after_tasks(runs[0], _numbers(tasks)) if tasks else {path.name: replay_gan(path) for path in runs}
    first = next(iter(models.values()))
    number = class_number(label, class_names(first))
    wanted = first_learned(first) if number is None else number
    test = choice.load("test")
    return first.config.name(wanted), class_groups(models, judge, test, wanted, num, seed=seed)


def _numbers(tasks: str) -> list[int]:
    try:
        return [int(word) for word in tasks.split(",")]
    except ValueError as error:
        raise UsageError(f"--tasks {tasks}: not a list of whole numbers; write it as 1,2,4,10") from error
