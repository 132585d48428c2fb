"""Where real images of a class and generated ones lie among a classifier's features, by t-SNE. After Wu et al. 2018, Fig. 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memogen.data.stream import of_classes
from memogen.metrics.extractors import Extractor
from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.models import ReplayGAN
from memogen.pretrained import from_pretrained
from memogen.training.tasks import task_folders
from memogen.types import ImageData, InputError

from . import charts
from .features import image_features, sample_features
from .theme import LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Groups = Mapping[str, Float[Tensor, "n f"]]
"""Features of images by what the images are called; the first group is what the others are compared with."""


def class_groups(models: Mapping[str, ReplayGAN], judge: Extractor, test: ImageData, label: int, num: int, *, seed: int = 0) -> Groups:
    """``num`` real test images of a class, or as many as there are, and ``num`` samples of each model."""
    drawn = {name: sample_features(model, judge, num, label=label, seed=seed) for name, model in models.items()}
    return {"real": image_features(of_classes(test, [label]), judge, num), **drawn}


def replay_gan(path: Path) -> ReplayGAN:
    """A saved model that draws the class it is asked for. Raises InputError."""
    model = from_pretrained(path)
    if not isinstance(model, ReplayGAN):
        raise InputError(f"{path}: a {type(model).__name__} draws no class that it is asked for: name a run of replay_gan")
    return model


def after_tasks(run: Path, numbers: Sequence[int]) -> dict[str, ReplayGAN]:
    """The models of a run as they stood after these tasks, counted from 1. Raises InputError."""
    folders = task_folders(run)
    if not all(1 <= number <= len(folders) for number in numbers):
        raise InputError(f"tasks {', '.join(map(str, numbers))}: {run} has learned tasks 1 to {len(folders)}: name some of these")
    return {f"after task {number}": replay_gan(folders[number - 1]) for number in numbers}


def first_learned(model: ReplayGAN) -> int:
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
            axes.scatter(part[:, 0], part[:, 1], s=14, color=colour, label=told, linewidths=0, alpha=0.75, zorder=3 if name == first else 2)
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
