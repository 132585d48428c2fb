"""The commands about sequences of tasks as a user meets them: killed and continued, and refused in one line with nothing left behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.cli import main
from memogen.data import load
from memogen.training import latest
from memogen.training.task_folders import finished_tasks, task_folder

ROOT = Path(__file__).parents[1]
TINY = "--model.width 2 --model.noise_dim 4 --training.batch_size 8 --training.sample_every 0 --training.device cpu"


def pictures(folder: Path, num: int = 12) -> Path:
    """A sub-folder for each of the digits 0 to 3."""
    digits = load("digits", progress=False)
    for label, name in enumerate(("zero", "one", "two", "three")):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(digits.image[digits.label == label][:num]):
            Image.fromarray(image[0]).save(folder / name / f"{number:02d}.png")
    return folder


def last_checkpoint(run: Path, task: int) -> dict[str, bytes]:
    path = latest(task_folder(run, task))
    assert path is not None
    return {file.name: file.read_bytes() for file in path.glob("*.safetensors")}


SLOW = [pytest.param(variant, marks=pytest.mark.slow) for variant in ("ewc", "dgr")]
STEPS = 16


@pytest.mark.parametrize("variant", ["joint_replay_alignment", *SLOW])
def test_a_command_killed_in_its_third_task_is_resumed_by_the_same_command_to_the_same_bits(tmp_path: Path, variant: str) -> None:
    """SIGKILL leaves no time to save. Weights, averages, teacher (with its solver, or the weights' importance) and optimisers are compared."""
    words = f"train replay_gan/folder --variant {variant} --data {pictures(tmp_path / 'pictures')} {TINY} --training.steps {STEPS}"
    words += " --training.checkpoint_every 4"
    whole, cut = (shlex.split(f"{words} --out {tmp_path / name}") for name in ("whole", "cut"))
    for _ in range(5):
        kill_in_third_task(cut, tmp_path / "cut")
        if finished_tasks(tmp_path / "cut", STEPS) == 2:
            break
        shutil.rmtree(tmp_path / "cut")  # this process was too late
    assert latest(task_folder(tmp_path / "cut", 2)) is not None, "it was in the middle of its third task"
    assert main(cut) == 0
    assert main(whole) == 0
    for task in (2, 3):
        wanted = last_checkpoint(tmp_path / "whole", task)
        assert {"model.safetensors", "averages.safetensors", "teacher.safetensors", "optimisers.safetensors"} <= set(wanted)
        assert last_checkpoint(tmp_path / "cut", task) == wanted


def kill_in_third_task(words: list[str], run: Path) -> None:
    """Start the command in a process of its own, and kill it as soon as it has saved something of its third task."""
    process = subprocess.Popen([sys.executable, "-m", "memogen", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while latest(task_folder(run, 2)) is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL


def refusal(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command leaves."""
    assert main(shlex.split(words)) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("memogen: ")]
    assert len(told) == 1
    return told[0]


def test_what_cannot_be_learned_is_refused_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = pictures(tmp_path / "pictures", 3), tmp_path / "run"
    (tmp_path / "one" / "zero").mkdir(parents=True)
    (tmp_path / "one" / "zero" / "a.png").write_bytes((folder / "zero" / "00.png").read_bytes())
    begin = f"train replay_gan/folder {TINY} --training.steps 2 --out {out} --data"
    refused = {
        f"{begin} {tmp_path / 'one'}": "a sub-folder for each of two classes or more",
        f"{begin} {folder / 'zero'}": "a sub-folder for each of two classes or more",
        f"{begin} {tmp_path / 'nowhere'}": "no such folder",
        f"{begin} {folder} --succession.tasks.order [0,7]": "class 7 is not there: name classes 0 to 3",
        f"{begin} {folder} --succession.tasks.order [1,1]": "name each class once",
        f"{begin} {folder} --succession.tasks.num_tasks 5": "4 classes make only 4: give 4 or fewer",
        f"{begin} {folder} --start {tmp_path / 'nowhere'}": "there is no such run folder",
        f"{begin} {folder} --start {folder}": "has not learned its first task for 2 steps",
        f"{begin} {folder} --start {folder} --resume never": "--resume never learns the first task again",
        f"{begin} {folder} --start-tasks 2": "--start-tasks 2 needs --start RUN",
        f"{begin} {folder} --variant joint_training --start {folder}": "does not learn tasks one after another",
        f"{begin} {folder} --resume {folder}": "use auto or never",
        f"{begin} {folder} --variant replay": "variant",
        f"train replay_gan/digits --training.batch_size 1 --training.steps 2 --out {out}": "too few for batch norm: use 2 or more",
        f"train replay_gan/digits --variant dgr --model.conditioning norm --training.steps 2 --out {out}": "a model with conditioning none",
        f"train memory_gan/digits --start {folder} --out {out}": "does not learn tasks one after another",
        f"train replay_gan/folder --out {out}": "give --data FOLDER",
    }
    for words, told in refused.items():
        assert told in refusal(words, capsys), words
        assert not out.exists(), words


def test_every_class_needs_test_images_and_a_judge_that_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, out = np.random.default_rng(0), tmp_path / "run"
    for split, classes in (("train", 12), ("test", 11)):
        for label in range(classes):
            place = tmp_path / "pictures" / split / f"{label}"
            place.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(place / "a.png")
    begin = f"train replay_gan/folder {TINY} --training.steps 2 --out {out} --data {tmp_path / 'pictures'} --scoring.extractor digits"
    begin += ' --scoring.metrics ["accuracy"] --scoring.num_samples 4'
    assert "folder test: no image of class 11 (11)" in refusal(begin, capsys).replace("pictures test", "folder test")
    assert "digits knows 10 classes, and class 10 is learned" in refusal(f"{begin} --succession.tasks.order [0,10]", capsys)
    assert not out.exists()


def test_what_is_no_stream_cannot_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = (
        f"train replay_gan/folder --data {pictures(tmp_path / 'pictures', 3)} {TINY} --training.steps 1 --succession.tasks.num_tasks 1 --out {run}"
    )
    assert main(shlex.split(words)) == 0
    capsys.readouterr()
    out = f"--out {tmp_path / 'drawn.png'}"
    refused = {
        f"tasks matrix {run}": "holds no scores by task and class",
        f"tasks matrix {tmp_path / 'nowhere'}": "no such folder",
        f"tasks evolution {run} --label two {out}": "no images of class 2 (two) were kept",
        f"tasks evolution {run} --label four {out}": "neither a class's number nor one of",
        f"tasks evolution {tmp_path / 'pictures'} {out}": "holds no config.yaml",
        f"tasks evolution {run} --out {tmp_path / 'drawn.txt'}": "cannot write a picture of this kind",
        f"tasks embedding {run} {out}": "names no classifier",
        f"tasks cost {run} {tmp_path / 'nowhere'}": "no such folder",
    }
    for line, told in refused.items():
        assert told in refusal(line, capsys), line
    assert not (tmp_path / "drawn.png").exists()
