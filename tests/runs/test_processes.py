"""A run of two processes of which one is killed or never comes: it ends soon, in one line, and is continued by as many processes as there are."""

from __future__ import annotations

import functools
import signal
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from memogen.models.outline import outline
from memogen.processes import Processes
from memogen.runs import Splits, choose, with_images
from memogen.runs.folder import CONFIGURATION, config_hash, load_config
from memogen.training.checkpoint import verify
from memogen.types import InputError
from tests.command import rows_in
from tests.models.two_processes import command, impatient
from tests.together import done, together

SHORT = {"training.device": "cpu", "training.batch_size": "8", "training.checkpoint_every": "4", "training.log_every": "1"}
RECIPES = {
    "memory_gan/digits": {"training.steps": "10", "scoring.num_samples": "70"},
    "mem_vae/digits": {"training.steps": "10", "scoring.num_samples": "20", "scoring.model.importance_samples": "2"},
    "replay_gan/digits": {
        "training.steps": "5",
        "succession.tasks.num_tasks": "2",
        "model.width": "4",
        "scoring.num_samples": "70",
        "scoring.metrics": "[accuracy]",
    },
}


@pytest.mark.parametrize(("recipe", "killed", "again"), [("memory_gan/digits", 0, 1), ("mem_vae/digits", 1, 2), ("replay_gan/digits", 0, 2)])
def test_a_killed_process_ends_the_run_which_is_then_continued(recipe: str, killed: int, again: int, tmp_path: Path) -> None:
    """The other process ends by itself with one line and leaves whole files. The same command continues, on one process or two; its rows are those
    of the configuration that was asked for.
    """
    folder, options = tmp_path / "run", SHORT | RECIPES[recipe]
    words = ["train", recipe, "--out", str(folder), *(word for name, value in options.items() for word in (f"--{name}", value))]
    with together(tmp_path, functools.partial(command, killed=killed, step=6), words) as processes:
        codes = done(processes)
    assert (codes[killed], codes[1 - killed]) == (-signal.SIGKILL, 1)
    told = (tmp_path / f"err-{1 - killed}").read_text().splitlines()
    assert [line for line in told if line.startswith("memogen: ")] == told[-1:] and not any("Traceback" in line for line in told)

    saved = [path for path in folder.rglob("*step-*") if path.is_dir()]
    assert saved and all(verify(path) for path in saved)
    assert max(row["step"] for path in folder.rglob("metrics.jsonl") for row in rows_in(path)) == 5
    with together(tmp_path, command, words, of=again) as processes:
        assert done(processes) == [0] * again, (tmp_path / "err-0").read_text()
    steps = [row["step"] for path in folder.rglob("metrics.jsonl") for row in rows_in(path) if not any(name.startswith("eval/") for name in row)]
    assert sorted(steps) == list(range(1, 11))
    asked = choose(recipe, None, options)
    found = load_config(folder / CONFIGURATION)
    assert found == with_images(asked, Splits(asked.data))
    rows = [row for row in rows_in(folder / "results.jsonl") if row["variant"] != "real"]
    assert {row["config"] for row in rows} == {config_hash(found)} and rows[-1]["steps"] == 10
    assert rows[-1]["images"] == 10 * 8 * sum(phase.repeats for phase in found.objective.phases(outline(found.model)) if phase.reads_data)


TINY = ["train", "memory_gan/digits", "--device", "cpu", "--steps", "2", "--batch-size", "8", "--scoring.metrics", "[]", "--out"]


def test_a_process_says_that_it_waits_and_gives_up(tmp_path: Path) -> None:
    """The first of two says how many are there, of how many, and where; nothing is written."""
    with together(tmp_path, impatient, [*TINY, str(tmp_path / "run")], number=1) as processes:
        assert done(processes) == [2]
    lines = (tmp_path / "err-0").read_text().splitlines()
    told = [line for line in lines if "[c10d]" not in line]  # torch's own warning, on a machine without names of hosts
    assert len(told) == 2 and all("1 of 2" in line and "127.0.0.1:" in line for line in told)
    assert not (tmp_path / "run").exists()


def test_a_process_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    with together(tmp_path, functools.partial(impatient, late=1.0), [*TINY, str(tmp_path / "run")]) as processes:
        assert done(processes) == [0, 0]
    assert "1 of 2" in (tmp_path / "err-0").read_text() and (tmp_path / "run" / "model").is_dir()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}, "127.0.0.1:9"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "taken"}, "127.0.0.1:"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "65536"}, "MASTER_PORT"),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}, "MASTER_PORT"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}, "RANK"),
        ({"RANK": "-1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}, "RANK"),
        ({"RANK": "0", "WORLD_SIZE": "two", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}, "WORLD_SIZE"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ""}, "MASTER_PORT"),
    ],
)
def test_processes_that_cannot_meet_are_refused(environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memogen.processes._MEETING", timedelta(seconds=0.1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in environment.items():
            monkeypatch.setenv(name, str(taken.getsockname()[1]) if value == "taken" else value)
        with pytest.raises(InputError, match=named):
            Processes.launched()
