"""Scores of one's own pictures, for which no classifier ships: in pixels, with a test split or without, from training to evaluate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import memogen
from memogen.data import from_arrays, load
from memogen.metrics import evaluate, score_images
from memogen.metrics.copies import distance_check
from memogen.metrics.evaluate import judge_for, usual_metrics
from memogen.metrics.extractors import extractor, fitting
from memogen.metrics.kid import kernel_distance
from memogen.metrics.prdc import prdc
from memogen.types import ImageData, InputError
from tests.command import rows_in, run
from tests.metrics.toys import small_gan

SHORT = "--training.steps 2 --training.batch_size 8 --model.width 8 --model.memory.num_slots 16 --model.memory.key_dim 8 --model.memory.top_k 8"


def noise(num: int, seed: int, *, name: str = "mine", split: str = "train", side: int = 8) -> ImageData:
    image = np.random.default_rng(seed).integers(0, 256, (num, 1, side, side), dtype=np.uint8)
    return replace(from_arrays(image, name=name), split=split)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``mine`` of pictures without a test split."""
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    for number, image in enumerate(load("digits", progress=False).image[:60]):
        Image.fromarray(image[0]).save(tmp_path / "mine" / f"{number:02d}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- the extractor ---


def test_pixels_are_features_without_weights() -> None:
    image = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    judge = extractor("pixels", image_shape=(3, 4, 5))
    torch.testing.assert_close(judge.features(image), image.flatten(1) / 255)
    assert not list(judge.parameters()) and judge.resize == "none"
    with pytest.raises(InputError, match="bring all to one shape"):
        judge.features(image[:, :, :3])
    with pytest.raises(InputError, match="features but no logits"):
        judge(image)


def test_large_images_are_brought_down_and_vectors_are_not() -> None:
    flat = torch.full((2, 3, 64, 128), 51, dtype=torch.uint8)
    judge = extractor("pixels", image_shape=(3, 64, 128))
    torch.testing.assert_close(judge.features(flat), torch.full((2, 3 * 16 * 32), 0.2))
    assert "16x32" in judge.resize
    vectors = torch.rand(4, 1, 1, 100)
    found = extractor("pixels", image_shape=(1, 1, 100)).features(vectors)
    torch.testing.assert_close(found, vectors.flatten(1), atol=0.5 / 255 + 1e-6, rtol=0)


def test_data_have_their_own_classifier_where_it_reads_them() -> None:
    assert fitting(load("digits", split="test", progress=False)) == "digits"
    assert fitting(noise(3, 0, name="digits")) == "digits", "8 x 8 grey"
    assert fitting(noise(3, 0, name="digits", side=9)) == "pixels"
    assert fitting(noise(3, 0)) == "pixels"
    few, many = noise(4, 0), noise(20, 0)
    judge = judge_for(many, None, warns=False)
    assert usual_metrics(judge, many) == ("kid", "prdc") and usual_metrics(judge, few) == ("kid",)
    assert usual_metrics(extractor("digits"), many) == ("is", "fid")


# --- from Python ---


def test_a_model_is_scored_without_a_word_about_how(capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers are those of the definitions on the pixels themselves."""
    model, data = small_gan(), noise(40, 1, split="test")
    rows = {row.metric: row for row in memogen.evaluate(model, data, num_samples=40)}
    assert list(rows) == ["kid", "precision", "recall", "density", "coverage"]
    from memogen.types import to_uint8

    fake, real = to_uint8(model.sample(40), model.image_range).flatten(1) / 255, torch.from_numpy(data.image).flatten(1) / 255
    assert rows["kid"].value == pytest.approx(kernel_distance(real, fake).mean, rel=1e-4)
    assert rows["coverage"].value == prdc(real, fake).coverage
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "pixels" in line]
    assert note == "note: no classifier of mine ships: its features are pixels (or name an extractor, such as inception-v3)"
    named = memogen.evaluate(model, load("digits", split="test", progress=False), num_samples=70, progress=False)
    assert [row.metric for row in named] == ["inception_score", "fid"] and named[0].protocol["extractor"].startswith("digits-v1:")
    assert "note" not in capsys.readouterr().err


# --- copies where nothing is held out ---


def test_training_images_are_compared_with_the_others() -> None:
    rows = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    found = distance_check(torch.tensor([[3.5]]), rows[[3, 0]], rows.split(3), own=torch.tensor([3, 0]))
    assert found.samples.tolist() == [0.5] and found.held_out.tolist() == [4.0, 1.0]


def test_copies_are_found_and_fresh_images_are_none() -> None:
    training, fresh = noise(200, 0), noise(150, 1)
    for images, wanted in ((training, True), (fresh, False)):
        rows = score_images(images, training, metrics=("copies",), progress=False)
        assert [row.metric for row in rows] == ["copies_pixels", "copies_features"]
        for row in rows:
            assert row.protocol["more_than_held_out"] is wanted
            assert row.protocol["reference"]["compared"] == "each with the others"
            assert row.protocol["quantiles"]["held_out"]["0"] > 0, "no image is compared with itself"
    with pytest.raises(InputError, match="none are held out, so two or more are needed"):
        score_images(fresh, noise(1, 0), metrics=("copies",), progress=False)


# --- the command line ---


def test_a_run_on_a_folder_is_scored_at_its_end_and_later(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(f"train memory_gan/folder --data mine {SHORT} --scoring.num_samples 50 --out r", capsys)
    assert code == 0 and "compared with the training images, so a model that copies them looks good" in err
    assert "scoring by kid, prdc in the features of pixels, 50 samples" in err
    rows = rows_in(here / "r" / "results.jsonl")
    assert {row["metric"] for row in rows} == {"kid", "precision", "recall", "density", "coverage"}
    assert {(row["variant"], row["split"]) for row in rows} == {("memory_gan", "train")}, "real images against themselves tell nothing"
    assert all(row["protocol"]["extractor"].startswith("pixels") for row in rows)
    code, out, err = run("evaluate r --num-samples 50", capsys)
    assert code == 0 and "note: no classifier of mine ships: its features are pixels" in err
    assert [line.split()[0] for line in out.splitlines()[1:6]] == ["kid", "precision", "recall", "density", "coverage"]
    again = rows_in(here / "r" / "results.jsonl")[len(rows) :]
    assert {row["metric"]: row["value"] for row in again} == {row["metric"]: row["value"] for row in rows}
    code, out, err = run("evaluate r --metrics copies --num-samples 50", capsys)
    assert code == 0 and "copies_pixels" in out and "copies_features" in out, err
    code, _, err = run("evaluate r --metrics is --num-samples 50", capsys)
    assert code == 2 and "features but no logits" in err


def test_held_out_pictures_are_compared_with_where_there_are_some(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(f"train memory_gan/folder --data mine --data.options.test_share 0.3 {SHORT} --scoring.num_samples 50 --out r", capsys)
    assert code == 0 and "compared with the training images" not in err
    rows = rows_in(here / "r" / "results.jsonl")
    assert {row["split"] for row in rows} == {"test"} and {row["variant"] for row in rows} == {"memory_gan", "real"}
    code, out, err = run("evaluate r --metrics copies,kid --num-samples 50", capsys)
    assert code == 0 and "copies_pixels" in out, err
    assert "compared" not in rows_in(here / "r" / "results.jsonl")[-1]["protocol"]["reference"]


def test_pictures_that_can_only_be_scored_on_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "held" / "test").mkdir(parents=True)
    for path in sorted((here / "mine").iterdir())[:20]:
        path.rename(here / "held" / "test" / path.name)
    code, out, err = run("evaluate mine --data held --out rows.jsonl", capsys)
    assert code == 0 and "kid" in out, err
    assert {row["split"] for row in rows_in(here / "rows.jsonl")} == {"test"}


def test_a_published_recipe_on_ones_own_pictures_is_scored_in_pixels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(f"train memory_gan/digits --data mine {SHORT} --scoring.num_samples 40 --scoring.likelihood_every 0 --out r", capsys)
    assert code == 0, err
    assert {row["metric"] for row in rows_in(here / "r" / "results.jsonl")} == {"kid", "precision", "recall", "density", "coverage"}


def test_a_given_extractor_and_given_metrics_are_taken() -> None:
    rows = evaluate(small_gan(), noise(80, 0, split="test"), extractor="digits", metrics=("kid",), num_samples=30, progress=False)
    assert [row.metric for row in rows] == ["kid"] and rows[0].protocol["extractor"].startswith("digits-v1:")
