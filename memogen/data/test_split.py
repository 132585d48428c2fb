"""A test split for images that have none: each image's own pixels say on which side it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

Keep = Callable[[np.ndarray], bool]


def place_of(image: np.ndarray) -> float:
    """A number in [0, 1) that the image's content draws: uint8 (1 or 3, h, w), or a real vector (1, 1, d).

    It depends on nothing else, so the same picture has the same number under any name, in any file format without loss and in any set. A picture of
    three equal channels has that of the same picture in grey.
    """
    if len(image) == 3 and (image == image[:1]).all():
        image = image[:1]
    named = f"{image.dtype.str} {image.shape}".encode()
    mixed = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8, key=hashlib.sha256(named).digest())
    return (int.from_bytes(mixed.digest(), "big") >> 11) / 2**53


def keeper(share: float, split: str) -> Keep | None:
    """Which images a split keeps where a ``share`` of all is held out to test: those whose number lies below it. None keeps all."""
    if not share:
        return None
    return lambda image: (place_of(image) < share) == (split == "test")


def nothing_kept(share: float, split: str, place: str) -> str:
    """What to say where no image lies on the wanted side."""
    return f"test_share: {place}: none of its images falls to {split} at a share of {share:g}: give another share, or sort them into train/ and test/"
