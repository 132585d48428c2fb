"""`memogen novelty`: what it prints and writes, and what it refuses in one line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.pretrained import save_pretrained
from tests.command import rows_in, run
from tests.metrics.toys import small_gan


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a saved model ``m``, and twelve pictures and a text in ``pictures``."""
    save_pretrained(small_gan(), tmp_path / "m")
    chance = np.random.default_rng(0)
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    for number in range(12):
        side = int(chance.integers(8, 20))
        place = tmp_path / "pictures" / ("sub" if number % 3 == 0 else "")
        Image.fromarray(chance.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(place / f"{number:02d}.png")
    (tmp_path / "pictures" / "broken.png").write_text("no picture", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_scores_of_a_folder_of_pictures_by_their_names(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("novelty m --data digits --against pictures --out scores.csv", capsys)
    assert code == 0 and "broken.png" in err
    lines = out.splitlines()
    assert lines[0].startswith("known: 360 images of digits test; against: 12 images of pictures pictures; neighbours among 1,437 images of digits")
    assert [line.rsplit(maxsplit=2)[0].strip() for line in lines[1:5]] == ["score", "memory", "neighbours in queries", "neighbours in pixels"]
    with (here / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["image"] for row in rows) == sorted(f"{'sub/' * (number % 3 == 0)}{number:02d}.png" for number in range(12))
    assert all(0 <= float(row[f"{name}_percentile"]) <= 100 for row in rows for name in ("memory", "neighbours_in_queries", "neighbours_in_pixels"))
    memory = sorted(rows, key=lambda row: float(row["memory"]))
    ranks = [float(row["memory_percentile"]) for row in memory]
    assert ranks == sorted(ranks)


def test_one_picture_a_sheet_and_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("novelty m --data digits --against pictures/01.png --num 40 --out one.csv", capsys)[0] == 0
    assert len((here / "one.csv").read_text().splitlines()) == 2
    assert run("novelty m --data digits --against digits --num 40 --out strange.png", capsys)[0] == 0
    with Image.open(here / "strange.png") as sheet:
        assert sheet.width > 100
    code, out, _ = run("novelty m --data digits --against digits --num 40 --out rows.jsonl", capsys)
    rows = rows_in(here / "rows.jsonl")
    assert code == 0 and [row["protocol"]["score"] for row in rows] == ["memory", "neighbours in queries", "neighbours in pixels"]
    assert {row["metric"] for row in rows} == {"novelty_auroc"} and [row["value"] for row in rows] == [0.5] * 3, "a set against itself"
    assert rows[0]["protocol"]["against"]["num"] == 40 and rows[0]["command"].startswith("memogen")
    assert "0.5000" in out and "no score tells these images from known ones" in out


def test_a_vae_and_another_size(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(here / "dark.npz", x=np.zeros((20, 12, 12, 3), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None])
    code, out, err = run("novelty digits-vae --against dark.npz --num 20 --importance-samples 2", capsys)
    assert code == 0, err
    assert "bound" in out and "neighbours in pixels" in out and "cosine" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("novelty m --data digits --against pictures --importance-samples 9", "--importance-samples 9: is for a bound"),
        ("novelty m --data digits --against nowhere", "nowhere: no such data set or path"),
        ("novelty m --against digits", "--data: m is not a run folder"),
        ("novelty m --data pictures --against digits", "no held-out images"),
        ("novelty m --data digits --against pictures --out scores.txt", "end the name with .csv"),
        ("novelty m --data digits --against pictures --neighbours 5000", "ask for 1 to 1437"),
        ("novelty m --data digits --against pictures/broken.png", "no picture that can be read"),
        ("novelty m --data digits --against pictures --num 0", "num"),
        ("novelty mnist-replay --data digits --against pictures", "choose a memoryGAN or a MEM-VAE"),
        ("novelty m --data digits", "against"),
    ],
)
def test_bad_input_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    code, out, err = run(words, capsys)
    last = err.strip().splitlines()[-1]
    assert code == 2 and said in last and last.startswith("memogen:") and not out
    assert not list(here.glob("scores.*"))
