"""A category more for a saved model, from the model and the new images alone."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from memogen import from_pretrained, save_pretrained
from memogen.cli import main
from memogen.data import load
from memogen.models import MemoryGANConfig, ReplayGAN, ReplayGANConfig
from memogen.runs import extend as extending
from memogen.training import Stopped, TrainingConfig, fit
from memogen.types import ImageData, InputError
from tests.models.test_replay_gan import built

SAMPLES = 70
KNOWS = ReplayGANConfig(image_shape=(1, 8, 8), width=4, noise_dim=4, classes=("zero", "one", "two"))


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """A saved model of three digits, alone in its place: no run, no data of the known digits."""
    save_pretrained(built(KNOWS, ((0,), (1,), (2,))), tmp_path / "deployed")
    return tmp_path / "deployed"


def pictures(folder: Path, digit: int, num: int = 90) -> Path:
    folder.mkdir(parents=True)
    digits = load("digits", progress=False)
    for number, image in enumerate(digits.image[digits.label == digit][:num]):
        Image.fromarray(image[0]).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def threes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of the digit 3 and of nothing else."""
    return pictures(tmp_path_factory.mktemp("new") / "threes", 3)


CONFIG = extending.ExtendConfig(steps=3, batch_size=16, extractor="digits", num_samples=SAMPLES)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["joint_replay", "replay_alignment"])
def test_a_category_is_added_from_the_model_and_its_images_alone(deployed: Path, threes: Path, tmp_path: Path, method: str) -> None:
    before = (deployed / "model.safetensors").read_bytes()
    config, out = replace(CONFIG, method=method), tmp_path / "out"
    changes = extending.extend(deployed, data=threes, label="3", out=out, config=config, console=False)
    assert [change.name for change in changes] == ["zero", "one", "two", "3"]
    assert [change.before is None for change in changes] == [False, False, False, True]
    assert all(change.after.fid is not None for change in changes)
    assert [change.after.accuracy is None for change in changes] == [True] * 3 + [False], "the judge calls them 0, 1 and 2"
    assert (deployed / "model.safetensors").read_bytes() == before
    model = from_pretrained(out)
    assert isinstance(model, ReplayGAN)
    assert model.known == (0, 1, 2, 3)
    assert model.learned.tolist()[:4] == [0, 1, 2, 3]
    found = rows(out)
    images = {"joint_replay": 3 * (5 * (16 + 30) + 16 + 15), "replay_alignment": 3 * (5 * 16 + 16 + 2 * 15)}  # of three classes five replays each
    costs = {row["metric"]: row["value"] for row in found if row["class"] is None}
    assert costs["generated_images"] == images[method]
    assert costs["kept_megabytes"] * 1e6 >= sum(4 * value.numel() for value in model.generator.parameters()), "the teacher"
    assert {(row["task"], row["class"]) for row in found if row["class"] is not None} == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)}
    assert {(row["recipe"], row["variant"], row["steps"], row["images"]) for row in found} == {("replay_gan/extend", method, 3, 3 * 5 * 16)}
    assert extending.extend(deployed, data=threes, label="3", out=out, config=config, console=False) == changes, "it is finished"
    assert rows(out) == found, "and its rows are there"


def test_alignment_starts_from_what_the_averaged_generator_draws(deployed: Path, threes: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, method="replay_alignment", steps=1)
    extending.extend(deployed, data=threes, label="3", out=tmp_path / "out", config=config, console=False)
    (line,) = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["generator/alignment"] == 0


def test_a_stopped_extension_is_continued_to_the_same_bits(deployed: Path, threes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: Mapping[str, Any] = {"data": threes, "label": "3", "config": CONFIG, "console": False}
    extending.extend(deployed, out=tmp_path / "whole", **options)

    def stopping(*given: Any, course: Any, **named: Any) -> Any:
        watch = lambda step, model: signal.raise_signal(signal.SIGTERM) if step == 2 else None  # noqa: E731
        return fit(*given, course=replace(course, watch=watch), **named)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(extending, "fit", stopping)
        extending.extend(deployed, out=tmp_path / "cut", **options)
    extending.extend(deployed, out=tmp_path / "cut", **options)
    last = [sorted((tmp_path / name / "checkpoints").iterdir())[-1] for name in ("whole", "cut")]
    assert {file.name for file in last[0].glob("*.safetensors")} == {f"{part}.safetensors" for part in ("model", "teacher", "optimisers", "averages")}
    for file in last[0].glob("*.safetensors"):
        assert file.read_bytes() == (last[1] / file.name).read_bytes(), file.name


def test_the_label_set_grows_and_a_judge_is_trained_where_none_is_named(
    deployed: Path, threes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    full = built(replace(KNOWS, num_classes=3), ((0,), (1,), (2,)))
    save_pretrained(full, deployed)
    words = f"extend {deployed} --data {threes} --label three --out {out} --steps 1 --num-samples 70"
    assert main(shlex.split(words)) == 0
    model = from_pretrained(out)
    assert (model.config.num_classes, model.config.classes, model.known) == (4, ("zero", "one", "two", "three"), (0, 1, 2, 3))
    page = (out / "report.html").read_text()
    assert "<h2>Categories</h2>" in page
    told = capsys.readouterr()
    assert "judged by a classifier trained on replays and new images" in told.out
    assert "81 images to learn and 9 held out, 8 x 8 grey of 'three'" in told.err
    judged = [row for row in rows(out) if row["class"] is not None]
    (accuracy,) = {row["protocol"]["extractor_accuracy"] for row in judged}
    assert accuracy == pytest.approx(round(accuracy * (3 * 70 + 9)) / (3 * 70 + 9)) and accuracy > 0.5, "on other replays and the held-out images"
    assert {row["protocol"]["new"] for row in judged} == {extending.LEARNED}, "nine are fewer than the judge has features"
    assert "memogen interpolate" not in page
    assert main(["sample", str(out), "--label", "three", "--num", "4", "--out", str(tmp_path / "three.png")]) == 0
    capsys.readouterr()
    assert main(["sample", str(out), "--label", "four", "--out", str(tmp_path / "four.png")]) == 2
    assert "neither a class's number nor one of zero, one, two, three" in capsys.readouterr().err
    assert not (tmp_path / "four.png").exists()
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().err == ""


def test_pictures_of_another_size_are_brought_to_the_models(deployed: Path, tmp_path: Path) -> None:
    model = from_pretrained(deployed)
    folder = tmp_path / "large"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (28, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    images = extending.new_images(folder, model, 3, "3")
    assert images.image.shape == (1, 1, 8, 8)
    assert images.label.tolist() == [3]
    learned, held_out = extending.parted(images)
    assert (len(learned), len(held_out)) == (1, 0)


def test_data_of_several_classes_give_the_one_that_is_named(deployed: Path) -> None:
    model = from_pretrained(deployed)
    images = extending.new_images("digits", model, 3, "3")
    assert len(images) == (load("digits", progress=False).label == 3).sum()
    learned, held_out = extending.parted(images)
    assert (len(held_out), len(learned) + len(held_out)) == (len(images) // 10, len(images))
    with pytest.raises(InputError, match="no 'eleven'"):
        extending.new_images("digits", model, 3, "eleven")


def test_what_cannot_be_done_is_refused_before_anything_is_written(deployed: Path, threes: Path, tmp_path: Path) -> None:
    options: Mapping[str, Any] = {"data": threes, "out": tmp_path / "out", "config": CONFIG, "console": False}
    save_pretrained(MemoryGANConfig(image_shape=(1, 8, 8), width=4).build(), tmp_path / "plain")
    save_pretrained(built(replace(KNOWS, conditioning="none")), tmp_path / "unconditional")
    save_pretrained(KNOWS.build(), tmp_path / "untaught")
    refused: list[tuple[str, Path, str, dict[str, Any]]] = [
        ("'two' is known to this model", deployed, "two", {}),
        ("cannot learn further categories", tmp_path / "plain", "3", {}),
        ("is not conditional on a class", tmp_path / "unconditional", "3", {}),
        ("learned no class yet", tmp_path / "untaught", "3", {}),
        ("is the folder of the model itself", deployed, "3", {"out": deployed}),
        ("no such data set or path", deployed, "3", {"data": tmp_path / "nowhere"}),
        ("give the new category a name", deployed, " ", {}),
        ("neither a name nor a file of weights", deployed, "3", {"config": replace(CONFIG, extractor="nowhere.pt")}),
        ("it reads 1x28x28|it reads", deployed, "3", {"config": replace(CONFIG, extractor="mnist")}),
    ]
    for words, model, label, changed in refused:
        with pytest.raises(InputError, match=words):
            extending.extend(model, label=label, **{**options, **changed})
        assert not (tmp_path / "out").exists(), words


def test_another_training_in_the_folder_is_not_continued(deployed: Path, threes: Path, tmp_path: Path) -> None:
    fit_elsewhere(tmp_path / "out")
    with pytest.raises(InputError, match="cannot be continued under other settings"):
        extending.extend(deployed, data=threes, label="3", out=tmp_path / "out", config=CONFIG, console=False)


def fit_elsewhere(folder: Path) -> None:
    torch.manual_seed(0)
    model = built(KNOWS, ((0,),))
    data = ImageData(np.zeros((8, 1, 8, 8), np.uint8), np.zeros(8, np.int64))
    config = TrainingConfig(1, batch_size=8, sample_every=0, device="cpu")
    fit(model, extending.OBJECTIVES["joint_replay"], data, config, folder, console=False)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_learning_rate_is_positive(rate: float) -> None:
    with pytest.raises(InputError, match="learning_rate"):
        replace(CONFIG, learning_rate=rate)
