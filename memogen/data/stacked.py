"""Stacked digits: three digits in the three channels of a picture, 1,000 combinations, to count the modes that a generator reaches.

After Metz, Poole, Pfau and Sohl-Dickstein, "Unrolled generative adversarial networks", ICLR 2017, section 3.3.1, and Srivastava et al., "VEEGAN",
NIPS 2017, section 4.2, who stack digits of MNIST.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, UInt8

from memogen.noise import uniform

PLACES = 3  # channels, each with a digit
COUNTS = {"train": 50_000, "test": 10_000}


def digits_of(combination: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n places"]:
    """The digit in each channel of the combinations 0 to 999: hundreds, tens, units."""
    return combination[:, None] // 10 ** np.arange(PLACES - 1, -1, -1) % 10


def stacked(
    image: UInt8[np.ndarray, "m 1 h w"], label: Int[np.ndarray, " m"], count: int, *, stream: int = 0
) -> tuple[UInt8[np.ndarray, "n 3 h w"], Int[np.ndarray, " n"]]:
    """``count`` pictures and their combinations; picture i is of combination i mod 1000, each channel an image of its digit drawn by (stream, i).

    A multiple of 1,000 pictures holds every combination equally often.
    """
    # departs: the papers draw the digits at random, so that combinations come unequally often; here the true distribution is exactly uniform.
    combination = np.arange(count) % 10**PLACES
    digit, order = digits_of(combination), np.argsort(label, kind="stable")
    size = np.bincount(label, minlength=10)
    first = np.cumsum(size) - size
    point = uniform(torch.arange(count), PLACES, seed=0, stream=stream, dtype=torch.float64).numpy()
    rows = order[first[digit] + np.floor(point * size[digit]).astype(np.int64)]
    return image[rows, 0], combination
