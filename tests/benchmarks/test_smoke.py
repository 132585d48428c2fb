"""Every benchmark runs: each answers ``--help``, and the cost of a step is measured for every size of network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import memory_step

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__"))


@pytest.mark.parametrize("module", MODULES)
def test_every_benchmark_says_how_it_is_used(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10_small", "cifar10", "stacked_digits"])
def test_a_step_of_every_kind_of_network_is_measured(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    memory_step.main(["--recipes", f"memory_gan/{name}", "--rounds", "1", "--batch-size", "2", "--device", "cpu"])
    assert f"memory_gan/{name}" in capsys.readouterr().out
