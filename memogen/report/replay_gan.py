"""The page of a memory replay GAN's run: its categories before and after an extension, and where the images of a class lie by t-SNE.

After Wu et al. 2018, Fig. 4: :func:`embedding` of real images of a class and of generated ones, by a classifier's features. What any run that
learned tasks shows is in :mod:`memogen.report.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memogen.data.task_sequence import of_classes
from memogen.metrics.extractors import Extractor, extractor
from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.metrics.rows import ResultRow
from memogen.metrics.samples import device_of, model_source
from memogen.pretrained import from_pretrained
from memogen.training.task_folders import task_folders
from memogen.types import ClassModel, GenerativeModel, ImageData, InputError

from . import charts
from .charts import words_of
from .grid import CLEAR, LIGHT, Theme
from .history import Run, is_number, protocol_of
from .parts import Column, Section, Sign, Table, Text
from .sections import FamilyPart, PageContext, picture, word

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLOCK = 250  # images whose features are looked at together
LEARNED = 0.25  # of the way from chance to certainty: what a judge must find in samples that show their class
POINTS = 150  # images of a group in the embedding on a page
EXTENDED = "replay_gan/extend"
"""The recipe that rows of an extended model name; their ``task`` is 0 before and 1 after."""

Groups = Mapping[str, Float[Tensor, "n f"]]
"""Features of images by what the images are called; the first group is what the others are compared with."""


def sections(page: PageContext) -> FamilyPart:
    """Every category before and after an extension; where the first class lies after some of the tasks."""
    model, folder = page.model, page.folder
    asked = model.config.name(model.known[-1]) if isinstance(model, ClassModel) and model.known else "0"
    commands = (
        ("draw one class", f"memogen sample {folder} --label {word(asked)}"),
        ("add a category, from its images alone", f"memogen extend {folder} --data NEW_IMAGES --label NAME"),
    )
    shown = first_class(page.run, page.held_out)
    return FamilyPart("Memory Replay GAN", shown, scores=categories(page.run), sign=_sign(page.run), commands=commands)


def _sign(run: Run) -> Sign | None:
    """Whether a judge takes the samples for their classes, and not by chance; None where nobody judged more than one class."""
    own = (row for row in reversed(run.results) if row.metric == "accuracy" and row.variant != "real")
    last = next((row for row in own if row.task is None and row.class_ is None and is_number(row.value)), None)
    count = protocol_of(last).get("learned") if last else None
    if last is None or last.value is None or not is_number(count) or count < 2:
        return None
    chance, right = 1 / count, last.value
    told = f"{right:.1%} of its samples are taken for their class, {chance:.1%} would be by chance"
    return Sign(right >= chance + LEARNED * (1 - chance), told)


def categories(run: Run) -> Section | None:
    """Accuracy and Fréchet distance of every category before and after an extension; None for another run."""
    rows = [row for row in run.results if row.recipe == EXTENDED and row.class_ is not None]
    if not rows:
        return None
    newest = {(row.class_, row.metric, row.task): row.value for row in rows}
    names = {row.class_: str(row.get("class_name")) for row in rows}
    head: list[Column | str] = [
        "Category",
        Column("Accuracy before", "higher"),
        Column("Accuracy after", "higher"),
        Column("Fréchet distance before", "lower"),
        Column("Fréchet distance after", "lower"),
    ]
    columns = [(metric, task) for metric in ("accuracy", "fid") for task in (0, 1)]
    lines = [[name, *(_value(newest.get((label, *column))) for column in columns)] for label, name in names.items()]
    return Section("Categories", (Table(head, lines, style="stack"), *(Text(text, soft=True) for text in _notes(rows[-1]))))


def _value(value: object) -> str:
    return f"{value:.3f}" if is_number(value) else "-"


def _notes(row: ResultRow) -> list[str]:
    protocol = protocol_of(row)
    known, new, count = (protocol.get(key) for key in ("known", "new", "num_samples"))
    compared = f"{f'{count:,}' if is_number(count) else 'All'} samples of each category. The known ones are {known}, the new one is {new}."
    return [f"{_judge(protocol)} {compared}", f"Learned by {row.variant}, from {row.get('model')}."]


def _judge(protocol: Mapping[str, Any]) -> str:
    """Who judged; of one that was trained for it, on what, and how well it knows that."""
    how, accuracy = protocol.get("judge", "given"), protocol.get("extractor_accuracy")
    if how == "given":
        return f"Judged by {protocol.get('extractor')}" + (f", right on {accuracy:.1%} of its test images." if is_number(accuracy) else ".")
    sure = f" It is right on {accuracy:.1%} of other replays and of held-out images." if is_number(accuracy) else ""
    return f"Judged by a classifier {how}, which takes the model's word for the known ones: the replays are its own.{sure}"


def first_class(run: Run, held_out: ImageData | None) -> tuple[Section, ...]:
    """The first class after 1, 2, 4, ... tasks and the last one, beside real images of it; nothing without tasks, classifier or ``held_out``."""
    name, last = run.setting("scoring.extractor"), len(task_folders(run.path))
    if held_out is None or not name or not last:
        return ()

    def draw() -> Image.Image:
        models = after_tasks(run.path, sorted({*(2**power for power in range(last.bit_length())), last}))
        first = next(iter(models.values()))
        label = first_learned(first)
        groups = class_groups(models, extractor(name), held_out, label, POINTS)
        return embedding(groups, of=f"a classifier's features, class {first.config.name(label)}", theme=CLEAR)

    told = f"At most {POINTS} real test images of the first class, and {POINTS} drawn after each of these tasks."
    drawn = picture(draw, "Real and generated images of the first class, by t-SNE", told, chart=True)
    return (Section("Where the first class lies", (drawn,)),)


def class_groups(models: Mapping[str, ClassModel], judge: Extractor, test: ImageData, label: int, num: int, *, seed: int = 0) -> Groups:
    """``num`` real test images of a class, or as many as there are, and ``num`` samples of each model."""
    drawn = {name: sample_features(model, judge, num, label=label, seed=seed) for name, model in models.items()}
    return {"real": image_features(of_classes(test, [label]), judge, num), **drawn}


def replay_gan(path: Path) -> ClassModel:
    """A saved model that draws the class it is asked for. Raises InputError."""
    model = from_pretrained(path)
    if not isinstance(model, ClassModel):
        raise InputError(f"{path}: a {type(model).__name__} cannot draw a given class: name a run of replay_gan")
    return model


def after_tasks(run: Path, numbers: Sequence[int]) -> dict[str, ClassModel]:
    """The models of a run as they stood after these tasks, counted from 1. Raises InputError."""
    folders = task_folders(run)
    if not all(1 <= number <= len(folders) for number in numbers):
        raise InputError(f"tasks {', '.join(map(str, numbers))}: {run} has learned tasks 1 to {len(folders)}: name some of these")
    return {f"after task {number}": replay_gan(folders[number - 1]) for number in numbers}


def first_learned(model: ClassModel) -> int:
    """The class that was learned in the first task; of several the first by number."""
    return min(model.known, key=lambda label: int(model.learned[label]))


def distances(groups: Groups) -> dict[str, float | None]:
    """The Fréchet distance of every group to the first; None for that one, and where there are no more images than features."""
    statistics = dict[str, FeatureStatistics]()
    for name, rows in groups.items():
        statistics[name] = FeatureStatistics(rows.shape[1])
        statistics[name].update(rows)
    first, *others = statistics
    enough = {name: found.count > found.dim for name, found in statistics.items()}
    found = {name: frechet_distance(statistics[name], statistics[first]) if enough[name] and enough[first] else None for name in others}
    return {first: None, **found}


def embedding(groups: Groups, *, of: str = "features", seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """t-SNE of features, a colour for each group, with its Fréchet distance to the first in the legend; the first lies on top.

    ``of`` says in the title what the features are of.
    """
    from sklearn.manifold import TSNE

    points = torch.cat(list(groups.values())).double().numpy()
    if len(points) < 4:
        raise InputError(f"embedding: {len(points)} points: give more images")
    places = TSNE(perplexity=min(30.0, (len(points) - 1) / 3), init="pca", random_state=seed).fit_transform(points)
    parts = np.split(places, np.cumsum([len(rows) for rows in groups.values()])[:-1])
    apart, (first, *others) = distances(groups), groups

    def draw(axes: Axes) -> None:
        for (name, distance), part, colour in zip(apart.items(), parts, _colours(len(parts)), strict=True):
            told = name if distance is None else f"{name} ({distance:.1f})"
            axes.scatter(part[:, 0], part[:, 1], s=14, color=colour, label=words_of(told), linewidths=0, alpha=0.75, zorder=3 if name == first else 2)
        axes.set_xticks([])
        axes.set_yticks([])

    measured = any(apart[name] is not None for name in others)
    below = f"in brackets the Fréchet distance to {first}" if measured else f"no distances: too few images for {points.shape[1]} features"
    return charts.drawn(draw, title=f"t-SNE of {of}", x=below, y="", legend=True, theme=theme, scale=1.6)


def _colours(num: int) -> list[str]:
    """Grey for what is real, then distinct ones."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return ["#9aa0a6", *(to_hex(colormaps["tab10"](place % 10)) for place in range(num - 1))]


def image_features(data: ImageData, judge: Extractor, num: int) -> Float[Tensor, "n f"]:
    """Those of the first ``num`` images."""
    blocks = (torch.from_numpy(np.array(data.image[start : min(start + BLOCK, num)])) for start in range(0, min(num, len(data)), BLOCK))
    return torch.cat([judge.features(block.to(device_of(judge))).cpu() for block in blocks])


def sample_features(model: GenerativeModel, judge: Extractor, num: int, *, label: int | None = None, seed: int = 0) -> Float[Tensor, "n f"]:
    """Those of ``num`` samples, of one class where ``label`` names it."""
    draw = model_source(model, seed=seed, label=label)
    return torch.cat([judge.features(draw(start, min(BLOCK, num - start)).to(device_of(judge))).cpu() for start in range(0, num, BLOCK)])
