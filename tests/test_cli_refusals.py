"""What the command line refuses before any work: the same with and without --dry-run, and nothing silently."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from memogen import cli
from memogen.cli import parser
from memogen.errors import InputError
from tests.command import run

SMALL = "train memory_gan/digits --device cpu --batch-size 8 --steps 2 --scoring.metrics []"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No images can be had."""

    def none(*_: object, **__: object) -> None:
        raise AssertionError("images were fetched")

    monkeypatch.setattr("memogen.data.load", none)
    monkeypatch.setattr("memogen.data.splits", none)


def refused_alike(words: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(words, capsys)
    *before, last = err.splitlines(keepends=True)
    assert code == 2 and named in last and not any(line.startswith("memogen: ") for line in before)
    assert run(f"{words} --dry-run", capsys) == (2, "", last)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("memory_gan/fashion_mnist --device cuda:99", "training.device"),
        ("memory_gan/fashion_mnist --training.sync_batch_norm true --device cpu", "training.sync_batch_norm"),
        ("memory_gan/fashion_mnist --batch-size 1", "training.batch_size"),
        ("memory_gan/fashion_mnist --scoring.metrics [fidd]", "scoring.metrics"),
        ("memory_gan/fashion_mnist --scoring.extractor nope", "nope"),
        ("memory_gan/fashion_mnist --scoring.curve_samples -1", "scoring.curve_samples"),
        ("memory_gan/fashion_mnist --scoring.likelihood_every -1", "scoring.likelihood_every"),
        ("memory_gan/fashion_mnist --scoring.num_samples 0", "scoring.num_samples"),
        ("memory_gan/fashion_mnist --resume NOPE", "NOPE"),
        ("memory_gan/fashion_mnist --start NOPE", "--start"),
        ("memory_gan/fashion_mnist --start-tasks 2", "--start"),
        ("memory_gan/fashion_mnist --out a_file", "a_file"),
        ("replay_gan/mnist --start NOPE", "NOPE"),
        ("replay_gan/mnist --resume NOPE", "NOPE"),
        ("replay_gan/mnist --start a --resume never", "--resume never"),
        ("replay_gan/mnist --start a --succession.keep_optimisers true", "succession.keep_optimisers"),
    ],
)
def test_what_no_images_are_needed_for_is_refused_before_they_are_fetched(
    words: str, named: str, here: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a_file").touch()
    refused_alike(f"train {words}", named, capsys)
    assert [path.name for path in here.iterdir()] == ["a_file"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--scoring.num_samples 10", "10 samples"),
        ("--scoring.curve_samples 3", "scoring.curve_samples"),
        ("--scoring.metrics [nll]", "nll"),
        ("--scoring.extractor mnist", "mnist"),
        ("--model.num_classes 3", "num_classes"),
        ("--variant no_memory --scoring.metrics [few]", "few"),
        ("--variant no_mcgn --scoring.metrics [forgotten]", "forgotten"),
    ],
)
def test_what_the_images_show_is_refused_alike(words: str, named: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused_alike(f"train memory_gan/digits {words}", named, capsys)


def test_a_run_that_cannot_be_continued_is_refused_alike(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memogen.runs.run.write_report", lambda *_: None)
    assert run(f"{SMALL} --out run", capsys)[0] == 0
    for change, named in (("--model.memory.num_slots 64", "model.memory.num_slots"), ("--seed 1", "training.seed"), ("--steps 1", "training.steps")):
        refused_alike(f"{SMALL} --out run {change}".replace("--steps 2", "" if "steps" in change else "--steps 2"), named, capsys)
    refused_alike(f"{SMALL} --out new --resume run --seed 1", "training.seed", capsys)
    assert run(f"{SMALL} --out run --training.log_every 7 --dry-run", capsys)[0] == 0
    assert run(f"{SMALL} --out run --seed 1 --resume never --dry-run", capsys)[0] == 0


def test_tasks_that_cannot_be_continued_or_taken_over_are_refused_alike(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memogen.runs.run.write_report", lambda *_: None)
    words = "train replay_gan/digits --device cpu --batch-size 8 --succession.tasks.num_tasks 2 --model.width 4 --scoring.extractor null"
    assert run(f"{words} --steps 1 --out run", capsys)[0] == 0
    for change, named in (
        ("--steps 2 --out run", "steps"),
        ("--steps 1 --seed 1 --out run", "training.seed"),
        ("--steps 1 --objective.game.penalty 5 --out run", "objective.game.penalty"),
        ("--steps 2 --start run", "2 steps"),
        ("--steps 1 --start run --start-tasks 3", "3 tasks"),
        ("--steps 1 --start run --seed 1", "training.seed"),
        ("--steps 1 --start run --succession.tasks.order [3,1,4]", "succession.tasks.order"),
    ):
        refused_alike(f"{words} {change}", named, capsys)
    for change in ("--out run", "--start run --out new", "--start run --variant fine_tuning --out new", "--out run --resume never --seed 1"):
        assert run(f"{words} --steps 1 {change} --dry-run", capsys)[0] == 0


# --- values and options ---


@pytest.mark.parametrize("value", ["-1,2", "-3", "-.5", "-1e-3"])
def test_a_value_may_begin_with_a_dash_and_a_digit(value: str) -> None:
    own, others = parser.split(["m", "--num", value, "--a.b", value], {"--num": str})
    assert (own, others) == (["m", f"--num={value}"], {"a.b": value})


def test_other_values_behind_a_dash_are_told_to_use_the_equals_sign(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("memory forget digits --slots -x --out y", capsys)
    assert code == 2 and "--slots" in err and "=" in err and err.count("\n") == 1


def test_slots_below_zero_are_slots_that_are_not_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("memory forget digits --slots -1,2 --out y", capsys)[::2] == run("memory forget digits --slots=-1,2 --out y", capsys)[::2]
    assert "slot -1" in run("memory forget digits --slots -1,2 --out y", capsys)[2]


def test_an_option_that_swallows_the_argument_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("train --training.channels_last memory_gan/digits --steps 5 --dry-run", capsys)
    assert code == 2 and "--training.channels_last memory_gan/digits" in err and err.count("\n") == 1
    assert run("train --training.channels_last=true memory_gan/digits --dry-run", capsys)[0] == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--seed 1 --training.seed 2", ("--seed", "--training.seed")),
        ("--batch-size 8 --training.batch_size 9", ("--batch-size", "--training.batch_size")),
        ("--data digits --data.name mnist", ("--data digits", "--data.name mnist")),
    ],
)
def test_two_values_for_one_option_are_refused(words: str, named: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(f"train memory_gan/digits {words} --dry-run", capsys)
    assert code == 2 and all(name in err for name in named) and err.count("\n") == 1


@pytest.mark.parametrize("words", ["--seed 1 --training.seed 1", "--data digits --data.name digits"])
def test_the_same_value_twice_is_no_harm(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"train memory_gan/digits {words} --dry-run", capsys)[0] == 0


@pytest.mark.parametrize("words", ["--budget smoke", "--seeds 2", "--variants no_em", "--dry-run", "--list --budget paper"])
def test_a_list_of_tables_has_no_options(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(f"reproduce {words}", capsys)
    assert code == 2 and not out and re.search(r"--(budget|seeds|variants|dry-run)", err)


def test_a_comparison_advises_what_the_model_can_do(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A memoryGAN has no likelihood, so the way to score one is not the advice."""
    monkeypatch.setattr("memogen.runs.run.write_report", lambda *_: None)
    assert run(f"{SMALL} --out run", capsys)[0] == 0
    code, _, err = run("compare run run", capsys)
    assert code == 2 and "likelihood" in err and "--metrics nll" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["--slots", "1", "--slots", "2"],
        ["--slots=1", "--slots=2"],
        ["--model.top_k", "1", "--model.top_k=2"],
        ["--start-tasks", "1", "--start_tasks", "2"],
    ],
)
def test_an_option_with_two_values_is_refused(words: list[str]) -> None:
    """One of them would be dropped in silence."""
    with pytest.raises(InputError, match="given too"):
        parser.split(words, {"--slots": str, "--start-tasks": int})
    assert parser.split([*words[: len(words) // 2] * 2], {"--slots": str, "--start-tasks": int})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_file_that_finds_no_room_is_told_in_a_line(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._explain(OSError(code, os.strerror(code))) == 2
    assert os.strerror(code) in capsys.readouterr().err
