"""How uint8 images become a network's input. The resize filter is part of a score's protocol, since scores depend on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from memogen.types import InputError

FILTERS = ("bilinear", "bicubic", "antialiased-bilinear", "antialiased-bicubic", "tensorflow-1-bilinear")


@dataclass(frozen=True)
class ImageInput:
    """Images are resized to ``size`` (height, width) by one of FILTERS and scaled to (pixel - ``mean``) / ``std`` in float.

    ``mean`` and ``std`` are in units of the uint8 pixel, one number or one per channel: 0 and 255 give [0, 1], 127.5 and 127.5 give [-1, 1].
    ``size`` None keeps the size. ``channels`` 3 repeats a grey image. Resized pixels are neither rounded nor clipped.
    """

    size: tuple[int, int] | None = None
    filter: str = "antialiased-bicubic"
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 255.0
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.filter not in FILTERS:
            raise InputError(f"filter: {self.filter!r} is unknown: choose {', '.join(FILTERS)}")
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"size: {self.size} is not an image size: give (height, width) in pixels, or None to keep every image as it is")
        if not all(math.isfinite(value) and value > 0 for value in _numbers(self.std)):
            raise InputError(f"std: {self.std} cannot scale pixels: give numbers above 0")

    @property
    def resize(self) -> str:
        """What a result row says about resizing."""
        return "none" if self.size is None else f"{self.filter} to {self.size[0]}x{self.size[1]}"

    def __call__(self, image: Shaped[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """The network's input, float32 on the images' device. Raises InputError for another type or number of channels."""
        if image.dtype != torch.uint8:
            raise InputError(f"images are {image.dtype}: give uint8 pixels from 0 to 255")
        have, want = image.shape[1], self.channels
        if want is not None and have != want:
            if have != 1:
                raise InputError(f"images have {have} channels, the extractor reads {want}: give images of {want}, or grey ones")
            image = image.expand(-1, want, -1, -1)
        pixels = resize(image.float(), self.size, self.filter)
        return (pixels - _per_channel(self.mean, pixels)) / _per_channel(self.std, pixels)


def resize(image: Float[Tensor, "b c h w"], size: tuple[int, int] | None, filter: str) -> Float[Tensor, "b c h2 w2"]:
    """``image`` resized to ``size``, if it has another one."""
    if size is None or tuple(image.shape[2:]) == tuple(size):
        return image
    if filter == "tensorflow-1-bilinear":
        return tensorflow_bilinear(image, size)
    smooth, _, kind = filter.rpartition("-")
    return nn.functional.interpolate(image, size, mode=kind, align_corners=False, antialias=smooth == "antialiased")


def tensorflow_bilinear(image: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """The ``resize_bilinear`` of TensorFlow 1 with its default ``align_corners=False``, bit by bit in float32.

    Pixel i of the result lies at i * (old / new), without the half-pixel offset of later libraries, and there is no antialiasing.
    The published inception scores and Fréchet distances use it.
    """
    low, high, part = _line(image.shape[3], size[1], image)
    image = _between(image[..., low], image[..., high], part)
    low, high, part = _line(image.shape[2], size[0], image)
    return _between(image[..., low, :], image[..., high, :], part[:, None])


def _line(old: int, new: int, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``new`` pixels: the two of ``old`` pixels that it lies between, and its distance from the first."""
    scale = torch.tensor(old, dtype=torch.float32) / torch.tensor(new, dtype=torch.float32)
    place = torch.arange(new, dtype=torch.float32) * scale  # float32 as in the original; in double some pixels would lie between others
    low = place.long().clamp(max=old - 1)
    part = (place - low).to(image)
    return low.to(image.device), (low + 1).clamp(max=old - 1).to(image.device), part


def _between(first: Tensor, second: Tensor, part: Tensor) -> Tensor:
    return first + (second - first) * part


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _per_channel(value: float | tuple[float, ...], image: Tensor) -> Tensor:
    numbers = _numbers(value)
    if len(numbers) not in (1, image.shape[1]):
        raise InputError(f"images have {image.shape[1]} channels, mean or std has {len(numbers)} numbers: give one, or one per channel")
    return torch.tensor(numbers, dtype=image.dtype, device=image.device).view(-1, 1, 1)
