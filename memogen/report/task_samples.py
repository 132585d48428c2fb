"""Samples of several models after their last task, a row for each: what every method has kept, at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from memogen.metrics.accuracy import class_counts
from memogen.metrics.samples import drawn_batches
from memogen.pretrained import RUN_MODEL, from_pretrained
from memogen.types import ClassModel, GenerativeModel, InputError

from . import grid
from .grid import LIGHT, Theme
from .history import Run, task_folders


def samples_sheet(runs: Sequence[Run], *, num: int = 20, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """``num`` images of each run, which are not chosen: where a model is told classes, those of its classes in their order. Raises InputError."""
    rows, captions = [], []
    for run in runs:
        if not task_folders(run.path):
            raise InputError(f"{run.path}: learned no sequence of tasks: name a run that did")
        model = from_pretrained(run.path / RUN_MODEL)
        assert isinstance(model, GenerativeModel), "what learns tasks draws images"
        rows.append(_drawn(model, num, seed))
        captions.append(f"{str(run.setting('recipe')).partition('/')[0]} {run.setting('variant')}".replace("_", " "))
    if len({row.shape[1:] for row in rows}) > 1:
        raise InputError("samples: the runs learned images of different shapes: name runs of one data set")
    return grid.sheet(rows, captions, theme=theme)


def _drawn(model: GenerativeModel, num: int, seed: int) -> UInt8[Tensor, "n c h w"]:
    if not isinstance(model, ClassModel):
        return torch.cat(list(drawn_batches(model, num, seed=seed))).cpu()
    counts = class_counts(num, len(model.known))
    parts = [part for label, count in zip(model.known, counts, strict=True) for part in drawn_batches(model, count, seed=seed, label=label)]
    return torch.cat(parts).cpu()
