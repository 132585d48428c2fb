"""Every benchmark answers ``--help``, and a step of every kind of network can be measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.speed.step import training_step
from benchmarks.speed.timing import Setting
from memogen.recipes import RECIPES

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__"))


@pytest.mark.parametrize("module", MODULES)
def test_every_benchmark_says_how_it_is_used(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr


def test_the_benchmarks_of_speed_say_how_they_are_used() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--against CHECKOUT" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10_small", "cifar10", "stacked_digits"])
@pytest.mark.parametrize("variant", ["memory_gan", "no_memory"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_step_of_every_kind_of_network_can_be_measured(name: str, variant: str, channels_last: bool) -> None:
    setting = Setting(device="cpu", channels_last=channels_last)
    training_step(RECIPES[f"memory_gan/{name}"](variant=variant), setting.runtime(), 2)()
