"""A sequence of tasks from the command line: trained, scored after each task, continued, shared between methods, and drawn."""

from __future__ import annotations

import json
import shutil
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from memogen import from_pretrained, runs
from memogen.cli import main
from memogen.data import load
from memogen.data.task_sequence import Task, TaskSequence
from memogen.models import ReplayGAN
from memogen.recipes import RECIPES
from memogen.recipes.recipe import Recipe
from memogen.runs import reproduce
from memogen.runs.stages import accuracy_matrix
from memogen.training import continual
from memogen.training.task_folders import task_folders
from memogen.types import ImageData, InputError

STEPS, SAMPLES = 2, 70


def recipe(variant: str = "joint_replay_alignment", tasks: int = 3) -> Recipe:
    """Three digits, two steps each, narrow nets; accuracies by the shipped classifier of the digits."""
    chosen = RECIPES["replay_gan/digits"](variant=variant)
    assert chosen.succession is not None
    return replace(
        chosen,
        model=replace(chosen.model, width=4, noise_dim=4),
        training=replace(chosen.training, steps=STEPS, batch_size=16, checkpoint_every=1, sample_every=0, log_every=1),
        scoring=replace(chosen.scoring, num_samples=SAMPLES, metrics=("accuracy",)),
        succession=replace(chosen.succession, tasks=replace(chosen.succession.tasks, num_tasks=tasks)),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.train(recipe(), out=tmp_path_factory.mktemp("runs") / "both", budget="smoke", console=False)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_every_task_leaves_a_model_and_its_rows(run: Path) -> None:
    assert [from_pretrained(place).known for place in task_folders(run)] == [(0,), (0, 1), (0, 1, 2)]
    model = from_pretrained(run)
    assert isinstance(model, ReplayGAN)
    assert model.config.classes == tuple("0123456789")
    assert torch.equal(model.sample(3, seed=1), from_pretrained(task_folders(run)[-1]).sample(3, seed=1))
    by_class = {(row["task"], row["class"]) for row in rows(run) if row["metric"] == "accuracy" and row["class"] is not None}
    assert by_class == {(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)}
    assert all(row["steps"] == STEPS * (row["task"] + 1) for row in rows(run) if row["task"] is not None)
    assert {row["budget"] for row in rows(run)} == {"smoke"}
    assert {row["protocol"]["statistics"] for row in rows(run)} == {"stored"}


def test_means_matrix_and_cost_follow_from_the_rows(run: Path) -> None:
    found = rows(run)
    value = {row["metric"]: row["value"] for row in found if row["task"] is None and row["variant"] != "real"}
    of_stage = [row["value"] for row in found if row["metric"] == "accuracy" and row["task"] == 2 and row["class"] is not None]
    assert value["accuracy"] == pytest.approx(np.mean(of_stage))
    matrix = accuracy_matrix(found, [(0,), (1,), (2,)])
    assert matrix is not None
    assert (value["average_accuracy"], value["forgetting"]) == (pytest.approx(matrix.average_accuracy), pytest.approx(matrix.forgetting))
    assert value["backward_transfer"] == pytest.approx(matrix.backward_transfer)
    assert value["generated_images"] == STEPS * (6 * 16 + 2 * (5 * 3 * 16 + 3 * 16))
    (real,) = (row for row in found if row["variant"] == "real")
    assert real["value"] > 0.9
    assert real["protocol"]["learned"] == 3
    assert accuracy_matrix(found, [(0,), (1,), (2,), (3,)]) is None


def test_a_finished_run_is_not_trained_or_scored_again(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("checkpoints/*/*")} | {
        run / "results.jsonl": (run / "results.jsonl").stat().st_size
    }
    runs.train(recipe(), out=run, budget="smoke", console=False)
    after = {path: path.stat().st_mtime_ns for path in run.rglob("checkpoints/*/*")} | {run / "results.jsonl": (run / "results.jsonl").stat().st_size}
    assert after == before


def test_a_run_tells_where_it_is_and_how_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs.train(recipe(tasks=2), out=tmp_path / "run")
    told = capsys.readouterr().err
    assert f"task 1 of 2: 0 of {2 * STEPS} steps" in told, "of both tasks"
    assert f"task 2 of 2: {STEPS} of {2 * STEPS} steps" in told
    means = {row["metric"]: row["value"] for row in rows(folder) if row["class"] is None and row["variant"] != "real"}
    (line,) = (line for line in told.splitlines() if line.startswith("task 2 of 2: accuracy"))
    assert f"accuracy {means['accuracy']:.3f}" in line
    assert f"forgetting {means['forgetting']:.3f}" in line
    runs.train(recipe(tasks=2), out=folder)
    assert "all 2 tasks are learned" in capsys.readouterr().err
    with pytest.raises(InputError, match="has learned 2 tasks, more than this sequence has"):
        runs.train(recipe(tasks=1), out=folder, console=False)


def test_methods_share_their_first_task(run: Path) -> None:
    tuned = recipe("fine_tuning", tasks=2)
    tuned = runs.with_images(tuned, runs.Splits(tuned.data))
    folder = run.parent / "tuned"
    assert reproduce.share_first_task(tuned, folder)
    runs.train(tuned, out=folder, console=False)
    assert torch.equal(from_pretrained(task_folders(folder)[0]).sample(4), from_pretrained(task_folders(run)[0]).sample(4))
    assert [row["value"] for row in rows(folder) if row["task"] == 0] == [row["value"] for row in rows(run) if row["task"] == 0]
    assert not reproduce.share_first_task(tuned, folder), "it has begun"
    whole = runs.train(tuned, out=run.parent / "whole", console=False)
    assert torch.equal(from_pretrained(whole).sample(4), from_pretrained(folder).sample(4)), "sharing changes nothing"
    other = replace(tuned, training=replace(tuned.training, seed=1))
    assert not reproduce.share_first_task(other, run.parent / "other")
    with_two = runs.train(recipe("fine_tuning"), out=run.parent / "two", start=run, start_tasks=2, console=False)
    for number in range(2):
        assert torch.equal(from_pretrained(task_folders(with_two)[number]).sample(4), from_pretrained(task_folders(run)[number]).sample(4))
    with pytest.raises(InputError, match="start_tasks is 3: the sequence has 2 tasks"):
        runs.train(tuned, out=run.parent / "other", start=run, start_tasks=3, console=False)
    keeping = replace(tuned, succession=replace(tuned.succession, keep_optimisers=True))
    assert not reproduce.share_first_task(keeping, run.parent / "other")
    with pytest.raises(InputError, match="keep_optimisers"):
        runs.train(keeping, out=run.parent / "other", start=run, console=False)
    assert not (run.parent / "other").exists()
    with pytest.raises(InputError, match=r"training\.seed was 0 and is 1"):
        runs.train(other, out=run.parent / "other", start=run, console=False)


def test_joint_training_has_the_steps_of_all_its_tasks(tmp_path: Path) -> None:
    folder = runs.train(recipe("joint_training", tasks=2), out=tmp_path / "run", console=False)
    (place,) = task_folders(folder)
    model = from_pretrained(place)
    assert model.known == (0, 1)
    assert max(row["steps"] for row in rows(folder)) == 2 * STEPS
    assert torch.equal(model.generator.norms[0].mean[0], model.generator.norms[0].mean[1]), "statistics are shared"


def test_batch_statistics_are_a_protocol_of_their_own(tmp_path: Path, run: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    by_batch = replace(recipe(), scoring=replace(recipe().scoring, statistics="batch"))
    runs.train(by_batch, out=tmp_path / "run", console=False)
    added = rows(tmp_path / "run")[len(rows(run)) :]
    assert {row["protocol"]["statistics"] for row in added} == {"batch"}
    assert {row["task"] for row in added} == {2, None}, "only the last task is looked up again"


def test_pictures_and_tables_of_a_stream(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "matrix", str(run), "--out", str(tmp_path / "matrix.png")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["after", "task", "0", "1", "2", "mean"]
    assert [len(line.split()) for line in told[1:4]] == [3, 4, 5]
    assert main(["tasks", "evolution", str(run), "--out", str(tmp_path / "evolution.png")]) == 0
    assert main(["tasks", "evolution", str(run), "--label", "1", "--ends", "--out", str(tmp_path / "ends.png")]) == 0
    sheets = {name: Image.open(tmp_path / f"{name}.png") for name in ("evolution", "ends")}
    nine, two = sheets["evolution"].height, sheets["ends"].height
    pitch = (nine - two) // 7
    assert nine - 9 * pitch == two - 2 * pitch < pitch, "steps 0, 1 and 2 of three tasks; the ends of two that know class 1; one head"
    assert main(["tasks", "evolution", str(run), "--label", "9", "--out", str(tmp_path / "none.png")]) == 2
    assert main(["stream", "cost", str(run)]) == 0
    assert "joint_replay_alignment" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "What becomes of the first class" in page
    assert "150 drawn after each of these tasks" in page and "Not drawn" not in page
    assert "Accuracy by class" in page
    scores = page[page.index("<h2>Scores</h2>") : page.index("<h2>Tasks</h2>")]
    assert "Accuracy, 3 classes" in scores
    assert "generated" not in scores and f">{STEPS}<" not in scores, "cost and single tasks have a section of their own"


def test_embeddings_say_how_far_the_groups_are_apart(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "embedding", str(run), "--tasks", "1,3", "--num", "70", "--out", str(tmp_path / "tsne.png")]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].startswith("real: "), "what the others are compared with"
    assert "after task 1: 70 images, too few for a distance: both groups need more images than the 64 features" in told
    assert Image.open(tmp_path / "tsne.png").width > 400
    assert main(["stream", "embedding", str(run), "--tasks", "1,4"]) == 2
    assert main(["stream", "embedding", str(run), str(run), "--tasks", "1"]) == 2


def unlabelled(variant: str) -> Recipe:
    """Two tasks of two digits, two steps each, narrow nets."""
    chosen = RECIPES["memory_gan/digits_stream"](variant=variant)
    assert chosen.succession is not None
    memory = chosen.model.memory and replace(chosen.model.memory, num_slots=48, key_dim=16, top_k=12)
    return replace(
        chosen,
        model=replace(chosen.model, width=4, memory=memory),
        training=replace(chosen.training, steps=STEPS, batch_size=16, checkpoint_every=0, sample_every=0, log_every=1),
        scoring=replace(chosen.scoring, num_samples=SAMPLES),
        succession=replace(chosen.succession, tasks=replace(chosen.succession.tasks, num_tasks=2)),
    )


def test_a_memory_gan_learns_a_stream_and_is_scored_by_classes_that_it_is_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_report", lambda *given: None)  # one page is enough
        tuned = runs.train(unlabelled("fine_tuning"), out=tmp_path / "tuned", console=False)
    replaying = unlabelled("slot_replay")
    replaying = runs.with_images(replaying, runs.Splits(replaying.data))
    assert reproduce.share_first_task(replaying, tmp_path / "slots"), "the first task has no past"
    folder = runs.train(replaying, out=tmp_path / "slots", console=False)
    found = [row for row in rows(folder) if row["variant"] != "real"]
    shares = {row["class"]: row["value"] for row in found if (row["metric"], row["task"]) == ("class_share", 1)}
    value = {row["metric"]: row["value"] for row in found if row["task"] is None}
    assert set(shares) == {0, 1, 2, 3}
    assert sum(shares.values()) + value["unseen_share"] == pytest.approx(1)
    assert {row["steps"] for row in found if row["task"] == 1} == {2 * STEPS}
    recall = [row["value"] for row in found if (row["metric"], row["task"]) == ("slot_recall", 1) and row["class"] in (0, 1)]
    assert value["slot_recall"] == pytest.approx(np.mean(recall))
    asked = {row["class"]: row["protocol"]["num_samples"] for row in found if (row["metric"], row["task"]) == ("slot_recall", 1)}
    assert asked[None] == asked[0] + asked[1], "images of the earlier classes, not samples"
    seen = int((load("digits", split="test", progress=False).label < 4).sum())
    assert {row["protocol"]["reference"]["num"] for row in found if row["metric"] == "fid" and row["task"] == 1} == {seen}
    first = [[row["value"] for row in rows(each) if row["task"] == 0] for each in (tuned, folder)]
    assert first[0] == first[1], "it was taken over"
    assert not torch.equal(from_pretrained(tuned).sample(4), from_pretrained(folder).sample(4))
    page = (folder / "report.html").read_text()
    assert "Share of samples by class" in page
    assert "What becomes of an image" in page


def test_networks_without_memory_replay_too(tmp_path: Path) -> None:
    folder = runs.train(unlabelled("plain_replay"), out=tmp_path / "plain", console=False)
    assert {"class_share", "inception_score", "fid"} <= {row["metric"] for row in rows(folder)}
    assert not [row for row in rows(folder) if row["metric"].startswith("slot")]


@dataclass(frozen=True)
class Forgetful:
    """An objective that keeps no past."""

    def phases(self, model: Any, *, teacher: Any = None) -> tuple[Any, ...]:
        raise AssertionError("refused before")


def test_what_is_no_stream_is_refused(tmp_path: Path) -> None:
    plain = replace(RECIPES["mem_vae/digits"](), succession=recipe().succession, objective=Forgetful())
    with pytest.raises(InputError, match="succession"):
        runs.train(plain, out=tmp_path, console=False)


def test_a_run_holds_no_training_image_beside_those_of_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a task is learned, whatever was read from the data has been freed, but for the images of the tasks that are still to come."""
    read, learned, alive = list[weakref.ref](), list[weakref.ref](), list[tuple[int, int]]()

    def noting(splits: runs.Splits, split: str) -> ImageData:
        found = load(splits, split)
        copied = replace(found, image=np.array(found.image))  # of its own: the cache's map of a file leads to no pixel in memory
        read.extend([weakref.ref(copied.image)] if split == "train" else [])
        return copied

    def opening(stream: TaskSequence, number: int) -> Task:
        task = opened(stream, number)
        learned.append(weakref.ref(task.data.image))
        return task

    def fitting(*given: Any, **named: Any) -> Any:
        alive.append((sum(reference() is not None for reference in read), sum(reference() is not None for reference in learned)))
        return fit(*given, **named)

    load, opened, fit = runs.Splits.load, TaskSequence.open, continual.fit
    monkeypatch.setattr(runs.Splits, "load", noting)
    monkeypatch.setattr(TaskSequence, "open", opening)
    monkeypatch.setattr(continual, "fit", fitting)
    runs.train(replace(recipe(), scoring=replace(recipe().scoring, extractor=None)), out=tmp_path / "run", console=False)
    assert read
    assert alive == [(0, 1)] * 3
