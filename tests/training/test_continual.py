"""A sequence of tasks: exact to resume within a task and between tasks, with nothing of the past but what the teacher keeps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from memogen.data.task_sequence import TaskConfig
from memogen.models.replay_gan import ReplayGAN
from memogen.pretrained import from_pretrained
from memogen.training import Onlooker, Stopped, SuccessionConfig, latest
from memogen.training.checkpoint import read_checkpoint
from memogen.training.task_folders import finished_tasks, take_over, task_folder, task_folders
from memogen.types import Batch, InputError
from tests.training import task_toy
from tests.training.task_toy import CONFIG, STEPS, train
from tests.training.toy import fingerprint

ROOT = Path(__file__).parents[2]
METHODS = list(task_toy.OBJECTIVES)
FIRST = [task_toy.stream().digest(0)]


@cache
def straight(method: str = "both") -> tuple[str, list[dict[str, object]]]:
    with TemporaryDirectory() as folder:
        return fingerprint(train(Path(folder), method)), metrics(Path(folder))


def metrics(folder: Path) -> list[dict[str, object]]:
    """The lines of all tasks without the clock."""
    lines = [line for place in task_folders(folder) for line in (place / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def stop_in(folder: Path, method: str, step: int) -> None:
    """Ask for a stop in that step of the whole course."""

    def look(batch: Batch) -> None:
        if batch.step + 1 == step and batch.image is None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped):
        train(folder, method, look=look)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_a_stream_and_counts_on(tmp_path: Path, method: str) -> None:
    state = train(tmp_path, method)
    assert state.step == 4 * STEPS
    turns = {"dgr": 3}.get(method, 2)
    assert state.images_seen == 4 * STEPS * turns * 8
    steps = [row["step"] for row in metrics(tmp_path)]
    assert steps == list(range(2, 4 * STEPS + 1, 2))
    model = from_pretrained(tmp_path)
    assert isinstance(model, ReplayGAN)
    assert model.known == (0, 1, 2, 3)
    assert model.learned.tolist() == [0, 1, 2, 3]
    assert [from_pretrained(place).known for place in task_folders(tmp_path)] == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]


@pytest.mark.parametrize(("method", "step"), [("both", 3), ("ewc", 11), ("dgr", 6)])
def test_stop_within_a_task_and_resume_gives_the_same_bits(tmp_path: Path, method: str, step: int) -> None:
    stop_in(tmp_path, method, step)
    assert fingerprint(train(tmp_path, method)) == straight(method)[0]
    assert metrics(tmp_path) == straight(method)[1]


@pytest.mark.parametrize("method", ["ewc", "dgr"])
def test_a_stop_between_tasks_and_resume_gives_the_same_bits(tmp_path: Path, method: str) -> None:
    class BetweenError(Exception):
        pass

    def finished(number: int, place: Path, state: object) -> None:
        if number == 1:
            raise BetweenError

    with pytest.raises(BetweenError):
        train(tmp_path, method, onlooker=Onlooker(finished=finished))
    assert finished_tasks(tmp_path, STEPS) == 2
    assert fingerprint(train(tmp_path, method)) == straight(method)[0]
    assert fingerprint(train(tmp_path, method)) == straight(method)[0], "a finished stream is looked up"


def test_a_run_killed_in_its_fourth_task_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.task_toy", str(tmp_path), "both"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while latest(task_folder(tmp_path, 3)) is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert finished_tasks(tmp_path, STEPS) == 3
    assert fingerprint(train(tmp_path)) == straight()[0]
    assert metrics(tmp_path) == straight()[1]


def test_nothing_of_the_past_is_there_during_a_task() -> None:
    """Every real image of a step is of the step's task; and when the second task begins, the pixels of the first have been freed."""
    kept = list[weakref.ref]()
    opened = task_toy.TaskSequence.open

    def noting(self: task_toy.TaskSequence, number: int) -> object:
        task = opened(self, number)
        kept.append(weakref.ref(task.data.image))
        return task

    def look(batch: Batch) -> None:
        number = batch.step // STEPS
        if batch.image is not None:
            assert set(batch.label.tolist()) == {number}
            assert int(batch.image.min()) >= 60 * number and int(batch.image.max()) < 60 * number + 40
        assert [reference() is None for reference in kept[:-1]] == [True] * number

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_toy.TaskSequence, "open", noting)
        train(Path(folder), look=look)
    assert len(kept) == 4


def test_the_unaveraged_weights_draw_by_statistics_of_their_own(tmp_path: Path) -> None:
    """The generator stores none while it trains: read as they are, its images would be normalised by nothing."""
    trained = train(tmp_path).modules["model"]
    live, averaged = (from_pretrained(tmp_path, live=alone) for alone in (True, False))
    assert all(torch.equal(live.get_parameter(name), value) for name, value in trained.named_parameters())
    before = live.sample(3, label=1)
    live.calibrate()
    assert torch.equal(before, live.sample(3, label=1))
    assert not torch.equal(before, averaged.sample(3, label=1))


def test_nothing_is_taught_after_the_last_task(tmp_path: Path) -> None:
    taught = list[int]()

    class Noting(task_toy.Watched):
        def __init__(self) -> None:
            super().__init__(task_toy.OBJECTIVES["both"], lambda batch: None)
            self.teach = lambda teacher, model: taught.append(len(model.known))

    torch.manual_seed(0)
    task_toy.fit_tasks(task_toy.MODEL.build(), Noting(), task_toy.stream(), CONFIG, tmp_path, console=False)
    assert taught == [1, 2, 3]


def test_alignment_begins_each_task_at_zero(tmp_path: Path) -> None:
    train(tmp_path, log_every=1)
    rows = metrics(tmp_path)
    first = [row for row in rows if row["step"] % STEPS == 1]
    assert [row.get("generator/alignment") for row in first] == [None, 0.0, 0.0, 0.0]
    later = [row for row in rows if row["step"] % STEPS != 1 and row["step"] > STEPS]
    assert all(row["generator/alignment"] > 0 for row in later)


def test_optimisers_begin_anew_unless_they_are_kept(tmp_path: Path) -> None:
    steps = {}
    for keep in (False, True):
        state = train(tmp_path / str(keep), succession=SuccessionConfig(keep_optimisers=keep))
        moments = next(iter(state.optimisers["generator"].state.values()))
        steps[keep] = int(moments["step"])
    assert steps == {False: STEPS, True: 4 * STEPS}


def test_keeping_optimisers_resumes_to_the_same_bits(tmp_path: Path) -> None:
    kept = SuccessionConfig(keep_optimisers=True)
    whole = fingerprint(train(tmp_path / "whole", succession=kept))

    def finished(number: int, place: Path, state: object) -> None:
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", succession=kept, onlooker=Onlooker(finished=finished))
    assert fingerprint(train(tmp_path / "cut", succession=kept)) == whole
    assert whole != straight()[0]


def test_a_fresh_critic_and_an_averaged_teacher_are_options(tmp_path: Path) -> None:
    bits = {name: fingerprint(train(tmp_path / name, succession=SuccessionConfig(**option))) for name, option in OPTIONS.items()}
    assert len(set(bits.values()) | {straight()[0]}) == 3
    place = task_folder(tmp_path / "averaged", 1)
    taught = read_checkpoint(latest(place))[0]["teacher"]
    averaged = from_pretrained(task_folder(tmp_path / "averaged", 0)).state_dict()
    assert all(torch.equal(taught[name], value) for name, value in averaged.items() if name.startswith("generator.foot"))


OPTIONS = {"critic": {"fresh_critic": True}, "averaged": {"teacher": "averaged"}}


def test_the_first_task_is_shared_by_methods(tmp_path: Path) -> None:
    """Taking it over gives the bits of learning it."""
    train(tmp_path / "source", "fine_tuning")
    take_over(tmp_path / "source", tmp_path / "shared", FIRST, CONFIG, settings={})
    shutil.rmtree(tmp_path / "source")
    state = train(tmp_path / "shared")
    assert fingerprint(state) == straight()[0]
    assert fingerprint(train(tmp_path / "shared")) == straight()[0]
    assert len(task_folders(tmp_path / "shared")) == 4


@pytest.mark.parametrize("method", ["ewc", "dgr"])
def test_several_tasks_taken_over_give_the_bits_of_learning_them(tmp_path: Path, method: str) -> None:
    """What the teacher gathers over tasks is gathered again."""
    train(tmp_path / "source", method)
    digests = [task_toy.stream().digest(number) for number in range(3)]
    take_over(tmp_path / "source", tmp_path / "shared", digests, CONFIG, settings={})
    assert fingerprint(train(tmp_path / "shared", method)) == straight(method)[0]


def test_a_source_of_another_kind_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "source", "fine_tuning")
    with pytest.raises(InputError, match=r"training\.seed was 0 and is 1"):
        take_over(tmp_path / "source", tmp_path / "new", FIRST, task_toy.replace(CONFIG, seed=1), settings={})
    with pytest.raises(InputError, match=r"objective\.joint was None and is 1"):
        take_over(tmp_path / "source", tmp_path / "new", FIRST, CONFIG, settings={"objective.joint": 1})
    with pytest.raises(InputError, match="learned its task 1 from other images"):
        take_over(tmp_path / "source", tmp_path / "new", [task_toy.stream().digest(1)], CONFIG, settings={})
    with pytest.raises(InputError, match="has not learned 5 tasks"):
        take_over(tmp_path / "source", tmp_path / "new", 5 * FIRST, CONFIG, settings={})
    assert not (tmp_path / "new").exists()
    take_over(tmp_path / "source", tmp_path / "free", FIRST, CONFIG, settings={"objective.joint": 1}, free=("objective.joint",))
    with pytest.raises(InputError, match="keep_optimisers"):
        train(tmp_path / "free", succession=SuccessionConfig(keep_optimisers=True))


def test_never_begins_again(tmp_path: Path) -> None:
    stop_in(tmp_path, "both", 6)
    assert fingerprint(train(tmp_path, resume="never")) == straight()[0]
    with pytest.raises(InputError, match="use auto or never"):
        train(tmp_path, resume="somewhere")


def test_onlookers_see_every_step_and_change_nothing(tmp_path: Path) -> None:
    seen, ended = list[tuple[int, int]](), list[tuple[int, int]]()
    watch = lambda number, place: lambda step, model: seen.append((number, step))  # noqa: E731
    state = train(tmp_path, onlooker=Onlooker(watch, lambda number, place, state: ended.append((number, state.step))))
    assert seen == [(number, step) for number in range(4) for step in range(STEPS + 1)]
    assert ended == [(number, (number + 1) * STEPS) for number in range(4)]
    assert fingerprint(state) == straight()[0]


@pytest.mark.parametrize("method", ["both", "fine_tuning", "dgr"])
def test_tasks_may_be_uneven(tmp_path: Path, method: str) -> None:
    """Three classes, then one: the first task tells its classes apart, and the second replays all three."""
    seen = set[tuple[int, frozenset[int]]]()

    def look(batch: Batch) -> None:
        if batch.label is not None:
            seen.add((batch.step // STEPS, frozenset(batch.label.tolist())))

    state = train(tmp_path, method, look=look, tasks=task_toy.stream(classes_per_task=3, order=(3, 0, 2, 1)), log_every=1)
    assert state.modules["model"].learned.tolist() == [0, 1, 0, 0]
    assert [frozenset.union(*(labels for task, labels in seen if task == number)) for number in (0, 1)] == [{0, 2, 3}, {1}]
    if method != "dgr":
        told = [row["critic/class"] for row in metrics(tmp_path)]
        assert all(value > 0 for value in told[:STEPS])
        assert all(value > 0 for value in told[STEPS:]) == (method == "both"), "replays are of several classes; one new class alone is not told"


@pytest.mark.slow
def test_two_processes_end_with_the_same_bits(tmp_path: Path) -> None:
    """Weights, averages, optimisers and teacher; each process replays its own share."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    command = [sys.executable, "-m", "tests.training.task_toy", str(tmp_path), "both"]
    envs = [os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    processes = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for env in envs]
    told = [process.communicate(timeout=300)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert told[0] == told[1]
    assert len(told[0]) == 1
    assert len(task_folders(tmp_path)) == 4


@pytest.mark.parametrize("steps", [STEPS // 2, 2 * STEPS])
def test_tasks_that_were_learned_do_not_go_on_for_another_number_of_steps(tmp_path: Path, steps: int) -> None:
    """Each would continue its own old checkpoint and not what the task before it became; nothing is written."""
    train(tmp_path, "ewc")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(InputError, match=f"for {STEPS} steps a task, not {steps}"):
        train(tmp_path, "ewc", steps=steps)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_first_task_alone_goes_on(tmp_path: Path) -> None:
    one = SuccessionConfig(TaskConfig(num_tasks=1))
    train(tmp_path / "on", "ewc", succession=one, tasks=task_toy.stream(num_tasks=1), steps=2)
    longer = fingerprint(train(tmp_path / "on", "ewc", succession=one, tasks=task_toy.stream(num_tasks=1)))
    assert longer == fingerprint(train(tmp_path / "whole", "ewc", succession=one, tasks=task_toy.stream(num_tasks=1)))
