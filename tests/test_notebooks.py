"""The notebooks run from the first cell to the last, with few steps, and what they train is what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import memogen
from memogen import shipped
from memogen.models import ReplayGANConfig
from memogen.report.history import read_run

pytest.importorskip("marimo")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def trained(name: str, **settings: Any) -> dict[str, Path]:
    """The run folders that a notebook made, by the names of its variables."""
    from importlib import import_module

    _, names = import_module(f"examples.{name}_notebook").app.run(defs={**settings, "out": "runs"})
    return {arm: names[arm] for arm in ("with_memory", "with_replay", "without") if arm in names}


def test_memory_gan() -> None:
    runs = {arm: read_run(path) for arm, path in trained("memory_gan", model_name="digits", steps=20).items()}
    assert runs["with_memory"].setting("model.memory.num_slots") == 64 and runs["without"].setting("model.memory") is None


def test_mem_vae() -> None:
    runs = {arm: read_run(path) for arm, path in trained("mem_vae", model_name="digits-vae", steps=2).items()}
    assert runs["with_memory"].setting("model.memory.slots") == [20, 10] and runs["without"].setting("model.memory.slots") == []
    sizes = [sum(run.results[0].parameters.values()) for run in runs.values()]
    assert abs(sizes[0] / sizes[1] - 1) < 0.01  # the same number of parameters


def test_replay_gan(here: Path) -> None:
    model = ReplayGANConfig((1, 8, 8), width=8, noise_dim=4).build()
    model.begin_task(0, (1,))
    model.begin_task(1, (0,))
    model.calibrate()
    memogen.save_pretrained(model, here / "tiny")
    runs = trained("replay_gan", model_name="tiny", judge="digits", steps=1)
    assert [read_run(path).setting("variant") for path in runs.values()] == ["joint_replay_mean", "fine_tuning"]
    first = [memogen.from_pretrained(path / "tasks" / "task-00" / "model") for path in runs.values()]
    assert all(one.equal(other) for one, other in zip(*(each.state_dict().values() for each in first), strict=True))  # the first digit is shared


@pytest.mark.skipif("mnist-replay" not in shipped.shipped_models(), reason="the model that the notebook opens is not there")
def test_replay_gan_opens_the_model_that_ships() -> None:
    assert trained("replay_gan", model_name="mnist-replay", judge="mnist", steps=1)
