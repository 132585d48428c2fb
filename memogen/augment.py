"""Random views of images: small rotations, scalings, shifts, flips and crops, brightness and colour, and a square cut out.

Batched, on the images' device, and differentiable in the image, so that they serve contrastive learning (Chen et al. 2020, "SimCLR") and a
discriminator's real and generated images (Zhao et al. 2020, "DiffAugment"). Each view is a function of its image and of counted random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from . import noise
from .configs import LATER

_NUMBERS = 13  # uniform numbers for each image; one more for each channel of a colour image, and two for offset and contrast
_ASPECT = math.log(4 / 3)  # the aspect ratio of a crop lies between 3:4 and 4:3


@dataclass(frozen=True)
class AugmentConfig:
    """How strong each part is; 0 (1 for ``crop``) turns it off.

    ``rotation``: at most, in radians, either way. ``scale``: a view shows 1 - scale .. 1 + scale of the side. ``shift``: at most this share of the
    side, in whole pixels and at least one. ``flip``: every second view is mirrored. ``crop``: the smallest share of the area that a random resized
    crop keeps. ``brightness``: values above the lowest one are multiplied by 1 - brightness .. 1 + brightness; ``gain``: the same for each channel
    by itself, ``saturation``: for the distance from grey, both only for images with several channels. ``offset``: up to this share of the range is
    added, either way; ``contrast``: after it, the distance from the channel's mean over the image is multiplied by 1 - contrast .. 1 + contrast.
    ``cutout``: the side of the square that is set to the lowest value, as a share of the image's side.
    """

    rotation: float = 0.2
    scale: float = 0.15
    shift: float = 0.1
    flip: bool = False
    crop: float = 1.0
    brightness: float = 0.4
    gain: float = 0.2
    saturation: float = 0.8
    cutout: float = 0.25
    offset: float = field(default=0.0, metadata=LATER)
    contrast: float = field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        for name, strength, most in (
            ("rotation", self.rotation, math.pi),
            ("shift", self.shift, 1),
            ("brightness", self.brightness, 1),
            ("gain", self.gain, 1),
            ("saturation", self.saturation, 1),
            ("cutout", self.cutout, 1),
            ("offset", self.offset, 1),
            ("contrast", self.contrast, 1),
        ):
            if not 0 <= strength <= most:
                raise ValueError(f"{name} is {strength}; it must lie in [0, {most:g}]")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale is {self.scale}; it must lie in [0, 1)")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; it must lie in (0, 1]")

    @property
    def moves(self) -> bool:
        """Whether pixels change their places."""
        return bool(self.rotation or self.scale or self.shift or self.flip or self.crop < 1)


STILL = AugmentConfig(rotation=0.0, scale=0.0, shift=0.0, brightness=0.0, gain=0.0, saturation=0.0, cutout=0.0)
"""The image itself."""
DIGITS = AugmentConfig()
"""For pictures whose mirror images mean something else: digits and letters."""
CLOTHES = AugmentConfig(flip=True)
"""For grey pictures of objects."""
COLOUR = AugmentConfig(flip=True, crop=0.3)
"""For photographs, whose crops show parts of one object."""
FEW = AugmentConfig(rotation=0.0, scale=0.0, shift=0.125, brightness=0.2, gain=0.0, saturation=0.5, cutout=0.25)
"""For a critic of few pictures: shifts, brightness, colour and cutout, whose traces a generator does not learn to draw."""


def augment(
    image: Float[Tensor, "b c h w"],
    index: Int[Tensor, " b"],
    *,
    seed: int,
    stream: int,
    config: AugmentConfig = DIGITS,
    image_range: tuple[float, float] = (0.0, 1.0),
) -> Float[Tensor, "b c h w"]:
    """One view of each image, in ``image_range``; what lies outside the image has the lowest value.

    The view of an image depends only on (seed, stream, its index), whatever the batch. It is bilinear in the pixels before it is clamped.
    """
    return views(image, index, seed=seed, streams=(stream,), config=config, image_range=image_range)


def views(
    image: Float[Tensor, "b c h w"],
    index: Int[Tensor, " b"],
    *,
    seed: int,
    streams: Sequence[int],
    config: AugmentConfig = DIGITS,
    image_range: tuple[float, float] = (0.0, 1.0),
) -> Float[Tensor, "n c h w"]:
    """The views that :func:`augment` gives in each stream, one stream after the other, in one pass."""
    low, high = image_range
    colours = image.shape[1] if image.shape[1] > 1 else 0
    lights = 2 if config.offset or config.contrast else 0
    drawn = [noise.uniform(index, _NUMBERS + colours + lights, seed=seed, stream=stream, dtype=torch.float32) for stream in streams]
    number = 2 * torch.cat(drawn) - 1
    image = image.repeat(len(streams), 1, 1, 1) if len(streams) > 1 else image
    view = image.to(torch.promote_types(image.dtype, torch.float32)) - low
    if config.moves:
        grid = F.affine_grid(_affine(number, config, view.shape[-2:]).to(view.dtype), list(view.shape), align_corners=False)
        view = F.grid_sample(view, grid, align_corners=False)
    gain = 1 + config.brightness * number[:, 5, None]
    if colours:
        gain = gain * (1 + config.gain * number[:, _NUMBERS : _NUMBERS + colours])
        grey = view.mean(1, keepdim=True)
        view = grey + (view - grey) * (1 + config.saturation * number[:, 12, None, None, None])
    view = view * gain[:, :, None, None]
    if lights:
        offset, contrast = number[:, -2:, None, None, None].unbind(1)
        view = view + config.offset * (high - low) * offset
        mean = view.mean((2, 3), keepdim=True)
        view = mean + (view - mean) * (1 + config.contrast * contrast)
    if config.cutout:
        rows, columns = (_window(number[:, 6 + axis], view.shape[2 + axis], config.cutout) for axis in (0, 1))
        hole = rows[:, None, :, None] & columns[:, None, None]
        view = view.masked_fill(hole, 0)
    return (view.clamp(0, high - low) + low).to(image.dtype)


def _affine(number: Float[Tensor, "b n"], config: AugmentConfig, size: torch.Size) -> Float[Tensor, "b 2 3"]:
    """The maps from a view's coordinates in [-1, 1] to those of the image: the crop first, then the rotation and the shift."""
    height, width = size
    angle, zoom = config.rotation * number[:, 0], 1 + config.scale * number[:, 1]
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    far = [2 * max(1, int(config.shift * side)) / side if config.shift else 0.0 for side in (width, height)]
    right, down = far[0] * number[:, 2], far[1] * number[:, 3]
    one, two, three, four = cos, sin * (-height / width), sin * (width / height), cos
    if config.crop < 1:
        area, aspect = 0.5 + 0.5 * config.crop + (0.5 - 0.5 * config.crop) * number[:, 8], torch.exp(0.5 * _ASPECT * number[:, 9])
        across, along = ((area.sqrt() * part).clamp_max(1) for part in (aspect, 1 / aspect))
        x, y = (1 - across) * number[:, 10], (1 - along) * number[:, 11]
        right, down = right + one * x + two * y, down + three * x + four * y
        one, two, three, four = one * across, two * along, three * across, four * along
    if config.flip:
        side = torch.where(number[:, 4] < 0, -1.0, 1.0)
        one, three = one * side, three * side
    return torch.stack([one, two, right, three, four, down], 1).view(-1, 2, 3)


def _window(number: Float[Tensor, " b"], length: int, share: float) -> Bool[Tensor, "b length"]:
    """int(share length) consecutive pixels at a uniformly random place."""
    size = int(share * length)
    start = torch.floor((0.5 * number + 0.5) * (length - size + 1))
    middle = start + 0.5 * (size - 1)
    return (torch.arange(length, device=number.device) - middle[:, None]).abs() < 0.5 * size
