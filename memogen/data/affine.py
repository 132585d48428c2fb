"""affine-MNIST: each digit rotated at random by up to 20 degrees and placed at random in a 40 x 40 frame (Kim et al. 2018, section 4).

The paper leaves the law of both open; here the angle is uniform and the place uniform over whole pixels at which the 28 x 28 image fits the frame,
so that a digit that happens not to turn keeps its exact pixels.
"""

from __future__ import annotations

import numpy as np
import torch

from memogen.noise import uniform

FRAME = 40
MAX_DEGREES = 20.0
AT_ONCE = 64  # images whose working arrays still fit a processor's cache
_BITS = 8
_UNIT = 1 << _BITS  # source positions are rounded to 1/256 pixel and weighted in integers: the same bytes on every machine
_MARGIN = FRAME  # black border that every source position falls into


def placements(index: np.ndarray, side: int, *, seed: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles in degrees (n,) and offsets (n, 2) = (down, right) of the images with these numbers."""
    numbers = uniform(torch.from_numpy(index), 3, seed=seed, stream=stream, dtype=torch.float64).numpy()
    offset = np.floor(numbers[:, 1:] * (FRAME - side + 1)).astype(np.int64)
    return (2 * numbers[:, 0] - 1) * MAX_DEGREES, offset


def affine(image: np.ndarray, first: int, *, seed: int = 0, stream: int = 0) -> np.ndarray:
    """uint8 (n, 1, s, s) to uint8 (n, 1, 40, 40); image i is placed as number ``first`` + i of this seed and stream says."""
    count, _, side, _ = image.shape
    degrees, offset = placements(np.arange(first, first + count), side, seed=seed, stream=stream)
    return place(image[:, 0], degrees, offset)[:, None]


def place(image: np.ndarray, degrees: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Turns each of (n, s, s) anticlockwise about its middle and puts its top left corner at ``offset``: (n, 40, 40), bilinear."""
    count, side, _ = image.shape
    padded = np.pad(image, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    row, column = _sources(degrees, offset, side)
    row_whole, row_part = row >> _BITS, row & (_UNIT - 1)
    column_whole, column_part = column >> _BITS, column & (_UNIT - 1)
    width = padded.shape[2]
    corner = np.arange(count, dtype=np.int64)[:, None, None] * (width * width) + row_whole * width + column_whole
    flat = padded.reshape(-1)
    top = flat[corner] * (_UNIT - column_part) + flat[corner + 1] * column_part
    bottom = flat[corner + width] * (_UNIT - column_part) + flat[corner + width + 1] * column_part
    return ((top * (_UNIT - row_part) + bottom * row_part + _UNIT * _UNIT // 2) >> (2 * _BITS)).astype(np.uint8)


def _sources(degrees: np.ndarray, offset: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in the padded image each pixel of the frame comes from, in units of 1/256 pixel: two arrays (n, 40, 40) of int32."""
    middle = (side - 1) / 2
    angle = np.deg2rad(degrees)[:, None, None]
    down = np.arange(FRAME)[None, :, None] - offset[:, 0, None, None] - middle
    right = np.arange(FRAME)[None, None, :] - offset[:, 1, None, None] - middle
    row = np.cos(angle) * down + np.sin(angle) * right + middle
    column = -np.sin(angle) * down + np.cos(angle) * right + middle
    most = (side + 2 * _MARGIN - 2) * _UNIT
    whole = [np.rint((position + _MARGIN) * _UNIT).clip(0, most).astype(np.int32) for position in (row, column)]
    return whole[0], whole[1]
