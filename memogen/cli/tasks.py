"""The commands about sequences of tasks: matrix, evolution, embedding, samples, cost; and extend, which adds a category to a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from memogen.cli.files import check_picture, choose_data, class_names, class_number, recipe_of, write_picture
from memogen.cli.options import KINDS, Folder, Picture, SampleSeed, whole_numbers
from memogen.errors import InputError

RunOfTasks = Annotated[Path, "the folder of a run that learned a sequence of tasks"]


def matrix(
    run: RunOfTasks,
    *,
    metric: Annotated[
        Literal["accuracy", "fid", "class_share"] | None,
        "accuracy: share of a class's samples that a classifier takes for it; fid: Fréchet distance to its real images; class_share, for a model "
        "without classes: each class's share of the samples; default: the first of these that the run has",
    ] = None,
    out: Annotated[Path | None, "a picture of the matrix"] = None,
) -> None:
    """Print a score of each class after each task."""
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
    label: Annotated[str | None, "the class, by its number or name; default: the first that was learned"] = None,
    ends: Annotated[bool, "one row for each task, at its end; default: steps 0, 1, 2, 4, 8, ... of each task"] = False,
    out: Picture = Path("evolution.png"),
) -> None:
    """Draw how images of fixed latents changed while later classes were learned; several runs below each other, named by their variants."""
    check_picture(out)
    from memogen.report import tasks
    from memogen.report.grid import stacked
    from memogen.report.history import read_run

    found = [read_run(path) for path in run]
    labels = [class_number(label, each.setting("model.classes") or ()) for each in found]
    write_picture(stacked([tasks.evolution_sheet(*one, ends=ends, named=len(run) > 1) for one in zip(found, labels, strict=True)]), out)


def embedding(
    *run: RunOfTasks,
    label: Annotated[str | None, "the class, by its number or name; default: the first that was learned"] = None,
    tasks: Annotated[str, "with one run: draw it after these tasks, such as 1,2,4,10; default: after the last task of every run"] = "",
    num: Annotated[int, "images of each group", 4] = 500,
    data: Annotated[str | None, f"the real images: {KINDS}; default: those of the first run"] = None,
    folder: Folder = None,
    seed: Annotated[int, "seed of the samples and of t-SNE", 0] = 0,
    out: Picture = Path("embedding.png"),
) -> None:
    """Draw a t-SNE of a classifier's features: real images of a class, and those of several runs, or of one run after several tasks."""
    check_picture(out)
    if tasks and len(run) > 1:
        raise InputError(f"--tasks {tasks}: {len(run)} runs were named; look at one run after several tasks, or at the ends of several runs")
    from memogen.metrics.extractors import extractor
    from memogen.report import replay_gan as drawn

    choice, recipe = choose_data(data, model=str(run[0]), folder=folder), recipe_of(str(run[0]))
    if recipe is None or recipe.scoring.extractor is None:
        raise InputError(f"{run[0]}: names no classifier (scoring.extractor in its config.yaml); name a run that was scored")
    judge = extractor(recipe.scoring.extractor)
    if tasks:
        models = drawn.after_tasks(run[0], whole_numbers("--tasks", tasks))
    else:
        models = {path.name: drawn.replay_gan(path) for path in run}
    one = next(iter(models.values()))
    number = class_number(label, class_names(one))
    wanted = drawn.first_learned(one) if number is None else number
    groups = drawn.class_groups(models, judge, choice.load("test"), wanted, num, seed=seed)
    first, *_ = groups
    for group, apart in drawn.distances(groups).items():
        few = f"too few for a distance: both groups need more images than the {groups[group].shape[1]} features"
        told = "" if group == first else f", {few}" if apart is None else f", Fréchet distance to {first} {apart:.2f}"
        print(f"{group}: {len(groups[group])} images{told}")
    write_picture(drawn.embedding(groups, of=f"a classifier's features, class {one.config.name(wanted)}", seed=seed), out)


def samples(
    *run: RunOfTasks,
    num: Annotated[int, "images of each run; for a model with classes, images of each class", 1] = 20,
    seed: SampleSeed = 0,
    out: Picture = Path("samples.png"),
) -> None:
    """Draw samples of each run after its last task, one run below the other, to compare methods."""
    check_picture(out)
    from memogen.report.history import read_run
    from memogen.report.tasks import samples_sheet

    write_picture(samples_sheet([read_run(path) for path in run], num=num, seed=seed), out)


def cost(*run: RunOfTasks) -> None:
    """Print what each run cost: hours, real images, images drawn by generators, and what was stored beside the model."""
    from memogen.report.history import read_run
    from memogen.report.tasks import cost_rows
    from memogen.report.text import in_columns

    print(in_columns(cost_rows([read_run(path) for path in run]), right=2))


def extend(
    model: Annotated[str, "a replay_gan: one that ships (memogen models), a run folder, a saved model's folder, or a hub id; it is not changed"],
    *,
    data: Annotated[str, f"the images of the new category: {KINDS}; of several classes, the one named by --label"],
    label: Annotated[str, "the name of the new category"],
    out: Annotated[Path | None, "folder of the run; default: runs/extend-LABEL"] = None,
    method: Annotated[
        Literal["joint_replay", "replay_alignment", "joint_replay_alignment"], "how the known categories are kept from being forgotten"
    ] = "joint_replay",
    steps: Annotated[int, "generator iterations", 1] = 1000,
    learning_rate: Annotated[float, "of critic and generator"] = 1e-3,
    weights: Annotated[
        Literal["averaged", "live"], "the weights to start and to replay from: the running average, or those of the last training step"
    ] = "averaged",
    extractor: Annotated[
        str | None, "the classifier that judges, by name or file; default: one that is trained on replays and the new images"
    ] = None,
    num_samples: Annotated[int, "images of each category to judge", 1] = 1000,
    precision: Annotated[Literal["float32", "bf16"], "bf16 is faster on processors that support it"] = "float32",
    fit: Annotated[
        Literal["error", "resize", "crop"] | None, "what to do with images of another size than the model's; default: as in its run, or resize"
    ] = None,
    seed: Annotated[int, "seed of the training", 0] = 0,
) -> None:
    """Add a category to a saved model from its images alone, without images of the known ones. Prints every category before and after.

    The same command continues a stopped run.
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
