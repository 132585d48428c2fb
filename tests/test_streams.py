"""A stream of tasks from the command line: trained, scored after each task, continued, shared between methods, drawn, and extended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from memogen import extend as extending
from memogen import from_pretrained, runs, save_pretrained, streams
from memogen.cli import main
from memogen.configs import to_dict
from memogen.data import load
from memogen.models import MemoryGANConfig, ReplayGAN
from memogen.recipes import RECIPES
from memogen.recipes.recipe import Recipe
from memogen.stages import accuracy_matrix
from memogen.training.tasks import task_folders
from memogen.types import InputError

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


def test_methods_share_their_first_task(run: Path) -> None:
    tuned = recipe("fine_tuning", tasks=2)
    tuned, _ = runs.with_images(tuned)
    folder = run.parent / "tuned"
    assert streams.shared_start(folder, tuned, runs.settings(tuned))
    runs.train(tuned, out=folder, console=False)
    assert torch.equal(from_pretrained(task_folders(folder)[0]).sample(4), from_pretrained(task_folders(run)[0]).sample(4))
    assert [row["value"] for row in rows(folder) if row["task"] == 0] == [row["value"] for row in rows(run) if row["task"] == 0]
    assert not streams.shared_start(folder, tuned, runs.settings(tuned)), "it has begun"
    whole = runs.train(tuned, out=run.parent / "whole", console=False)
    assert torch.equal(from_pretrained(whole).sample(4), from_pretrained(folder).sample(4)), "sharing changes nothing"
    other, _ = runs.with_images(replace(tuned, training=replace(tuned.training, seed=1)))
    assert not streams.shared_start(run.parent / "other", other, runs.settings(other))
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
    assert main(["stream", "evolution", str(run), "--out", str(tmp_path / "evolution.png")]) == 0
    assert main(["stream", "evolution", str(run), "--label", "1", "--ends", "--out", str(tmp_path / "ends.png")]) == 0
    heights = {name: Image.open(tmp_path / f"{name}.png").height for name in ("evolution", "ends")}
    assert heights["evolution"] == 9 / 2 * heights["ends"], "steps 0, 1 and 2 of three tasks; the ends of two that know class 1"
    assert main(["stream", "evolution", str(run), "--label", "9", "--out", str(tmp_path / "none.png")]) == 2
    assert main(["stream", "cost", str(run)]) == 0
    assert "joint_replay_alignment" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "What becomes of the first class" in page
    assert "Accuracy of each class" in page


def test_embeddings_say_how_far_the_groups_are_apart(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "embedding", str(run), "--tasks", "1,3", "--num", "70", "--out", str(tmp_path / "tsne.png")]) == 0
    told = capsys.readouterr().out
    assert "after task 1: 70 images" in told
    assert Image.open(tmp_path / "tsne.png").width > 400
    assert main(["stream", "embedding", str(run), "--tasks", "1,4"]) == 2
    assert main(["stream", "embedding", str(run), str(run), "--tasks", "1"]) == 2


def test_what_is_no_stream_is_refused(tmp_path: Path) -> None:
    plain = replace(RECIPES["memory_gan/digits"](), succession=recipe().succession)
    with pytest.raises(InputError, match="learns no stream of tasks"):
        runs.train(plain, out=tmp_path, console=False)


def test_a_recipe_without_tasks_keeps_its_name() -> None:
    """The option is absent from what names the configurations that were there before it."""
    before = to_dict(RECIPES["memory_gan/digits"]())
    assert before["succession"] is None
    assert "succession" not in runs._identity(RECIPES["memory_gan/digits"]())
    assert "succession.tasks.joint" in runs.settings(recipe())


# --- extend ---


@pytest.fixture(scope="module")
def threes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of the digit 3 and of nothing else."""
    folder = tmp_path_factory.mktemp("threes")
    digits = load("digits", progress=False)
    for number, image in enumerate(digits.image[digits.label == 3][:90]):
        Image.fromarray(image[0]).save(folder / f"{number:03d}.png")
    return folder


CONFIG = extending.ExtendConfig(steps=3, batch_size=16, extractor="digits", num_samples=SAMPLES)


@pytest.mark.parametrize("method", ["joint_replay", "replay_alignment"])
def test_extend_adds_a_category_from_the_model_and_its_images_alone(run: Path, threes: Path, tmp_path: Path, method: str) -> None:
    """The model lies in a place of its own: no run, no data of the known digits."""
    save_pretrained(from_pretrained(run), tmp_path / "deployed")
    before = (tmp_path / "deployed" / "model.safetensors").read_bytes()
    config = replace(CONFIG, method=method)
    changes = extending.extend(tmp_path / "deployed", data=threes, label="3", out=tmp_path / "out", config=config, console=False)
    assert [change.name for change in changes] == ["0", "1", "2", "3"]
    assert [change.before is None for change in changes] == [False, False, False, True]
    assert all(change.after.accuracy is not None and change.after.fid is not None for change in changes)
    assert (tmp_path / "deployed" / "model.safetensors").read_bytes() == before
    model = from_pretrained(tmp_path / "out")
    assert model.known == (0, 1, 2, 3)
    assert model.learned.tolist()[:4] == [0, 1, 2, 3]
    again = extending.extend(tmp_path / "deployed", data=threes, label="3", out=tmp_path / "out", config=config, console=False)
    assert again == changes, "it is finished"
    found = rows(tmp_path / "out")
    assert {(row["task"], row["class"]) for row in found} == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)}


def test_alignment_starts_from_what_the_averaged_generator_draws(run: Path, threes: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, method="replay_alignment", steps=1)
    extending.extend(run, data=threes, label="3", out=tmp_path / "out", config=config, console=False)
    (line,) = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["generator/alignment"] == 0


def test_extend_grows_the_label_set_and_trains_a_judge_where_none_is_named(run: Path, threes: Path, tmp_path: Path) -> None:
    words = ["extend", str(run), "--data", str(threes), "--label", "three", "--out", str(tmp_path / "out"), "--steps", "1", "--num-samples", "70"]
    assert main(words) == 0
    model = from_pretrained(tmp_path / "out")
    assert (model.config.num_classes, model.config.classes[-1], model.known) == (11, "three", (0, 1, 2, 10))
    assert model.sample(2, label=10).shape == (2, 1, 8, 8)


def test_data_of_several_classes_give_the_one_that_is_named(run: Path) -> None:
    model = from_pretrained(run)
    images = extending.new_images("digits", model, 3, "3")
    assert len(images) == (load("digits", progress=False).label == 3).sum()
    learned, held_out = extending.parted(images)
    assert (len(held_out), len(learned) + len(held_out)) == (len(images) // 10, len(images))
    with pytest.raises(InputError, match="no 'eleven'"):
        extending.new_images("digits", model, 3, "eleven")


def test_extend_refuses_what_it_cannot_do(run: Path, threes: Path, tmp_path: Path) -> None:
    options: Mapping[str, Any] = {"data": threes, "out": tmp_path / "out", "config": CONFIG, "console": False}
    with pytest.raises(InputError, match="'2' is known to this model"):
        extending.extend(run, label="2", **options)
    save_pretrained(MemoryGANConfig(image_shape=(1, 8, 8), width=4).build(), tmp_path / "plain")
    with pytest.raises(InputError, match="learns no categories"):
        extending.extend(tmp_path / "plain", label="3", **options)
    with pytest.raises(InputError, match="is the model itself"):
        extending.extend(run, label="3", **{**options, "out": run})
    with pytest.raises(InputError, match="no such data set or path"):
        extending.extend(run, label="3", **{**options, "data": tmp_path / "nowhere"})
