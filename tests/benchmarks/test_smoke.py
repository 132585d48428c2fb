"""Every benchmark answers ``--help``, and a step of every kind of network can be measured."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from benchmarks.speed.step import training_step
from benchmarks.speed.timing import Setting
from memogen.recipes import RECIPES

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__"))


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("module", ["benchmarks", *(f"benchmarks.{module}" for module in MODULES)])
def test_every_benchmark_says_how_it_is_used(module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    told = capsys.readouterr().out
    assert ended.value.code == 0 and "usage" in told and ("--against CHECKOUT" in told or module != "benchmarks")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10_small", "cifar10", "stacked_digits"])
@pytest.mark.parametrize("variant", ["memory_gan", "no_memory"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_step_of_every_kind_of_network_can_be_measured(name: str, variant: str, channels_last: bool) -> None:
    setting = Setting(device="cpu", channels_last=channels_last)
    training_step(RECIPES[f"memory_gan/{name}"](variant=variant), setting.runtime(), 2)()
