"""The precision and the memory format "auto" are decided once, by the processors, and never saved as such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memogen import runs
from memogen.cli import main
from memogen.recipes.tables import Budget
from memogen.runs import reproduce
from memogen.training import TrainingConfig, start
from memogen.training.checkpoint import checkpoints, saved_settings
from memogen.training.runtime import computes_bf16
from tests.models.two_processes import precision
from tests.test_reproduce import TABLE
from tests.together import done, together
from tests.training.toy import train

AUTO = TrainingConfig(1, precision="auto", device="cpu")


def answer(monkeypatch: pytest.MonkeyPatch, tiles: bool) -> None:
    """The CPU says whether it has AMX tiles."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)


@pytest.mark.parametrize(("tiles", "found"), [(True, "bf16"), (False, "float32")])
def test_the_processor_decides(tiles: bool, found: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer(monkeypatch, tiles)
    assert start(AUTO).precision == found
    state = train(tmp_path, steps=2, precision="auto")
    assert state.settings["training.precision"] == saved_settings(checkpoints(tmp_path)[-1])["training.precision"] == found


def test_a_cpu_has_channels_last_and_a_run_keeps_its_own(tmp_path: Path) -> None:
    assert start(replace(AUTO, channels_last="auto")).channels_last is True
    assert train(tmp_path / "new", steps=1, channels_last="auto").settings["training.channels_last"] is True
    train(tmp_path / "begun", steps=1, channels_last=False)
    assert train(tmp_path / "begun", steps=2, channels_last="auto").settings["training.channels_last"] is False


@pytest.mark.parametrize(("given", "found"), [("auto", "true"), ("true", "true"), ("True", "true"), ("false", "false")])
def test_a_memory_format_is_asked_for_by_name(given: str, found: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"train replay_gan/mnist --dry-run --device cpu --training.channels_last {given}".split()) == 0
    assert f"channels_last: {found}" in capsys.readouterr().out
    assert main(["train", "replay_gan/mnist", "--dry-run", "--training.channels_last", "last"]) == 2
    assert "auto, true, false" in capsys.readouterr().err


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked_about_itself(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, not supported)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported or including_emulation)
    assert computes_bf16(torch.device("cuda", 0)) is supported


def test_processes_take_what_suits_them_all(tmp_path: Path) -> None:
    with together(tmp_path, precision, tmp_path) as processes:
        assert done(processes) == [0, 0]
    assert [(tmp_path / f"precision-{rank}").read_text() for rank in range(2)] == ["float32", "float32"]


def test_a_run_keeps_it_and_saves_no_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its configuration and hash are those of a run that was asked for the decision; continued elsewhere it stays as begun."""
    monkeypatch.setattr("memogen.runs.run.write_report", lambda *_: None)
    words = ["train", "memory_gan/digits", "--device", "cpu", "--batch-size", "8", "--scoring.metrics", "[]", "--training.precision", "auto", "--out"]
    for tiles, steps, resume, found in ((True, 2, "auto", "bf16"), (False, 3, "auto", "bf16"), (False, 2, "never", "float32")):
        answer(monkeypatch, tiles)
        command = [*words, str(tmp_path / "run"), "--steps", str(steps), "--resume", resume]
        capsys.readouterr()
        assert main([*command, "--dry-run"]) == 0 and f"precision: {found}" in capsys.readouterr().out
        assert main(command) == 0, capsys.readouterr().err
        config = runs.load_config(tmp_path / "run" / "config.yaml")
        assert config.training.precision == saved_settings(checkpoints(tmp_path / "run")[-1])["training.precision"] == found
        options = {"training.device": "cpu", "training.batch_size": 8, "training.steps": steps, "training.precision": found, "scoring.metrics": ()}
        assert runs.config_hash(config) == runs.config_hash(runs.choose("memory_gan/digits", options=options))


def test_tasks_that_are_taken_over_bring_it_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memogen.runs.run.write_report", lambda *_: None)
    words = "train replay_gan/digits --device cpu --batch-size 8 --steps 1 --succession.tasks.num_tasks 1 --model.width 4 --scoring.extractor null"
    for tiles, more in ((True, ["--out", str(tmp_path / "a")]), (False, ["--out", str(tmp_path / "b"), "--start", str(tmp_path / "a")])):
        answer(monkeypatch, tiles)
        assert main([*words.split(), "--training.precision", "auto", *more]) == 0
    assert runs.load_config(tmp_path / "b" / "config.yaml").training.precision == "bf16"


def test_all_runs_of_a_table_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some were done on another processor."""
    budget = {"memory_gan/digits": {"smoke": Budget(2, 150, None, precision="auto")}}
    table = replace(TABLE, budgets=budget)
    answer(monkeypatch, True)
    jobs = reproduce.plan(table, budget="smoke", out=tmp_path).jobs
    assert len(jobs) == 2 and {job.recipe.training.precision for job in jobs} == {"bf16"}
    train(jobs[1].folder, steps=1, precision="bf16")
    answer(monkeypatch, False)
    assert {job.recipe.training.precision for job in reproduce.plan(table, budget="smoke", out=tmp_path).jobs} == {"bf16"}
    assert {job.recipe.training.precision for job in reproduce.plan(table, budget="smoke", out=tmp_path / "new").jobs} == {"float32"}
