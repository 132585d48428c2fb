"""Counted randomness: noise as a pure function of (seed, stream, image index, position), with no generator state.

The same address gives the same number on every device, rank and batch size. Numbers come from the SplitMix64 output function
(Steele, Lea and Flood 2014), evaluated on 64-bit integers that wrap around.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memogen.types import InputError

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of signed 64-bit integers."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def bits(index: Int[Tensor, " b"], dim: int, *, seed: int, stream: int = 0, first: int = 0) -> Int[Tensor, "b dim"]:
    """64 hashed bits for each (seed, stream, index, position), of the positions ``first`` .. ``first + dim - 1``."""
    if not -(2**63) <= seed < 2**63:
        raise InputError(f"seed is {seed}: use a whole number below 2^63")
    start = torch.full((), seed, dtype=torch.int64, device=index.device)  # filled there: a tensor of a number would make a GPU wait for its copy
    key = _mix(start * _GOLDEN + stream + 1)
    row = _mix(_mix(index.long() + key) + key)
    position = torch.arange(first + 1, first + dim + 1, device=index.device) * _GOLDEN
    return _mix(row[:, None] + position)


def uniform(
    index: Int[Tensor, " b"], dim: int, *, seed: int, stream: int = 0, first: int = 0, dtype: torch.dtype | None = None
) -> Float[Tensor, "b dim"]:
    """Uniform on [0, 1): 53 bits for float64, 24 bits for any narrower type."""
    dtype = dtype or torch.get_default_dtype()
    width = 53 if dtype == torch.float64 else 24
    return _shift(bits(index, dim, seed=seed, stream=stream, first=first), 64 - width).to(dtype) * 2.0**-width


def normal(
    index: Int[Tensor, " b"], dim: int, *, seed: int, stream: int = 0, first: int = 0, dtype: torch.dtype | None = None
) -> Float[Tensor, "b dim"]:
    """Standard normal by the inverse distribution function of 53 uniform bits, centred in their cells so that it is finite."""
    dtype = dtype or torch.get_default_dtype()
    cell = uniform(index, dim, seed=seed, stream=stream, first=first, dtype=torch.float64) + 2.0**-54
    return torch.special.ndtri(cell).to(dtype)
