"""The commands that score and report: evaluate, report."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import memogen
from memogen.cli.data import KINDS, Fit, Folder, OwnData, Size, image_options
from memogen.cli.files import choose_data, holds_samples, open_subject, recipe_of
from memogen.cli.options import UsageError

if TYPE_CHECKING:
    from memogen.cli.files import DataChoice
    from memogen.data import DataOptions
    from memogen.metrics.metric import ModelScoring
    from memogen.metrics.rows import ResultRow
    from memogen.processes import Processes
    from memogen.types import ImageData


def _metrics() -> str:
    """The help of --metrics, from the registry; while nobody has loaded it, as its files spell it: help does not wait for torch."""
    loaded = sys.modules.get("memogen.metrics.registry")
    known = spelled_metrics() if loaded is None else [(metric.name, metric.about, metric.judged) for metric in loaded.METRICS.values()]
    by_extractor, asked = ([(name, about) for name, about, judged in known if judged is wanted] for wanted in (True, False))
    listed = [", ".join(name if about == name else f"{name} ({about})" for name, about in part) for part in (by_extractor, asked)]
    return f"comma-separated: {listed[0]}; of a model that has them: {listed[1]}. Without it is,fid, in pixels kid,prdc, of a likelihood nll"


def spelled_metrics() -> list[tuple[str, str, bool]]:
    """(name, what it is, whether an extractor judges) of every metric in the registry, read from the source of ``memogen.metrics``."""
    folder, found = Path(memogen.__file__).parent / "metrics", dict[str, tuple[str, str, bool]]()
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Metric":
                name, about, _, needed, *_ = node.value.args
                found[ast.unparse(node.targets[0])] = (ast.literal_eval(name), ast.literal_eval(about), "'extractor'" in ast.unparse(needed))
    registry = ast.parse((folder / "registry.py").read_text(encoding="utf-8"))
    listed = next(node for node in registry.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "METRICS")
    return [found[node.id] for node in ast.walk(listed) if isinstance(node, ast.Name) and node.id in found]


ORDER = (
    "order of given images: drawn by the seed, or given (by name); auto: given for what memogen sample wrote, else drawn, since files may be "
    "sorted by class"
)


def evaluate(
    model: Annotated[str, "a run folder, a saved model's folder, a hub id; or images: a folder, a zip or an npz file"],
    *,
    data: Annotated[str | None, f"the data to compare with: {KINDS}; without it the run's own"] = None,
    folder: Folder = None,
    split: Annotated[str | None, "the part of the data to compare with; without it test, or what there is"] = None,
    extractor: Annotated[
        str | None, "a classifier's name, inception-v3, resnet50=PATH, pixels, or a file of weights; without it the data's own classifier, or pixels"
    ] = None,
    metrics: Annotated[str | None, _metrics] = None,
    num_samples: Annotated[int, "number of samples to score; of given images at most all", 1] = 10_000,
    importance_samples: Annotated[int | None, "for nll, of each image; by default as in the run, or 5,000", 1] = None,
    masks: Annotated[str | None, "for imputation, comma-separated; by default as in the run, or rect-12,rand-0.6,half"] = None,
    seed: Annotated[int, "seed of the samples"] = 0,
    order: Annotated[Literal["auto", "drawn", "given"], ORDER] = "auto",
    size: Size = "",
    fit: Fit = "error",
    out: Annotated[
        Path | None, "a .jsonl file to append the rows to; without it a run's results.jsonl; those of a model that ships are printed alone"
    ] = None,
) -> None:
    """Score a model's samples, or images of any origin, against a data set.

    Ctrl-C and SIGTERM print and keep what was computed until then. Several processes started by torchrun share the work, and the first one writes.
    """
    if out is not None and out.suffix != ".jsonl":
        raise UsageError(f"--out {out}: rows are written as JSON lines; end the name with .jsonl")
    options = image_options(size, fit) if size or fit != "error" else None
    subject = open_subject(model, options)
    choice = choose_data(data, model=model, folder=folder)
    choice = replace(choice, options=replace(choice.options, size=options.size, fit=options.fit)) if options else choice
    names = _names(metrics, subject)
    compared, train = _learned(subject, choice.load(split), choice)
    from memogen.data.arrays import in_channels
    from memogen.metrics import Interrupted, ScoringError
    from memogen.processes import Processes
    from memogen.runs import run_of
    from memogen.types import ImageData

    if isinstance(subject, ImageData):
        subject = in_channels(subject, compared.image_shape[0])

    how = _how(model, importance_samples, masks)
    processes = Processes.launched()
    run = None if recipe_of(model) is None else run_of(model)
    task = _Scoring(subject, compared, train, how, num_samples, seed, processes, order, run)
    try:
        rows = task.rows(names, extractor, given=holds_samples(model))
    except (Interrupted, ScoringError) as stopped:
        _keep(stopped.rows if processes.leads else [], model, out, options)
        raise
    _keep(rows if processes.leads else [], model, out, options)


def _names(metrics: str | None, subject: object) -> list[str] | None:
    """The metrics that were asked for, each once; None for those that the extractor suits."""
    from memogen.configs import suggest
    from memogen.metrics import METRICS
    from memogen.types import LikelihoodModel

    if metrics is None:
        return ["nll"] if isinstance(subject, LikelihoodModel) else None
    names = [name.strip() for name in metrics.split(",")]
    for name in names:
        if name not in METRICS:
            raise UsageError(f"--metrics {metrics!r}: {name!r} is not a metric: {suggest(name, METRICS)}")
    return list(dict.fromkeys(names))


def _learned(subject: object, compared: ImageData, choice: DataChoice) -> tuple[ImageData, ImageData | None]:
    """What is compared with, and the training images; of a model that has learned some of the classes so far, those of these classes alone."""
    from memogen.data.task_sequence import of_classes
    from memogen.types import ClassModel

    train = choice.load("train") if compared.split != "train" and "train" in choice.known else None
    there = set() if compared.label is None else set(compared.label.tolist())
    known = sorted(there.intersection(subject.known)) if isinstance(subject, ClassModel) else []
    if not known or len(known) == len(there):
        return compared, train
    if os.environ.get("RANK", "0") == "0":
        print(
            f"note: the model has learned {len(known)} of {len(there)} classes, so it is compared with images of these classes only", file=sys.stderr
        )
    return of_classes(compared, known), None if train is None else of_classes(train, known)


def _how(model: str, importance_samples: int | None, masks: str | None) -> ModelScoring:
    """How the model itself is asked: as in its run, but for what was given."""
    from memogen.metrics.metric import ModelScoring

    recipe = recipe_of(model)
    own = (recipe.scoring.model if recipe else None) or ModelScoring()
    own = replace(own, importance_samples=importance_samples) if importance_samples else own
    return replace(own, masks=tuple(masks.split(","))) if masks else own


@dataclass(frozen=True)
class _Scoring:
    """What is compared with what."""

    subject: Any
    compared: ImageData
    train: ImageData | None
    how: ModelScoring
    num_samples: int
    seed: int
    processes: Processes
    order: str
    run: Path | None = None

    def rows(self, metrics: Sequence[str] | None, extractor: str | None, *, given: bool) -> list[ResultRow]:
        """By an extractor first, since what asks the model itself may take long. On a wish to stop, Interrupted with what there is."""
        from memogen import metrics as scores
        from memogen.metrics import METRICS
        from memogen.metrics.evaluate import check_model, check_run, judge_for, score_model, usual_metrics
        from memogen.training.runtime import choose_device
        from memogen.types import ImageData

        device, judge = choose_device("auto"), None
        if metrics is None or any(METRICS[name].judged for name in metrics):
            judge = judge_for(self.compared, extractor, device=device, warns=self.processes.leads)
            metrics = metrics or usual_metrics(judge, self.compared)
        asked, judged = ([name for name in metrics if METRICS[name].judged is by_extractor] for by_extractor in (False, True))
        images = isinstance(self.subject, ImageData)
        if asked and images:
            raise UsageError(f"--metrics {asked[0]}: asks a model, and these are images; name a model, or leave {asked[0]} out")
        subject = self.subject if images else self.subject.to(device)
        if asked:
            check_model(subject, self.compared, metrics=asked, how=self.how, train=self.train)
            check_run(asked, self.run)
        shared: dict[str, Any] = {"num_samples": self.num_samples, "seed": self.seed, "train": self.train, "processes": self.processes}
        rows: list[ResultRow] = []
        if judged:
            options = {**shared, "extractor": judge, "metrics": judged}
            if images:
                placed: Any = self.order if self.order != "auto" else "given" if given else "drawn"
                rows += scores.score_images(subject, self.compared, variant="images", order=placed, **options)
            else:
                rows += scores.evaluate(subject, self.compared, **options)
        try:
            return rows + (score_model(subject, self.compared, metrics=asked, how=self.how, run=self.run, **shared) if asked else [])
        except (scores.Interrupted, scores.ScoringError) as stopped:
            stopped.rows[:0] = rows
            raise


def _keep(rows: Sequence[ResultRow], model: str, out: Path | None, options: DataOptions | None) -> None:
    """Print the rows as a table, and append them where they belong; without any nothing is written. They tell the ``options``."""
    if not rows:
        return
    from memogen.metrics.paired import kept
    from memogen.metrics.registry import row_name
    from memogen.metrics.rows import ResultRow, append_rows
    from memogen.report.text import in_columns

    texts = [("metric", "value", "±", "samples")]
    for row in rows:
        protocol: Any = row.protocol
        variant = f" ({row.variant})" if row.variant not in (None, "images") else ""
        name = f"{row_name(row)}{variant}"
        texts.append((name, _number(row.value), _number(row.spread), f"{protocol['num_samples']:,}"))
    print(in_columns(texts, right=1))
    if any(row.metric == "inception_score" and row.spread is None for row in rows):
        print("inception_score: too few samples for more than one split, so there is no ±")
    whose = origin(model)
    target = out or (_run_folder(model) / "results.jsonl" if "recipe" in whose and not _ships(model) else None)
    if target is not None:
        brought = {"brought_to": {"size": options.size, "fit": options.fit}} if options else {}
        told = [ResultRow.read({**whose, **row, "protocol": {**(row.protocol or {}), **brought}}) for row in rows]
        append_rows(target, kept(told, target.parent))
        print(f"appended to {target}")


def origin(model: str) -> dict[str, object]:
    """What the rows say of where the images come from. ``seed`` is that of the training, of which images and a model without its run tell nothing."""
    from memogen import runs

    recipe = recipe_of(model)
    if recipe is None:
        return {"model": model, "seed": None, "command": runs.command_line()}
    own = {"recipe": recipe.recipe, "variant": recipe.variant, "seed": recipe.training.seed}
    return {**own, **runs.progress_of(_run_folder(model)), "command": runs.command_line()}


def _run_folder(model: str) -> Path:
    """Of a model that has a recipe."""
    from memogen.runs import run_of

    return run_of(model) or Path(model).expanduser()


def _ships(model: str) -> bool:
    """Whether the model is part of the installed package, to which nothing is written."""
    from memogen import shipped

    return _run_folder(model).resolve().is_relative_to(shipped.HERE.resolve())


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


def report(
    run: Annotated[Path, "a run folder; or a folder of result rows, or a .jsonl file of them"],
    *,
    data: OwnData = None,
    out: Annotated[Path | None, "of result rows: a .html page, or a .md file (an existing one changes only between its two marks)"] = None,
) -> None:
    """Write the run's report.html: samples, curves, memory, nearest training images, scores. Of result rows, print tables.

    These are Markdown where the output is no terminal.
    """
    if any((run / part).is_file() for part in ("config.yaml", "metrics.jsonl", "model/config.json")):
        return _run_report(run, data, out)
    if data is not None:
        raise UsageError(f"--data {data}: {run} holds result rows, not a run, and they need no images; leave --data out")
    if not run.exists():
        raise UsageError(f"{run}: no such file or folder; name a run folder, a folder of result rows, or a .jsonl file of them")
    if run.is_dir() and not any(run.rglob("*.jsonl")):
        raise UsageError(f"{run}: holds neither a run (config.yaml) nor result rows (.jsonl files); name a folder that does")
    from memogen.report import page, text
    from memogen.report.results import read_results

    tables = read_results(run)
    if out is None:
        return print(text.terminal_text(tables) if sys.stdout.isatty() else text.results_text(tables))
    if out.suffix not in (".html", ".md"):
        raise UsageError(f"--out {out}: neither .html nor .md; end the name with one of them")
    page.write_results(tables, out) if out.suffix == ".html" else text.write_results(tables, out)
    print(out)


def _run_report(run: Path, data: str | None, out: Path | None) -> None:
    if out is not None:
        raise UsageError(f"--out {out}: the page of a run is its report.html; leave it out")
    from memogen import runs
    from memogen.types import InputError

    if not (run / "config.yaml").is_file():  # a model that was extended has no recipe
        return print(runs.write_report(run))
    try:
        splits = runs.Splits(choose_data(data, model=str(run)).config)
        len(splits.train)
    except InputError as error:
        if data is not None:
            raise
        print(f"memogen: the report is written without training images ({error})", file=sys.stderr)
        return print(runs.write_report(run))
    print(runs.write_report(run, splits))
