"""Pictures of what runs over several tasks draw after the last one: ``python -m benchmarks.task_pictures RUN... --out FILE.png``.

One row of each run folder, named by its recipe and its variant: 20 samples of ``--seed``, none selected. A model with labels draws as many
of each class, 20 in all or fewer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from memogen.pretrained import from_pretrained
from memogen.report.figures import draw_samples
from memogen.report.grid import sheet
from memogen.runs import recipe_of

COLUMNS = 20


def row(run: Path, *, columns: int = COLUMNS, seed: int = 0) -> tuple[str, UInt8[Tensor, "columns c h w"]]:
    """The words before a row, and its images."""
    recipe = recipe_of(run)
    if recipe is None:
        raise ValueError(f"{run}: is no run folder")
    model: Any = from_pretrained(run)
    classes = list(getattr(model, "known", ()))
    if not classes:
        images = draw_samples(model, columns, seed=seed)
    else:
        each = max(1, columns // len(classes))
        images = torch.cat([draw_samples(model, each, seed=seed, label=label) for label in classes])
    return f"{recipe.recipe} {recipe.variant}", images


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of the same images, from top to bottom")
    parser.add_argument("--seed", type=int, default=0, help="of the latents")
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args(arguments)
    rows = [row(run, seed=told.seed) for run in told.runs]
    sheet([images for _, images in rows], [words for words, _ in rows]).save(told.out)


if __name__ == "__main__":
    main()
