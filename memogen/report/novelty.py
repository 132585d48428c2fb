"""A picture of what a novelty score tells apart, and what it does not."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from memogen.metrics.novelty import NoveltyScore
from memogen.types import ImageData, as_bytes

from . import grid
from .grid import LIGHT, Theme


def novelty_sheet(score: NoveltyScore, known: ImageData, others: ImageData, *, num: int = 10, theme: Theme = LIGHT) -> Image.Image:
    """Three rows of at most ``num`` images: the known ones that score lowest, the others that score lowest, and those that score highest."""
    rows = [
        (f"{known.name} {known.split}: the strangest", _chosen(known, score.known, num)),
        (f"{others.name}: the strangest", _chosen(others, score.others, num)),
        (f"{others.name}: the most like {known.name}", _chosen(others, -score.others, num)),
    ]
    return grid.sheet([images for _, images in rows], [words for words, _ in rows], theme=theme)


def _chosen(data: ImageData, score: Tensor, num: int) -> Tensor:
    """The images with the lowest scores, lowest first."""
    order = score.sort(stable=True).indices[:num].numpy()
    return as_bytes(torch.from_numpy(np.array(data.image[order])))
