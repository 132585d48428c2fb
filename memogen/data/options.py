"""What a user may ask of the images on their way into the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memogen.types import InputError, check_seed

MOST_PIXELS = 2048
"""The longest side that images are brought to: hundreds of them are in memory at once."""


@dataclass(frozen=True)
class DataOptions:
    """How images are brought to one shape.

    ``size`` is (height, width) or one number for both; None keeps the size of the files, which must then be one and the same.
    ``fit`` says what happens to an image of another size: "error" refuses it, "resize" scales it (the aspect ratio may change), "crop" scales it
    until it covers ``size`` and cuts out the middle. ``channels`` "auto" gives 3 as soon as one image has colour.
    ``centre`` cuts a square of that many pixels out of the middle of every image first; 0 leaves it out. ``split_seed`` draws the test images of
    a set that was published without a split of its own. ``long_tail``: class k of the training split keeps this share, to the power of k, of its
    images; 1 keeps all. ``test_share`` holds that share of a user's own images out to test where they have no test split; what a picture shows says
    on which side it lies.
    """

    size: int | tuple[int, int] | None = None
    fit: Literal["error", "resize", "crop"] = "error"
    channels: Literal["auto", 1, 3] = "auto"
    filter: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "lanczos"
    centre: int = 0
    split_seed: int = 0
    long_tail: float = 1.0
    test_share: float = 0.0

    def __post_init__(self) -> None:
        check_seed(self.split_seed, "split_seed")
        if self.target and (len(self.target) != 2 or min(self.target) < 2):
            raise InputError(f"size: {self.size}: give one number or (height, width), each at least 2")
        if self.target and max(self.target) > MOST_PIXELS:
            raise InputError(f"size: {self.size}: give sides of {MOST_PIXELS} pixels at most")
        if self.fit not in ("error", "resize", "crop"):
            raise InputError(f"fit: {self.fit!r}: choose error, resize or crop")
        if self.fit != "error" and self.size is None:
            raise InputError(f"fit: {self.fit!r} without a size: give size as well, for instance size=64")
        if self.channels not in ("auto", 1, 3):
            raise InputError(f"channels: {self.channels!r}: choose auto, 1 or 3")
        if self.filter not in ("nearest", "box", "bilinear", "bicubic", "lanczos"):
            raise InputError(f"filter: {self.filter!r}: choose nearest, box, bilinear, bicubic or lanczos")
        if self.centre < 0:
            raise InputError(f"centre: {self.centre}: give a number of pixels, or 0 for none")
        if not 0 < self.long_tail <= 1:
            raise InputError(f"long_tail: {self.long_tail}: give a share above 0, for instance 0.6, or 1 to keep all images")
        if not 0 <= self.test_share < 1:
            raise InputError(f"test_share: {self.test_share}: give a share below 1, for instance 0.1, or 0 for no test split")

    @property
    def target(self) -> tuple[int, int] | None:
        """(height, width), or None for the size of the files."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size
