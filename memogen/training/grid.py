"""Pictures of a training: a grid of samples, and the panels that show how images of fixed latents change while a task is learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

from memogen.types import folded

_GAP = 2
_VISIBLE = 48  # a cell is at least this many pixels high


def grid(images: UInt8[Tensor, "b c h w"], columns: int = 0) -> Image.Image:
    """Images of 1 or 3 channels side by side, in ``columns`` columns or about a square. Small images are magnified by a whole factor.

    Vectors are folded into rows (:func:`~memogen.types.folded`). Raises ValueError.
    """
    images = folded(images)
    count, channels, height, width = images.shape
    if channels not in (1, 3) or count == 0:
        raise ValueError(f"a grid shows one image or more of 1 or 3 channels; these have the shape {tuple(images.shape)}")
    columns = columns or math.ceil(math.sqrt(count))
    factor = math.ceil(_VISIBLE / max(height, width)) if max(height, width) < _VISIBLE else 1
    cells = images.permute(0, 2, 3, 1).cpu().numpy().repeat(factor, axis=1).repeat(factor, axis=2)
    step_y, step_x = height * factor + _GAP, width * factor + _GAP
    sheet = np.full((math.ceil(count / columns) * step_y + _GAP, columns * step_x + _GAP, channels), 128, dtype=np.uint8)
    for i, cell in enumerate(cells):
        top, left = _GAP + i // columns * step_y, _GAP + i % columns * step_x
        sheet[top : top + height * factor, left : left + width * factor] = cell
    return Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)


FOLDER = "evolution"
_LABELS = "classes"
Panel = Callable[[nn.Module], tuple[Sequence[int], UInt8[Tensor, "k n c h w"]]]
"""Returns the classes of a model and ``n`` images of each, always from the same latents. The classes are empty for a model without classes."""


@dataclass(frozen=True)
class Evolution:
    """Writes ``folder``/evolution/step-NNNNNN.png, a mosaic of the model's panel, at steps 0, 1, 2, 4, 8, ... of a task and at its last."""

    folder: Path
    steps: int
    panel: Panel

    def __call__(self, step: int, model: nn.Module) -> None:
        if step & (step - 1) == 0 or step == self.steps:
            place = self.folder / FOLDER
            place.mkdir(parents=True, exist_ok=True)
            labels, images = self.panel(model)
            about = PngInfo()
            about.add_text(_LABELS, ",".join(map(str, labels)))
            mosaic(images).save(place / f"step-{step:06d}.png", pnginfo=about)


def mosaic(images: UInt8[Tensor, "k n c h w"]) -> Image.Image:
    """One image without gaps: a row for each class, a column for each latent."""
    rows, columns, channels, height, width = images.shape
    pixels = images.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels).cpu().numpy()
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def read_panel(path: Path, height: int, width: int) -> tuple[tuple[int, ...], UInt8[np.ndarray, "k n c h w"]]:
    """The classes and the images in a mosaic of images of ``height`` x ``width`` pixels."""
    with Image.open(path) as picture:
        pixels, words = np.asarray(picture), str(picture.info.get(_LABELS, ""))
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    labels = tuple(int(word) for word in words.split(",") if word)
    return labels, pixels.reshape(rows, height, columns, width, -1).transpose(0, 2, 4, 1, 3)


def panels(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of every panel in a task's folder, by step."""
    files = sorted((folder / FOLDER).glob("step-*.png"))
    return [(int(file.stem.removeprefix("step-")), file) for file in files]
