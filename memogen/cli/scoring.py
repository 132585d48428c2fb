"""The command evaluate."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import memogen
from memogen.cli.files import choose_data, holds_samples, open_subject, recipe_of
from memogen.cli.options import KINDS, Fit, Folder, SampleSeed, Size, image_options
from memogen.errors import InputError

if TYPE_CHECKING:
    from memogen.cli.files import DataChoice
    from memogen.data import DataOptions
    from memogen.metrics.rows import ResultRow
    from memogen.types import ImageData


def _metrics() -> str:
    """The help of --metrics, from the registry; if that is not imported yet, from its source, so that help does not wait for torch."""
    loaded = sys.modules.get("memogen.metrics.registry")
    known = spelled_metrics() if loaded is None else [(metric.name, metric.about, metric.judged) for metric in loaded.METRICS.values()]
    by_extractor, asked = (
        ", ".join(name if about == name else f"{name} ({about})" for name, about, judged in known if judged is wanted) for wanted in (True, False)
    )
    usual = "is,fid; kid,prdc if the extractor is pixels; nll for a model with a likelihood"
    return f"comma-separated: {by_extractor}; for a model that has them: {asked}. Default: {usual}"


def spelled_metrics() -> list[tuple[str, str, bool]]:
    """(name, description, whether it needs an extractor) of every metric in the registry, read from the source of ``memogen.metrics``."""
    folder, found = Path(memogen.__file__).parent / "metrics", dict[str, tuple[str, str, bool]]()
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Metric":
                name, about, _, needed, *_ = node.value.args
                found[ast.unparse(node.targets[0])] = (ast.literal_eval(name), ast.literal_eval(about), "'extractor'" in ast.unparse(needed))
    registry = ast.parse((folder / "registry.py").read_text(encoding="utf-8"))
    listed = next(node for node in registry.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "METRICS")
    return [found[node.id] for node in ast.walk(listed) if isinstance(node, ast.Name) and node.id in found]


def evaluate(
    model: Annotated[
        str, "a model that comes with memogen, a run folder, a saved model's folder, a hub id; or images: a folder, a zip, tar or npz file"
    ],
    *,
    data: Annotated[str | None, f"the data to compare with: {KINDS}; default: the run's own data"] = None,
    folder: Folder = None,
    split: Annotated[str | None, "the split to compare with; default: test, or the first one if there is no test split"] = None,
    extractor: Annotated[
        str | None,
        "a classifier's name, inception-v3, resnet50=PATH, pixels, or a file of weights; default: the data's own classifier, else pixels",
    ] = None,
    metrics: Annotated[str | None, _metrics] = None,
    num_samples: Annotated[int, "number of samples to score; of given images at most all", 1] = 10_000,
    importance_samples: Annotated[int | None, "for nll: importance samples for each image; default: as in the run, or 5,000", 1] = None,
    masks: Annotated[str | None, "for imputation, comma-separated; default: as in the run, or rect-12,rand-0.6,half"] = None,
    seed: SampleSeed = 0,
    order: Annotated[
        Literal["auto", "drawn", "given"],
        "order of given images: drawn by the seed, or given (by name); auto: given for what memogen sample wrote, else drawn, since files may be "
        "sorted by class",
    ] = "auto",
    size: Size = "",
    fit: Fit = "error",
    out: Annotated[
        Path | None, "a .jsonl file to append result rows to; default: the run's results.jsonl; the rows of a model that ships are only printed"
    ] = None,
) -> None:
    """Score a model's samples, or images of any origin, against a data set.

    After Ctrl-C or SIGTERM, what was computed until then is printed and kept. Processes started by torchrun share the work; the first one writes.
    """
    if out is not None and out.suffix != ".jsonl":
        raise InputError(f"--out {out}: rows are written as JSON lines; end the name with .jsonl")
    options = image_options(size, fit) if size or fit != "error" else None
    from memogen.processes import Processes

    processes = Processes.launched()
    subject: Any = open_subject(model, options)
    choice = choose_data(data, model=model, folder=folder)
    if options is not None:
        choice = replace(choice, options=replace(choice.options, size=options.size, fit=options.fit))
    from memogen import metrics as scores
    from memogen.configs import suggest
    from memogen.data.arrays import in_channels
    from memogen.metrics import METRICS
    from memogen.metrics.evaluate import check_model, check_run, judge_for, score_model, usual_metrics
    from memogen.metrics.metric import ModelScoring
    from memogen.runs import run_of
    from memogen.training.runtime import choose_device
    from memogen.types import ImageData, LikelihoodModel

    names = None if metrics is None else list(dict.fromkeys(name.strip() for name in metrics.split(",")))
    for name in names or ():
        if name not in METRICS:
            raise InputError(f"--metrics {metrics!r}: {name!r} is not a metric: {suggest(name, METRICS)}")
    if names is None and isinstance(subject, LikelihoodModel):
        names = ["nll"]
    compared, train = _of_learned_classes(subject, choice.load(split), choice)
    images = isinstance(subject, ImageData)
    if images:
        subject = in_channels(subject, compared.image_shape[0])
    recipe = recipe_of(model)
    how = (recipe.scoring.model if recipe else None) or ModelScoring()
    if importance_samples:
        how = replace(how, importance_samples=importance_samples)
    if masks:
        how = replace(how, masks=tuple(masks.split(",")))
    run = None if recipe is None else run_of(model)
    device, judge = choose_device("auto"), None
    if names is None or any(METRICS[name].judged for name in names):
        judge = judge_for(compared, extractor, device=device, warns=processes.leads)
        names = names or list(usual_metrics(judge, compared))
    asked, judged = ([name for name in names if METRICS[name].judged is by_extractor] for by_extractor in (False, True))
    if asked and images:
        raise InputError(f"--metrics {asked[0]}: asks a model, and these are images; name a model, or leave {asked[0]} out")
    if not images:
        subject = subject.to(device)
    if asked:
        check_model(subject, compared, metrics=asked, how=how, train=train)
        check_run(asked, run)
    shared: dict[str, Any] = {"num_samples": num_samples, "seed": seed, "train": train, "processes": processes}
    rows: list[ResultRow] = []
    try:
        if judged and images:
            given = order == "given" or (order == "auto" and holds_samples(model))
            placed: Any = "given" if given else "drawn"
            rows += scores.score_images(subject, compared, variant="images", order=placed, extractor=judge, metrics=judged, **shared)
        elif judged:
            rows += scores.evaluate(subject, compared, extractor=judge, metrics=judged, **shared)
        if asked:  # after the others, since these may take long
            rows += score_model(subject, compared, metrics=asked, how=how, run=run, **shared)
    except (scores.Interrupted, scores.ScoringError) as stopped:
        if processes.leads:
            _keep([*rows, *stopped.rows], model, out, options)
        raise
    if processes.leads:
        _keep(rows, model, out, options)


def _of_learned_classes(subject: object, compared: ImageData, choice: DataChoice) -> tuple[ImageData, ImageData | None]:
    """The images to compare with, and the training images; for a model that has learned some of the classes so far, only those of these classes."""
    from memogen.data.task_sequence import of_classes
    from memogen.types import ClassModel

    train = choice.load("train") if compared.split != "train" and "train" in choice.known else None
    there = set() if compared.label is None else set(compared.label.tolist())
    known = sorted(there.intersection(subject.known)) if isinstance(subject, ClassModel) else []
    if not known or len(known) == len(there):
        return compared, train
    if os.environ.get("RANK", "0") == "0":
        told = f"the model has learned {len(known)} of {len(there)} classes, so it is compared with images of these classes only"
        print(f"note: {told}", file=sys.stderr)
    return of_classes(compared, known), None if train is None else of_classes(train, known)


def _keep(rows: Sequence[ResultRow], model: str, out: Path | None, options: DataOptions | None) -> None:
    """Print the rows as a table, and append them to their file, with the ``options`` that brought the images to shape."""
    if not rows:
        return
    from memogen import shipped
    from memogen.metrics.paired import kept
    from memogen.metrics.registry import row_name
    from memogen.metrics.rows import ResultRow, append_rows
    from memogen.report.text import in_columns

    texts = [("metric", "value", "±", "samples")]
    for row in rows:
        protocol: Any = row.protocol
        variant = f" ({row.variant})" if row.variant not in (None, "images") else ""
        texts.append((f"{row_name(row)}{variant}", _number(row.value), _number(row.spread), f"{protocol['num_samples']:,}"))
    print(in_columns(texts, right=1))
    if any(row.metric == "inception_score" and row.spread is None for row in rows):
        print("inception_score: too few samples for more than one split, so there is no ±")
    whose, target = origin(model), out
    if target is None and "recipe" in whose:
        folder = _run_folder(model)
        if not folder.resolve().is_relative_to(shipped.HERE.resolve()):  # nothing is written into the installed package
            target = folder / "results.jsonl"
    if target is not None:
        brought = {"brought_to": {"size": options.size, "fit": options.fit}} if options else {}
        told = [ResultRow.read({**whose, **row, "protocol": {**(row.protocol or {}), **brought}}) for row in rows]
        append_rows(target, kept(told, target.parent))
        print(f"appended to {target}")


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


def origin(model: str) -> dict[str, object]:
    """What result rows say of the model. ``seed`` is the seed of its training, None for images and for a model without its run."""
    from memogen import runs

    recipe = recipe_of(model)
    if recipe is None:
        return {"model": model, "seed": None, "command": runs.command_line()}
    own = {"recipe": recipe.recipe, "variant": recipe.variant, "seed": recipe.training.seed}
    return {**own, **runs.progress_of(_run_folder(model)), "command": runs.command_line()}


def _run_folder(model: str) -> Path:
    from memogen.runs import run_of

    return run_of(model) or Path(model).expanduser()
