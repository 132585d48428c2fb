"""The commands of a model with a likelihood and an attention memory, on a small one: what they write, what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memogen.data import load
from memogen.metrics.rows import append_rows
from memogen.models import AttentionConfig, MemoryConfig, MemoryGANConfig, MemVAEConfig, NoiseConfig
from memogen.pretrained import save_pretrained
from tests.command import run

SMALL = MemVAEConfig((1, 8, 8), hidden=(12, 9), latent_dim=3, memory=AttentionConfig((6, 4)), pixel_levels=255)
PLAIN = MemVAEConfig((1, 8, 8), hidden=(12, 9), latent_dim=3, memory=AttentionConfig(()), pixel_levels=255)
GAN = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(4), memory=MemoryConfig(16, 8, top_k=8))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model with memory (``m``), one without (``plain``), a memoryGAN, a picture, a mask, vectors."""
    place = tmp_path_factory.mktemp("made")
    digits = load("digits", split="test", progress=False, cache=place / "cache")
    for seed, (name, config) in enumerate((("m", SMALL), ("plain", PLAIN))):
        torch.manual_seed(seed)
        model = config.build()
        model.calibrate(digits)
        save_pretrained(model, place / name)
    save_pretrained(GAN.build(), place / "gan")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(place / "picture.png")
    Image.fromarray(np.uint8([[255] * 8] * 3 + [[0] * 8] * 5)).save(place / "mask.png")
    rng = np.random.default_rng(0)
    np.savez(place / "vectors.npz", x_train=rng.random((40, 64)).astype(np.float32), x_test=rng.random((8, 64)).astype(np.float32))
    return place


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.setenv("MEMOGEN_CACHE", str(made / "cache"))
    return made


@pytest.mark.parametrize(
    "words",
    [
        "memory usage m --data digits --out x.png",
        "memory slots m --data digits --out x.png",
        "memory slots m --data none --layer 1 --stretched --out x.png",
        "memory slots m --slots 0,5 --out x.png",
        "memory graph m --data digits --of pixels --out x.png",
        "memory disable m --num 3 --out x.png",
        "impute m --data digits --mask rand-0.6 --num 4 --steps 2 --by_batch --out x.png",
        "impute plain --data picture.png --mask mask.png --steps 2 --out x.png",
        "sample m --num 4 --out x.png",
        "neighbours m --data digits --num 2 --out x.png",
    ],
)
def test_pictures_are_written_and_named(words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "x.png").unlink(missing_ok=True)
    code, told, err = run(words, capsys)
    assert code == 0, err
    assert "x.png" in told.split()
    with Image.open(here / "x.png") as picture:
        picture.load()


def test_usage_query_and_graph_print_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("memory usage m --data digits --top 2", capsys)
    assert code == 0 and "layer 0 (next to the data): 6 slots" in out and "layer 1: 4 slots" in out
    rows = [line.split() for line in out.splitlines() if line[:1].isdigit()]
    assert len(rows) == 20 and all(float(row[2]) >= float(row[4]) for row in rows)
    code, out, _ = run("memory query m picture.png --num 2", capsys)
    assert code == 0 and [len(part.strip().splitlines()) for part in out.split("share\n")] == [2, 5, 2]
    code, out, _ = run("memory graph m --data digits --of 1 --out graph.png", capsys)
    values = [float(line.rpartition(" ")[2]) for line in out.splitlines()[1:]]
    assert code == 0 and len(values) == 8 and values == sorted(values, reverse=True)


def test_evaluate_scores_the_model_itself_and_keeps_every_image(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "evaluate m --data digits --metrics nll,imputation,slots,is --num_samples 50 --importance_samples 20 --masks half --out rows/new.jsonl"
    code, out, err = run(words, capsys)
    assert code == 0, err
    rows = [json.loads(line) for line in (here / "rows/new.jsonl").read_text().splitlines()]
    assert [row["metric"] for row in rows] == ["inception_score", "log_likelihood", "elbo", *["imputation_mse"] * 2, *["slot_preference"] * 3]
    assert "imputation_mse half by batch" in out
    likelihood = rows[1]
    assert likelihood["protocol"]["importance_samples"] == 20 and (here / "rows" / likelihood["per_image"]).is_file()
    code, out, _ = run("evaluate plain --data digits --num_samples 20 --importance_samples 5 --out rows/plain.jsonl", capsys)
    assert code == 0 and out.splitlines()[1].startswith("log_likelihood"), "what such a model is asked when nothing else is said"


def test_two_variants_are_compared_on_their_images(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for variant, model in (("mem_vae", "m"), ("vae", "plain")):
        for seed in (0, 1):
            words = f"evaluate {model} --data digits --metrics nll --num_samples 40 --importance_samples 10 --seed 3 --out one.jsonl"
            (here / "one.jsonl").unlink(missing_ok=True)
            assert run(words, capsys)[0] == 0
            rows = [json.loads(line) for line in (here / "one.jsonl").read_text().splitlines()]
            append_rows(here / "table.jsonl", [{**row, "recipe": "mem_vae/digits", "variant": variant, "seed": seed} for row in rows])
    code, out, err = run("compare mem_vae vae --rows table.jsonl", capsys)
    assert code == 0, err
    assert "of 40 images, 10 importance samples" in out and "mean of 2 runs" in out and "(seeds 0, 1)" in out
    values = [float(line.split()[0]) for line in out.splitlines()[1:4]]
    assert values[2] == pytest.approx(values[0] - values[1], abs=2e-3)
    more = [json.loads(line) for line in (here / "table.jsonl").read_text().splitlines()]
    append_rows(here / "table.jsonl", [{**row, "seed": 2} for row in more if row["variant"] == "vae" and row["seed"] == 0])
    code, out, _ = run("compare mem_vae vae --rows table.jsonl", capsys)
    assert code == 0 and "mean of 2 runs" in out and "mean of 3 runs" in out and "pairs" not in out, "no run is left out, and none paired at random"
    (here / "run").mkdir(exist_ok=True)
    append_rows(here / "run" / "results.jsonl", [{"metric": "log_likelihood", "value": 1.0, "seed": 0}])
    for words, told in (
        ("compare mem_vae other --rows table.jsonl", "keeps no log_likelihood"),
        ("compare mem_vae vae --rows nowhere.jsonl", "no such file"),
        ("compare m plain", "no run folder"),
        ("compare run run", "memogen evaluate run --metrics nll"),
    ):
        code, _, err = run(words, capsys)
        assert code == 2 and told in err


def test_images_without_labels_are_one_class(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "flat").mkdir(exist_ok=True)
    for number in range(3):
        Image.fromarray(np.full((8, 8), 80 * number, np.uint8)).save(here / "flat" / f"{number}.png")
    code, out, err = run("memory usage m --data flat --out map.png", capsys)
    rows = [line.split() for line in out.splitlines() if line.startswith("all")]
    assert code == 0 and [len(row) for row in rows] == [7, 7], err
    assert run("memory slots m --data flat --out x.png", capsys)[0] == 0
    assert Image.open(here / "x.png").width < 80, "one column"
    assert run("memory graph m --data flat --out y.png", capsys)[0] == 2 and not (here / "y.png").exists()


def test_a_conditional_model_takes_labels_from_the_data_or_the_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = replace(SMALL, num_classes=10).build()
    model.calibrate(load("digits", split="test", progress=False, cache=here / "cache"))
    save_pretrained(model, here / "told")
    for words in ("impute told --data digits", "impute told --data picture.png --label 3"):
        assert run(f"{words} --mask half --steps 2 --num 4 --out x.png", capsys)[0] == 0
    assert run("memory query told picture.png --label 3", capsys)[0] == 0
    assert run("memory usage told --data digits", capsys)[0] == 0
    for words, told in (
        ("impute told --data picture.png --mask half --out no.png", "give labelled images, or a label"),
        ("impute told --data digits --label 10 --mask half --out no.png", "knows labels 0 to 9"),
        ("impute m --data digits --label 1 --mask half --out no.png", "trained without labels"),
        ("memory query told picture.png", "give a label"),
        ("evaluate told --data digits --metrics svm --out no.jsonl", "conditional on labels"),
    ):
        code, _, err = run(words, capsys)
        assert code == 2 and told in err and not list(here.glob("no.*"))


def test_completed_images_keep_what_was_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("impute m --data digits --mask half --steps 2 --num 5 --out done", capsys)[0] == 0
    digits = load("digits", split="test", progress=False, cache=here / "cache").image[:5, 0]
    found = np.stack([np.asarray(Image.open(here / "done" / f"{place:05d}.png")) for place in range(5)])
    np.testing.assert_array_equal(found[:, :, 4:], digits[:, :, 4:])
    assert not np.array_equal(found[:, :, :4], digits[:, :, :4])
    assert run("impute m --data done --mask mask.png --steps 1 --out done.npz", capsys)[0] == 0
    np.testing.assert_array_equal(np.load(here / "done.npz")["x"][:, 0, 3:], found[:, 3:])


def test_vectors_train_sample_score_and_are_completed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = "--training.steps 3 --training.batch_size 8 --model.hidden [6,5] --model.latent_dim 2 --scoring.likelihood_every 0"
    code, _, err = run(
        f"train mem_vae/folder --data vectors.npz --out v {short} --scoring.metrics [nll] --scoring.model.importance_samples 5", capsys
    )
    assert code == 0, err
    row = json.loads((here / "v/results.jsonl").read_text().splitlines()[0])
    assert row["metric"] == "log_likelihood" and row["protocol"]["num_samples"] == 8
    assert run("sample v --num 2 --out v.png", capsys)[0] == 0
    code, out, err = run("evaluate v --metrics nll,imputation --masks rand-0.5 --importance_samples 5", capsys)
    assert code == 0 and "imputation_mse rand-0.5" in out, err
    code, out, err = run("impute v --data vectors.npz --mask rand-0.5 --steps 1 --out done_vectors.npz", capsys)
    assert code == 0, err
    given, done = np.load(here / "vectors.npz")["x_test"], np.load(here / "done_vectors.npz")["x"]
    assert done.shape == given.shape and 0.3 < (done == given).mean() < 0.7, "what was there is there to the last bit"
    assert Image.open(here / "v.png").size == (2 * 56 + 2, 56), "vectors of 64 are drawn in rows of 8"
    code, _, err = run("impute v --data picture.png --mask half --out no.png", capsys)
    assert code == 2 and "vectors of 64 numbers" in err
    assert run("impute m --data vectors.npz --mask half --steps 1 --out vectors.png", capsys)[0] == 0, (
        "vectors of 64 are images of 8 x 8 to such a model"
    )
    np.savez(here / "short.npz", given[:, :36])
    code, _, err = run("impute m --data short.npz --mask half --out no.png", capsys)
    assert code == 2 and "holds vectors of 36 numbers: give a size of as many pixels" in err


def test_real_pictures_are_completed_in_their_own_precision(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Vectors that a size makes pictures of are given back as numbers, not as bytes."""
    short = "--training.steps 2 --training.batch_size 8 --model.hidden [6,5] --model.latent_dim 2 --scoring.likelihood_every 0"
    assert run(f"train mem_vae/folder --data vectors.npz --data.options.size [8,8] --model.output gaussian --out vp {short}", capsys)[0] == 0
    assert run("impute vp --data vectors.npz --mask half --steps 1 --out vp.npz", capsys)[0] == 0
    given, done = np.load(here / "vectors.npz")["x_test"].reshape(-1, 1, 8, 8), np.load(here / "vp.npz")["x"]
    assert done.dtype == np.float32
    np.testing.assert_array_equal(done[..., 4:], given[..., 4:])


@pytest.mark.parametrize(("mode", "options"), [("L", ""), ("RGB", "--model.output gaussian --model.network conv")])
def test_a_folder_of_pictures_from_training_to_completion(
    mode: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "own" / f"class-{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).convert(mode).save(folder / f"{number}.png")
    code, _, err = run(f"train mem_vae/folder --data own --out r {SHORT} {options}", capsys)
    assert code == 0, err
    for words in (
        "sample r --num 4 --out s.png",
        "evaluate r --metrics nll,imputation,slots --masks rect-4 --importance_samples 3",
        "impute r --data own --mask half --steps 2 --out i.png",
        "impute r --data own --mask rand-0.5 --steps 2 --num 3 --out done",
        "memory usage r --out u.png",
        "memory slots r --out l.png",
        "memory graph r --of pixels --out g.png",
        "memory disable r --num 3 --out d.png",
    ):
        code, _, err = run(words, capsys)
        assert code == 0, err
    for name in "siulgd":
        with Image.open(f"{name}.png") as picture:
            picture.load()
    with Image.open("done/00002.png") as picture:
        assert (picture.size, picture.mode) == ((9, 6), mode)
    rows = [json.loads(line) for line in Path("r/results.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["value"]) for row in rows) and len(rows) == 2 + 2 + 3


SHORT = "--training.steps 2 --training.batch_size 8 --model.hidden [6,5] --model.latent_dim 2 --model.memory.slots [3,2] --scoring.likelihood_every 0"


@pytest.mark.parametrize(
    ("arrays", "options", "told"),
    [
        ({"x": np.full((9, 4), np.nan)}, "", "hold NaN"),
        ({"x": np.full((9, 4), 1.5)}, "", "not in [0, 1]"),
        ({"x": np.zeros((2, 3, 4, 5, 6))}, "", "shape (2, 3, 4, 5, 6)"),
        ({"x": np.zeros((0, 4))}, "", "shape (0, 4)"),
        ({}, "", "nor any other array"),
        ({"x": np.array([{}, {}], dtype=object)}, "", "save plain arrays"),
        ({"x": np.eye(9, 4), "y": np.arange(3)}, "", "for 9 images"),
        ({"x_train": np.eye(9, 4), "x_test": np.full((2, 4), np.nan)}, "", "hold NaN"),
        ({"x_train": np.eye(9, 4), "x_test": np.eye(2, 5)}, "", "test images of shape (1, 1, 5), training images of (1, 1, 4)"),
        ({"x": np.eye(9, 4)}, "--model.num_classes 2", "has none, and this model is conditional on 2 classes"),
        ({"x": np.eye(9, 4), "y": np.arange(9)}, "--model.num_classes 5", "knows labels 0 to 4"),
        ({"x": np.eye(9, 4)}, "--training.batch_size 1", "too few for batch norm: use 2 or more"),
        ({"x": np.eye(9, 4)}, "--model.hidden [6] --model.memory.slots [3]", "one number for each of the 1 hidden layers"),
    ],
)
def test_data_that_cannot_be_learned_leave_nothing_behind(
    arrays: dict[str, np.ndarray], options: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    np.savez("own.npz", **arrays)
    words, own = SHORT.split(), options.split()
    rest = [word for pair in zip(words[::2], words[1::2], strict=True) if pair[0] not in own for word in pair]
    code, _, err = run(" ".join(["train mem_vae/folder --data own.npz --out new", *rest, *own]), capsys)
    line = err.strip().splitlines()[-1]
    assert code == 2 and line.startswith("memogen: ") and told in line
    assert {path.name for path in tmp_path.iterdir()} <= {"own.npz", "cache"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("memory usage plain --data digits", "without a memory"),
        ("memory usage m", "--data"),
        ("memory disable gan --out x.png", "no such memory"),
        ("memory graph m --data digits --of 7 --out x.png", "0, 1, pixels"),
        ("memory slots m --slots 9 --out x.png", "0 to 5"),
        ("memory slots m --data digits --layer 2 --out x.png", "layers 0"),
        ("memory posterior m picture.png --out x.png", "no such memory"),
        ("impute gan --data digits --mask half --out x.png", "reconstructs no images"),
        ("impute m --data digits --mask rect-9 --out x.png", "choose a side from 1 to 8"),
        ("impute m --data digits --mask nothing.png --out x.png", "no such file"),
        ("impute m --data digits --mask half --out x.tiff", "end it with"),
        ("impute m --data nothing --mask half --out x.png", "no such data set or path"),
        ("impute m --data digits --mask half --steps 0 --out x.png", "give 1 or more"),
        ("evaluate m --data digits --metrics nul", "nul"),
        ("evaluate gan --data digits --metrics nll", "has no likelihood"),
        ("evaluate done --data digits --metrics nll", "these are images"),
        ("evaluate m --data digits --metrics imputation --masks rect-20", "choose a side"),
        ("evaluate plain --data digits --metrics slots", "no memory"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: str, told: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "x.png").unlink(missing_ok=True)
    (here / "done").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(here / "done" / "00000.png")
    code, _, err = run(words, capsys)
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("memogen:")]
    assert len(lines) == 1 and told in lines[0]
    assert not (here / "x.png").exists()
