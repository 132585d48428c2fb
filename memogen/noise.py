"""Counted randomness: noise as a pure function of (seed, stream, image index, position), with no generator state.

The same address gives the same number on every device, rank and batch size. Numbers come from the SplitMix64 output function
(Steele, Lea and Flood 2014), evaluated on 64-bit integers that wrap around.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.cuda.jiterator import _create_jit_fn as create_jit_fn

from memogen.types import check_seed

_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ALL = 2**64 - 1


class Stream:
    """Offsets of streams. Batch n of a training step has stream n (0, 1, ... over its phases), from which the noise z is drawn; every other draw for
    the same images adds one of these numbers, so that no two draws of a model share an address.
    """

    # memoryGAN
    CONDITION = 1 << 20  # the slot of a generated image, and the query around its key
    VIEWS = 1 << 21, 1 << 22  # the two views of a real image that are contrasted
    REPLAY = 1 << 24  # images of the frozen copy, of the other families too
    REAL_VIEW, FAKE_VIEW = 1 << 25, 1 << 26  # the view that the critic judges, if there is augmentation

    # Memory Replay GANs
    CLASS = 1 << 20  # the class of a generated image
    GIVEN_CLASS = 1 << 21  # the noise of an image whose class is given
    STATISTICS = 1 << 22  # the noise that batch statistics are taken of
    FISHER = 1 << 23  # the noise that Fisher information is estimated on
    PENALTY = 1 << 26  # where between real and fake the gradient penalty is taken
    BANK = 1 << 27  # the noise of stored replays, and which of them a batch takes
    PAST_CLASS = 1 << 28  # which past classes a batch replays

    # MEM-VAE
    BINARISE = 1 << 21  # which pixels are white
    SECOND_Z = 1 << 22  # the authors' second draw of z
    COMPONENT = (1 << 20) + 2  # the component of a learned prior that z comes from
    PRIOR_LABEL = (1 << 20) + 1  # the label of an image that is given without one
    POSTERIOR, CALIBRATION, RECONSTRUCTION = 7100, 7200, 7300  # z of images that are scored, calibrated with, and filled in

    # scores and pages, which no training uses
    BINARISE_TEST, MASK, START, IMPORTANCE = 7000, 7001, 7002, 7003
    LIKE = (1 << 20) + 77  # samples like a picture, on the page of the explorer


def bits(index: Int[Tensor, " b"], dim: int, *, seed: int, stream: int = 0, first: int = 0) -> Int[Tensor, "b dim"]:
    """64 random bits for each (seed, stream, index, position), at positions ``first`` .. ``first + dim - 1``. Raises InputError for a bad seed."""
    check_seed(seed)
    key = _mix_number(int(seed) * _GOLDEN + stream + 1)
    if index.device.type == "cpu":  # numpy has unsigned numbers and starts each operation five times as fast
        words = _mix_words(_mix_words(index.long().numpy().view(np.uint64) + np.uint64(key)) + np.uint64(key))
        positions = np.arange(first + 1, first + dim + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        return torch.from_numpy(_mix_words(words[:, None] + positions).view(np.int64))
    return _bits_on_device(index, dim, key, first)


def _bits_on_device(index: Int[Tensor, " b"], dim: int, key: int, first: int) -> Int[Tensor, "b dim"]:
    """The same with signed integers, which torch has on every device; on CUDA by one kernel, as thirty small ones take longer than a small layer."""
    position = torch.arange(first + 1, first + dim + 1, device=index.device) | 0  # else torch.compile takes the products for indices of 32 bits
    if index.device.type == "cuda" and not torch.compiler.is_compiling():
        mixed: Tensor = _cuda_bits()(index.long()[:, None], position, key=_signed(key))
        return mixed
    row = _mix(_mix(index.long() + _signed(key)) + _signed(key))
    return _mix(row[:, None] + position * _signed(_GOLDEN))


@cache
def _cuda_bits() -> Callable[..., Tensor]:
    """The kernel of all three rounds, element by element."""
    mix = f"x ^= x >> 30; x *= {_MIX_1}ull; x ^= x >> 27; x *= {_MIX_2}ull; x ^= x >> 31;"
    add = "x += (unsigned long long)"
    body = f"unsigned long long x = index; {add}key; {mix} {add}key; {mix} {add}position * {_GOLDEN}ull; {mix} return (T)x;"
    made: Callable[..., Tensor] = create_jit_fn(f"template <typename T> T bits(T index, T position, T key) {{ {body} }}", key=0)
    return made


def _mix_number(x: int) -> int:
    x &= _ALL
    x = ((x ^ (x >> 30)) * _MIX_1) & _ALL
    x = ((x ^ (x >> 27)) * _MIX_2) & _ALL
    return x ^ (x >> 31)


def _mix_words(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    return x ^ (x >> np.uint64(31))


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(_MIX_1)
    x = (x ^ _shift(x, 27)) * _signed(_MIX_2)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of signed 64-bit integers."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    """The signed 64-bit integer with the same bits."""
    return x - 2**64 if x >> 63 else x


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
