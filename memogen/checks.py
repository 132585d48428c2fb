"""What every model asks of what it is given: a number of images to draw, and a batch of images to read. One check for all families."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from memogen.errors import InputError

_TOLERANCE = 1e-3  # of the range: what rounding in half precision may leave outside


def check_count(num: object) -> None:
    """Raises InputError for what is no number of images: a whole number, 0 or more."""
    if isinstance(num, bool) or not isinstance(num, (int, np.integer)) or num < 0:
        raise InputError(f"num: {num!r} is not a number of images: give a whole number, 0 or more")


def check_images(image: object, image_shape: tuple[int, int, int], image_range: tuple[float, float], *, slack: float = _TOLERANCE) -> None:
    """Raises InputError for what is no batch of a model's images: (b, c, h, w) of ``image_shape``, uint8, or floats in ``image_range``.

    ``slack`` is how far floats may lie outside, as a share of the range. Of floats the values are looked at.
    """
    if not isinstance(image, Tensor):
        raise InputError(f"image: it is a {type(image).__name__}: give a tensor (b, c, h, w), as torch.from_numpy makes one of an array")
    check_shape(image, image_shape)
    if image.dtype == torch.uint8 or torch.compiler.is_exporting():  # a graph that is exported has no values yet
        return
    low, high = image_range
    if not image.is_floating_point():
        raise InputError(f"image: its numbers are {image.dtype}: give uint8 from 0 to 255, or floats from {low:g} to {high:g}")
    if not image.numel():
        return
    least, most = (float(value) for value in image.aminmax())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InputError("image: it holds numbers that are nan or infinite: give finite ones")
    room = slack * (high - low)
    if not (low - room <= least and most <= high + room):
        of_bytes = least >= 0 and 1 + room < most <= 255
        mend = "give them as uint8" if of_bytes else f"bring them to {low:g} to {high:g}, or give uint8 from 0 to 255"
        raise InputError(f"image: its numbers lie from {least:g} to {most:g} where the model has {low:g} to {high:g}: {mend}")


def check_shape(image: Tensor, image_shape: tuple[int, int, int]) -> None:
    """Raises InputError for a tensor that is no batch of images of that shape."""
    shape = tuple(image.shape)
    if len(shape) != 4:
        mend = "give a batch, as image[None]" if shape == image_shape else f"give (b, {', '.join(map(str, image_shape))})"
        raise InputError(f"image: its shape {shape} is not that of a batch of images: {mend}")
    if shape[1:] != image_shape:
        turned = (shape[3], *shape[1:3]) == image_shape
        mend = "move the channels forward, as image.permute(0, 3, 1, 2)" if turned else "bring the images to that shape"
        raise InputError(f"image: it is {shape[1:]} where the model has {image_shape}: {mend}")
