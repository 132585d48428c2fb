"""A contact sheet of images, and vectors as images."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

_GAP = 2
_VISIBLE = 48  # a cell is at least this many pixels high


def grid(images: UInt8[Tensor, "b c h w"], columns: int = 0) -> Image.Image:
    """``images`` (c 1 grey or 3 colour) row by row, in ``columns`` or about a square; small ones are magnified by a whole factor.

    Vectors are :func:`folded`.
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


def folded(images: UInt8[Tensor, "b c h w"]) -> UInt8[Tensor, "b c _ _"]:
    """Vectors, images of a single row, in rows of the root of their length, so that they can be seen; what the last row lacks is black.

    Images of several rows stay as they are.
    """
    length = images.shape[3]
    if images.shape[2] > 1:
        return images
    width = math.ceil(math.sqrt(length))
    rows = -(-length // width)
    return F.pad(images, (0, rows * width - length)).unflatten(3, (rows, width))[:, :, 0]
