"""The page of a memory replay GAN's run: its categories before and after an extension, and the images of a class by t-SNE.

:func:`embedding` is Fig. 4 of Wu et al. 2018. What every run that learns tasks shows is in :mod:`memogen.report.tasks`.
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
from memogen.metrics.samples import device_of, model_source
from memogen.pretrained import from_pretrained
from memogen.training.task_folders import task_folders
from memogen.types import ClassModel, ImageData, InputError

from . import charts
from .charts import words_of
from .grid import CLEAR, LIGHT, Theme
from .history import Run, is_number, protocol_of
from .parts import Column, Section, Sign, Table, Text
from .sections import FamilyPart, PageContext, picture, word

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLOCK = 250  # images whose features are looked at together
LEARNED = 0.25  # of the way from chance to certainty: the least accuracy of samples that show their class
POINTS = 150  # images of a group in the embedding on a page
EXTENDED = "replay_gan/extend"
"""The recipe in the rows of an extended model; their ``task`` is 0 before and 1 after the extension."""

Groups = Mapping[str, Float[Tensor, "n f"]]
"""Features of groups of images by name; the others are compared with the first."""


def sections(page: PageContext) -> FamilyPart:
    """Every category before and after an extension, and the first class after some of the tasks."""
    model, folder = page.model, page.folder
    asked = model.config.name(model.known[-1]) if isinstance(model, ClassModel) and model.known else "0"
    commands = (
        ("draw one class", f"memogen sample {folder} --label {word(asked)}"),
        ("add a category, from its images alone", f"memogen extend {folder} --data NEW_IMAGES --label NAME"),
    )
    shown = first_class(page.run, page.held_out)
    return FamilyPart("Memory Replay GAN", shown, scores=categories(page.run), sign=_sign(page.run), commands=commands)


def _sign(run: Run) -> Sign | None:
    """Whether a classifier recognises the classes of samples better than chance; None unless it judged two classes or more."""
    own = (row for row in reversed(run.results) if row.metric == "accuracy" and row.variant != "real")
    last = next((row for row in own if row.task is None and row.class_ is None and is_number(row.value)), None)
    count = protocol_of(last).get("learned") if last else None
    if last is None or last.value is None or not is_number(count) or count < 2:
        return None
    chance, right = 1 / count, last.value
    told = f"{right:.1%} of its samples are taken for their class, {chance:.1%} would be by chance"
    return Sign(right >= chance + LEARNED * (1 - chance), told)


def categories(run: Run) -> Section | None:
    """Accuracy and Fréchet distance of every category before and after an extension; None for any other run."""
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
    lines = []
    for label, name in names.items():
        values = [newest.get((label, *column)) for column in columns]
        lines.append([name, *(f"{value:.3f}" if is_number(value) else "-" for value in values)])
    last, protocol = rows[-1], protocol_of(rows[-1])
    known, new, count = (protocol.get(key) for key in ("known", "new", "num_samples"))
    compared = f"{f'{count:,}' if is_number(count) else 'All'} samples of each category. The known ones are {known}, the new one is {new}."
    notes = (f"{_judge(protocol)} {compared}", f"Learned by {last.variant}, from {last.get('model')}.")
    return Section("Categories", (Table(head, lines, style="stack"), *(Text(note, soft=True) for note in notes)))


def _judge(protocol: Mapping[str, Any]) -> str:
    """The classifier that judged, and its accuracy."""
    how, accuracy = protocol.get("judge", "given"), protocol.get("extractor_accuracy")
    if how == "given":
        return f"Judged by {protocol.get('extractor')}" + (f", right on {accuracy:.1%} of its test images." if is_number(accuracy) else ".")
    sure = f" It is right on {accuracy:.1%} of other replays and of held-out images." if is_number(accuracy) else ""
    return f"Judged by a classifier {how}, which takes the model's word for the known ones: the replays are its own.{sure}"


def first_class(run: Run, held_out: ImageData | None) -> tuple[Section, ...]:
    """The first class after 1, 2, 4, ... tasks and the last, beside real images of it; empty without tasks, classifier or ``held_out``."""
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
    """Features of up to ``num`` real test images of a class, and of ``num`` samples of each model."""
    device, real = device_of(judge), of_classes(test, [label])
    blocks = (torch.from_numpy(np.array(real.image[start : min(start + BLOCK, num)])) for start in range(0, min(num, len(real)), BLOCK))
    groups = {"real": torch.cat([judge.features(block.to(device)).cpu() for block in blocks])}
    for name, model in models.items():
        draw = model_source(model, seed=seed, label=label)
        samples = (draw(start, min(BLOCK, num - start)) for start in range(0, num, BLOCK))
        groups[name] = torch.cat([judge.features(block.to(device)).cpu() for block in samples])
    return groups


def replay_gan(path: Path) -> ClassModel:
    """A saved model that draws the class it is asked for. Raises InputError."""
    model = from_pretrained(path)
    if not isinstance(model, ClassModel):
        raise InputError(f"{path}: a {type(model).__name__} cannot draw a given class: name a run of replay_gan")
    return model


def after_tasks(run: Path, numbers: Sequence[int]) -> dict[str, ClassModel]:
    """The models of a run after these tasks, counted from 1. Raises InputError for a task that the run has not learned."""
    folders = task_folders(run)
    if not all(1 <= number <= len(folders) for number in numbers):
        raise InputError(f"tasks {', '.join(map(str, numbers))}: {run} has learned tasks 1 to {len(folders)}: name some of these")
    return {f"after task {number}": replay_gan(folders[number - 1]) for number in numbers}


def first_learned(model: ClassModel) -> int:
    """The smallest class of the first task."""
    return min(model.known, key=lambda label: int(model.learned[label]))


def distances(groups: Groups) -> dict[str, float | None]:
    """The Fréchet distance of every group to the first; None for the first itself, and unless both have more images than features."""
    statistics = dict[str, FeatureStatistics]()
    for name, rows in groups.items():
        statistics[name] = FeatureStatistics(rows.shape[1])
        statistics[name].update(rows)
    first, *others = statistics
    enough = {name: found.count > found.dim for name, found in statistics.items()}
    found = {name: frechet_distance(statistics[name], statistics[first]) if enough[name] and enough[first] else None for name in others}
    return {first: None, **found}


def embedding(groups: Groups, *, of: str = "features", seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """t-SNE of features, a colour for each group and grey for the first, which lies on top; the legend has the Fréchet distances to it.

    ``of`` names the features in the title.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex
    from sklearn.manifold import TSNE

    points = torch.cat(list(groups.values())).double().numpy()
    if len(points) < 4:
        raise InputError(f"embedding: {len(points)} points: give more images")
    places = TSNE(perplexity=min(30.0, (len(points) - 1) / 3), init="pca", random_state=seed).fit_transform(points)
    parts = np.split(places, np.cumsum([len(rows) for rows in groups.values()])[:-1])
    apart, (first, *others) = distances(groups), groups
    colours = ["#9aa0a6", *(to_hex(colormaps["tab10"](place % 10)) for place in range(len(others)))]

    def draw(axes: Axes) -> None:
        for (name, distance), part, colour in zip(apart.items(), parts, colours, strict=True):
            told = name if distance is None else f"{name} ({distance:.1f})"
            axes.scatter(part[:, 0], part[:, 1], s=14, color=colour, label=words_of(told), linewidths=0, alpha=0.75, zorder=3 if name == first else 2)
        axes.set_xticks([])
        axes.set_yticks([])

    measured = any(apart[name] is not None for name in others)
    below = f"in brackets the Fréchet distance to {first}" if measured else f"no distances: too few images for {points.shape[1]} features"
    return charts.drawn(draw, title=f"t-SNE of {of}", x=below, y="", legend="beside", theme=theme, scale=1.6)
