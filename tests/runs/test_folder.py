"""A run folder describes one run at every moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from memogen import InputError, runs
from memogen.metrics.metric import ModelScoring
from memogen.recipes import RECIPES, DataConfig, Recipe
from memogen.runs.folder import begun, occupied, set_aside


def images(path: Path, seed: int) -> Path:
    """Forty grey pictures with a test split."""
    drawn = np.random.default_rng(seed).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(path, x_train=drawn[:30], x_test=drawn[30:])
    return path


def recipe(data: Path, **training: object) -> Recipe:
    found = RECIPES["mem_vae/folder"]()
    training = {"steps": 3, "batch_size": 10, "sample_every": 0, "checkpoint_every": 2, "log_every": 1, **training}
    scoring = replace(found.scoring, metrics=("nll",), likelihood_every=0, model=ModelScoring(importance_samples=5))
    return replace(found, data=DataConfig("folder", str(data)), training=replace(found.training, **training), scoring=scoring)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return runs.train(recipe(images(tmp_path / "a.npz", 0)), out=tmp_path / "run", console=False)


def test_a_fresh_start_finds_an_empty_folder_and_scores_its_own_model(run: Path, tmp_path: Path) -> None:
    """Trained on other images, a run has their scores: nothing of the former run is left in the folder, and nothing of it is lost."""
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    rows = runs.read_rows(run / "results.jsonl")
    runs.train(recipe(images(tmp_path / "b.npz", 1)), out=run, resume="never", console=False)
    again = runs.read_rows(run / "results.jsonl")
    assert len(again) == len(rows) and [row["value"] for row in again] != [row["value"] for row in rows]
    aside = tmp_path / "run.1"
    assert {path.name: path.read_bytes() for path in aside.iterdir() if path.is_file()} == before


def test_a_run_cut_off_after_a_fresh_start_describes_itself(run: Path, tmp_path: Path) -> None:
    """No model of the former run is drawn from, and config.yaml is that of the run whose checkpoints lie beside it."""

    class Kill(BaseException):
        pass

    def dying(*_: object, **__: object) -> Iterator[None]:
        raise Kill

    other = recipe(images(tmp_path / "b.npz", 1), seed=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memogen.training.outputs.Outputs.finish", dying)
        with pytest.raises(Kill):
            runs.train(other, out=run, resume="never", console=False)
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["seed"] == 5
    assert not (run / "model").exists() and not (run / "results.jsonl").exists()


def test_a_finished_run_repeated_appends_nothing(run: Path, tmp_path: Path) -> None:
    rows = (run / "results.jsonl").read_bytes()
    runs.train(recipe(tmp_path / "a.npz"), out=run, console=False)
    assert (run / "results.jsonl").read_bytes() == rows and not (tmp_path / "run.1").exists()


def test_of_two_commands_in_a_folder_the_second_is_refused(tmp_path: Path) -> None:
    script = f"from pathlib import Path; from memogen.runs.folder import occupied\nwith occupied(Path({str(tmp_path / 'run')!r})):\n pass"
    with occupied(tmp_path / "run"):
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
        assert other.returncode and "another command is using" in other.stderr
    assert not (tmp_path / "run").exists(), "nothing was written"
    with occupied(tmp_path / "run"):
        pass


def test_what_is_set_aside_keeps_every_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert set_aside(folder, console=False) is None and not begun(folder)
    for number in (1, 2):
        folder.mkdir(exist_ok=True)
        (folder / "note").write_text(str(number))
        assert set_aside(folder, console=False) == tmp_path / f"run.{number}"
        assert not folder.exists()
    assert [(tmp_path / f"run.{number}" / "note").read_text() for number in (1, 2)] == ["1", "2"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match="is a file"), occupied(tmp_path / "run"):
        pass
