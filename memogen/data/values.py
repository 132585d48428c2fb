"""Numbers to pixels: how the values of pictures and arrays become bytes.

A set has one white, which follows from its largest value: 1 for 0 and 1 or floats up to 1, 255 for larger whole numbers, 65,535 for 16-bit numbers
beyond. A range that fits none of them is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["byte", "word", "high byte", "whole", "real"]
"""The type of the numbers: 8 bits, 16 bits, the upper half of 16 bits, other whole numbers, floats."""

_SURE = {"byte": 1, "word": 4095, "high byte": 15, "whole": 1, "real": 1}  # a larger value settles what is white
_KINDS: dict[str, Kind] = {"uint8": "byte", "uint16": "word"}


class WrongRange(ValueError):  # noqa: N818  the values are at fault
    """Values that cannot be right; the message names them and, after a colon, says how to mend them."""


@dataclass(frozen=True)
class Values:
    """The values of one picture, (h, w) or (h, w, 3), and their kind."""

    array: np.ndarray
    kind: Kind

    @property
    def largest(self) -> float:
        return float(self.array.max())


def kind_of(dtype: np.dtype) -> Kind:
    """The kind of an array's numbers. WrongRange for values that are no numbers."""
    if dtype.kind not in "biuf":
        raise WrongRange(f"values of type {dtype}: give uint8, or floats in [0, 1]")
    return "real" if dtype.kind == "f" else _KINDS.get(dtype.name, "whole")


def settled(kind: Kind, largest: float) -> bool:
    """Whether the white value is certain: larger values cannot change it."""
    return largest > _SURE[kind]


def white_of(kind: Kind, largest: float) -> int:
    """The white of a set whose largest value is ``largest``: 1, 255 or 65,535. WrongRange where none can be right."""
    if kind == "high byte":
        if largest <= 15:
            raise _few_bits("16-bit colours", f"{int(largest) * 256 + 255:,}")
        return 255
    if largest <= 1:
        return 1
    if largest <= 255:
        return 255
    if kind == "word" and largest <= 4095:
        raise _few_bits("16-bit values", f"{int(largest):,}")
    if kind == "word":
        return 65535
    raise WrongRange(f"values up to {largest:g}: bring them to 0..255 or [0, 1]")


def _few_bits(what: str, largest: str) -> WrongRange:
    return WrongRange(
        f"{what} that reach no more than {largest} of 65,535, as of a camera of 10 or 12 bits, would be nearly black: multiply them up to 65,535"
    )


def check_range(array: np.ndarray) -> None:
    """WrongRange for NaN, infinite and negative values."""
    low, high = float(array.min()), float(array.max())  # NaN anywhere makes both NaN
    if not (low >= 0 and high < np.inf):
        hint = "(x + 1) / 2 brings [-1, 1] to [0, 1]" if low >= -1 and high <= 1 else "bring them to 0..255 or [0, 1]"
        raise WrongRange(f"values {'hold NaN' if low != low else f'from {low:g} to {high:g}'}: {hint}")


def to_bytes(array: np.ndarray, white: int) -> np.ndarray:
    """uint8 of the same shape, in which ``white`` has become 255, rounded. WrongRange for floats between whole numbers where white is 255."""
    if white == 65535:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if white == 1:
        return np.rint(array * 255).astype(np.uint8) if array.dtype.kind == "f" else array.astype(np.uint8) * np.uint8(255)
    whole = array.astype(np.uint8)
    if array.dtype.kind == "f" and not np.array_equal(whole, array):
        raise WrongRange(
            f"values from {array.min():g} to {array.max():g} are neither whole numbers nor within [0, 1]: bring them to [0, 1], or round them"
        )
    return whole
