"""How images of fixed latents change while a task is learned: kept at steps 0, 1, 2, 4, 8, ... and at the task's last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

FOLDER = "evolution"
_LABELS = "classes"
Panel = Callable[[nn.Module], tuple[Sequence[int], UInt8[Tensor, "k n c h w"]]]
"""The classes of a model, and ``n`` images of each, always from the same latents; rows without a class where it knows none."""


@dataclass(frozen=True)
class Evolution:
    """Writes the panel of a live model into ``folder``/evolution as step-NNNNNN.png, a mosaic of ``k`` rows without gaps; steps count in the task."""

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
    """Rows of classes, columns of latents, pixel beside pixel."""
    rows, columns, channels, height, width = images.shape
    pixels = images.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels).cpu().numpy()
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def read_panel(path: Path, height: int, width: int) -> tuple[tuple[int, ...], UInt8[np.ndarray, "k n c h w"]]:
    """The classes and the images of a mosaic of images of that size."""
    with Image.open(path) as picture:
        pixels, words = np.asarray(picture), str(picture.info.get(_LABELS, ""))
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    labels = tuple(int(word) for word in words.split(",") if word)
    return labels, pixels.reshape(rows, height, columns, width, -1).transpose(0, 2, 4, 1, 3)


def panels(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of what a task's folder holds."""
    files = sorted((folder / FOLDER).glob("step-*.png"))
    return [(int(file.stem.removeprefix("step-")), file) for file in files]
