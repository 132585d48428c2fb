"""Data sets that are made from others: affine-MNIST, stacked digits, and long-tailed versions of any labelled set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int, UInt8

from memogen.data.arrays import digest
from memogen.data.batches import epoch_order
from memogen.noise import uniform
from memogen.types import ImageData, InputError

# --- affine-MNIST: each digit turned by up to 20 degrees and placed in a 40 x 40 frame (Kim et al. 2018, section 4) ---
# The paper states neither distribution. Here the angle is uniform, and so is the place over the whole pixels at which the 28 x 28 image fits the
# frame: a digit that happens not to turn keeps its exact pixels.

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


# --- stacked digits: three digits in the three channels of a picture, 1,000 combinations, to count the modes that a generator reaches ---
# After Metz, Poole, Pfau and Sohl-Dickstein, "Unrolled generative adversarial networks", ICLR 2017, section 3.3.1, and Srivastava et al., "VEEGAN",
# NIPS 2017, section 4.2, who stack digits of MNIST.

CHANNELS = 3  # each with a digit
STACKED = {"train": 50_000, "test": 10_000}


def digits_of(combination: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n places"]:
    """The digit in each channel of the combinations 0 to 999: hundreds, tens, units."""
    return combination[:, None] // 10 ** np.arange(CHANNELS - 1, -1, -1) % 10


def stacked(
    image: UInt8[np.ndarray, "m 1 h w"], label: Int[np.ndarray, " m"], count: int, *, stream: int = 0
) -> tuple[UInt8[np.ndarray, "n 3 h w"], Int[np.ndarray, " n"]]:
    """``count`` pictures and their combinations; picture i is of combination i mod 1000, each channel an image of its digit drawn by (stream, i).

    A multiple of 1,000 pictures holds every combination equally often.
    """
    # departs: the papers draw the digits at random, so that combinations come unequally often; here the true distribution is exactly uniform.
    combination = np.arange(count) % 10**CHANNELS
    digit, order = digits_of(combination), np.argsort(label, kind="stable")
    size = np.bincount(label, minlength=10)
    first = np.cumsum(size) - size
    point = uniform(torch.arange(count), CHANNELS, seed=0, stream=stream, dtype=torch.float64).numpy()
    rows = order[first[digit] + np.floor(point * size[digit]).astype(np.int64)]
    return image[rows, 0], combination


# --- long tails: class k keeps a share r^k of its images, as in long-tailed CIFAR ---
# Cui, Jia, Lin, Song and Belongie, "Class-balanced loss based on effective number of samples", CVPR 2019, section 5.1: n_k = n mu^k.


def tail_rows(label: Int[np.ndarray, " n"], share: float) -> Int[np.ndarray, " kept"]:
    """The rows that stay, in their order: of class k the nearest whole number to ``share``^k of its images, and at least one.

    Which ones is drawn by the seed 0 and the class alone, so that a larger share keeps all that a smaller one keeps.
    """
    kept = []
    for name, count in zip(*np.unique(label, return_counts=True), strict=True):
        rows = np.flatnonzero(label == name)
        order = epoch_order(len(rows), seed=0, epoch=int(name))
        kept.append(rows[order[: max(1, round(share ** int(name) * int(count)))]])
    return np.sort(np.concatenate(kept))


def long_tailed(data: ImageData, share: float) -> ImageData:
    """``data`` thinned by :func:`tail_rows`; as it is where ``share`` is 1. Labels decide which images stay and nothing else."""
    if share == 1:
        return data
    if data.label is None:
        raise InputError(f"long_tail: {data.name} has no labels to thin it by: choose a labelled data set, or leave long_tail at 1")
    rows = tail_rows(data.label, share)
    image, label = np.ascontiguousarray(data.image[rows]), data.label[rows]
    return replace(data, image=image, label=label, digest=digest(image, label))
