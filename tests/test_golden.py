"""The first twenty steps of each family, number by number, as they were when ``tests/golden.json`` was written (``python -m benchmarks.golden``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.golden import curve, differences, presets

STORED = json.loads((Path(__file__).parent / "golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("preset", STORED)
def test_a_training_takes_the_same_steps(preset: str) -> None:
    """To a relative 1e-4 on any machine, in double precision."""
    found = list(differences({preset: STORED[preset]}, {preset: curve(presets()[preset])}, 1e-4))
    assert not found, "\n".join(found[:5])


def test_a_curve_that_strays_is_seen() -> None:
    preset = next(iter(STORED))
    name = next(name for name, values in STORED[preset].items() if isinstance(values[-1], float) and values[-1])
    strayed = {**STORED[preset], name: [*STORED[preset][name][:-1], STORED[preset][name][-1] * 1.01 + 0.01]}
    assert [line.split(" ")[1] for line in differences({preset: STORED[preset]}, {preset: strayed}, 1e-4)] == [name]
