"""Counted noise against a second SplitMix64 in whole numbers, and that drawing it never makes a GPU wait."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memogen import noise

WORD = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (7, 3), (2**40 + 1, 1 << 20), (2**63 - 1, 2)])
def test_bits_are_splitmix(seed: int, stream: int) -> None:
    got = noise.bits(torch.tensor([0, 1, 10**12]), 3, seed=seed, stream=stream).tolist()
    key = mix((seed * GOLDEN + stream + 1) & WORD)
    for index, row in zip((0, 1, 10**12), got, strict=True):
        start = mix(mix((index + key) & WORD) + key & WORD)
        assert [value & WORD for value in row] == [mix((start + place * GOLDEN) & WORD) for place in (1, 2, 3)]


@given(seed=st.integers(0, 2**63 - 1), stream=st.integers(0, 2**40), first=st.integers(0, 2**20))
def test_other_devices_hash_to_the_same_bits(seed: int, stream: int, first: int) -> None:
    """The operations that a GPU does, on the CPU."""
    index, key = torch.tensor([0, 1, 7, 2**40, -3]), noise._mix_number(seed * noise._GOLDEN + stream + 1)
    assert torch.equal(noise._bits_on_device(index, 4, key, first), noise.bits(index, 4, seed=seed, stream=stream, first=first))


@pytest.mark.parametrize("draw", [noise.bits, noise.uniform, noise.normal])
def test_a_row_can_be_drawn_in_parts(draw: Callable[..., Tensor]) -> None:
    index = torch.tensor([4, 9])
    whole = draw(index, 10, seed=3, stream=1)
    assert torch.equal(torch.cat([draw(index, n, seed=3, stream=1, first=start) for n, start in ((3, 0), (1, 3), (6, 4))], 1), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_drawing_does_not_make_a_gpu_wait() -> None:
    index = torch.arange(8, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn = noise.uniform(index, 4, seed=1), noise.normal(index, 4, seed=1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(drawn[0].cpu(), noise.uniform(index.cpu(), 4, seed=1))


COMPILED = """
import torch
from memogen import noise
index = torch.tensor([0, 1, 123456789, 2**40 + 7])
drawn = lambda index: noise._bits_on_device(index, 98, 7, 5)
assert torch.equal(torch.compile(drawn, dynamic=False)(index), drawn(index))
"""


@pytest.mark.slow
def test_compiled_bits_are_the_bits() -> None:
    """torch.compile takes products of a plain range for indices of 32 bits. A process of its own, as the tests' shape checks cannot be compiled."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True, timeout=300)
