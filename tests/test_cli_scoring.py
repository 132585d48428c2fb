"""`memogen evaluate` on a small untrained model and on images: what it prints, what it keeps, who writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import memogen
from memogen.pretrained import save_pretrained
from tests.command import rows_in, run
from tests.metrics.toys import small_gan

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a saved model ``m``."""
    save_pretrained(small_gan(), tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_what_a_model_wrote_is_scored_in_its_own_order_and_other_images_are_drawn(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample m --num 80 --out many", capsys)[0] == 0
    with zipfile.ZipFile(here / "many.zip", "w") as archive:
        for file in (here / "many").iterdir():
            archive.write(file, f"wrapper/{file.name}")
    (here / "foreign").mkdir()
    for file in (here / "many").iterdir():
        Image.fromarray(np.asarray(Image.open(file))).save(here / "foreign" / file.name)
    for words in ("m", "many", "many.zip", "foreign", "foreign --order given", "many --order drawn"):
        code, _, err = run(f"evaluate {words} --data digits --num-samples 70 --metrics is --out rows.jsonl", capsys)
        assert code == 0, err
    rows = rows_in(here / "rows.jsonl")
    orders = [row["protocol"].get("images", {}).get("order", "drawn") for row in rows]
    assert orders == ["drawn", "given", "given", "drawn", "given", "drawn"]
    model, folder, archived, drawn, given, shuffled = (row["value"] for row in rows)
    assert folder == archived == given and drawn == shuffled and folder != drawn, "the first 70 as they stand, or 70 of the 80"
    assert folder == pytest.approx(model, rel=1e-3), "up to a grey level of 255"


def test_a_hundred_thousand_names_stay_in_order(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memogen.cli import files

    class Many:
        """So many images that nobody draws them here."""

        def __len__(self) -> int:
            return 100_001

        def __iter__(self) -> Any:
            return iter([object()] * 100_001)

    class Picture:
        def save(self, path: Path, **options: object) -> None:
            names.append(path.name)

    names: list[str] = []
    monkeypatch.setattr(files, "as_picture", lambda image: Picture())
    files.write_folder(Many(), here / "many")  # type: ignore[arg-type]
    assert names == sorted(names) and names[-1] == "100000.png" and names[0] == "000000.png"


def test_a_missing_spread_is_a_dash_with_its_reason(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("evaluate m --data digits --num-samples 1000 --metrics is,fid", capsys)
    head, score, distance = out.splitlines()
    assert code == 0 and head.split() == ["metric", "value", "±", "samples"]
    assert score.split()[2] not in ("-", "") and distance.split()[2:] == ["-", "1,000"]
    _, out, _ = run("evaluate m --data digits --num-samples 900 --metrics is", capsys)
    _, score, reason = out.splitlines()
    assert score.split()[2] == "-" and "more than one split" in reason


def test_few_samples_are_noted_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("evaluate m --data digits --num-samples 200 --metrics fid,kid", capsys)
    assert code == 0 and [line for line in err.splitlines() if line.startswith("note: fid: 200 samples are few for 64 features")]
    assert "note" not in run("evaluate m --data digits --num-samples 320 --metrics fid", capsys)[2]


def test_two_processes_score_together_and_one_writes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the environment that torchrun sets."""
    words = "evaluate m --data digits --num-samples 150 --metrics is,fid,kid --out"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "memogen", *words.split(), "two.jsonl"]
    several = [subprocess.Popen(command, env=common | {"RANK": rank}, stdout=subprocess.PIPE, text=True) for rank in ("0", "1")]
    assert run(f"{words} one.jsonl", capsys)[0] == 0
    first, second = (process.communicate(timeout=600)[0] for process in several)
    assert [process.returncode for process in several] == [0, 0]
    assert "appended to two.jsonl" in first and second == ""
    one, two = rows_in(here / "one.jsonl"), rows_in(here / "two.jsonl")
    assert [row["metric"] for row in two] == ["inception_score", "fid", "kid"]
    assert [row["value"] for row in two] == pytest.approx([row["value"] for row in one], rel=1e-6, abs=1e-6)


def test_every_metric_is_scored_once_and_known(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate m --data digits --num-samples 100 --metrics is,is --out rows.jsonl", capsys)[0] == 0
    assert [row["metric"] for row in rows_in(here / "rows.jsonl")] == ["inception_score"]
    for words, told in (
        ("--metrics fidd", "'fidd' is not a metric: did you mean 'fid'?"),
        ("--metrics ''", "--metrics: is empty"),
        ("--fit crop", "fit: 'crop' without a size: give size as well"),
        ("--out rows.csv", "--out rows.csv: rows are written as JSON lines; end the name with .jsonl"),
        ("--metrics accuracy", "metric accuracy and its kind: a MemoryGAN cannot be asked for a class (label: a memoryGAN learns without labels"),
    ):
        code, _, err = run(f"evaluate m --data digits --num-samples 100 {words}", capsys)
        assert code == 2 and told in err and err.count("\n") == 1


def test_images_of_another_size_are_brought_to_shape_when_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PageFacts in the rows, as it changes the numbers."""
    (here / "wide").mkdir()
    noise = np.random.default_rng(0)
    for number in range(80):
        Image.fromarray(noise.integers(0, 256, (12, 16), dtype=np.uint8)).save(here / "wide" / f"{number}.png")
    words = "evaluate wide --data digits --num-samples 70 --metrics is --out rows.jsonl"
    assert run(words, capsys)[0] == 2
    assert run(f"{words} --size 8 --fit crop", capsys)[0] == 0
    (row,) = rows_in(here / "rows.jsonl")
    assert row["protocol"]["brought_to"] == {"size": 8, "fit": "crop"} and row["seed"] is None


def test_grey_pictures_saved_in_colour_are_scored_as_grey(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample m --num 70 --out grey", capsys)[0] == 0
    (here / "colour").mkdir()
    for file in (here / "grey").iterdir():
        Image.open(file).convert("RGB").save(here / "colour" / file.name)
    for words in ("grey", "colour"):
        code, _, err = run(f"evaluate {words} --data digits --num-samples 70 --metrics is --order given --out rows.jsonl", capsys)
        assert code == 0, err
    grey, colour = rows_in(here / "rows.jsonl")
    assert grey["value"] == colour["value"]


def test_a_model_that_has_learned_some_classes_is_compared_with_these(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from memogen.models import ReplayGANConfig

    model = ReplayGANConfig(image_shape=(1, 8, 8), width=2, noise_dim=4).build()
    model.begin_task(0, [2, 5])
    model.calibrate()
    save_pretrained(model, here / "some")
    code, _, err = run("evaluate some --data digits --num-samples 200 --metrics is,prdc,accuracy --out rows.jsonl", capsys)
    assert code == 0 and "note: the model has learned 2 of 10 classes, so it is compared with images of these classes only" in err
    rows = {row["metric"]: row for row in rows_in(here / "rows.jsonl")}
    by_class = rows["accuracy"]["protocol"]["by_class"]
    assert rows["accuracy"]["protocol"]["learned"] == 2 and [label for label, share in enumerate(by_class) if share is not None] == [2, 5]
    assert rows["precision"]["protocol"]["reference"]["num"] == int(np.isin(memogen.load_data("digits", split="test").label, [2, 5]).sum())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("evaluate m --data digits --order best", "no 'best'; choose auto, drawn or given"),
        ("memory course m --of gradients", "no 'gradients' (did you mean 'gradient'?); choose likelihood, prior or gradient"),
    ],
)
def test_choices_are_told_in_words(words: str, told: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(words, capsys)
    assert code == 2 and told in err and "[" not in err and err.count("\n") == 1


def test_only_extractors_that_read_the_images_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "pictures").mkdir()
    Image.new("L", (10, 10)).save(here / "pictures" / "0.png")
    for words, told in (
        (
            "evaluate pictures --data pictures",
            "note: no classifier of pictures ships: its features are pixels (or name an extractor, such as inception-v3)",
        ),
        ("evaluate m --data digits --extractor digit", "did you mean 'digits'?"),
        (
            "evaluate m --data digits --extractor mnist",
            "reads 28x28 grey images, these are 8x8 grey: choose digits or inception-v3 or resnet50=PATH or pixels, or give a file",
        ),
    ):
        code, _, err = run(words, capsys)
        assert code == 2 and told in err


def test_rows_are_reported_into_pages_and_marked_files_and_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "rows.jsonl").write_text(json.dumps({"metric": "fid", "value": 1.25, "model": "m"}) + "\n")
    (here / "own.md").write_text("my own words\n")
    (here / "run").mkdir()
    (here / "run" / "config.yaml").write_text("recipe: x")
    for words, told in (
        ("report rows.jsonl --out page.doc", "neither .html nor .md"),
        ("report rows.jsonl --out own.md", "add these lines, or name a new file"),
        ("report run --out page.html", "the page of a run is its report.html; leave it out"),
        ("report nowhere", "nowhere: no such file or folder"),
        ("report m", "m: holds neither a run (config.yaml) nor result rows"),
    ):
        code, out, err = run(words, capsys)
        assert (code, out) == (2, "") and told in err and err.count("\n") == 1
    assert (here / "own.md").read_text() == "my own words\n" and not list(here.glob("page*"))
    (here / "own.md").write_text("before\n<!-- results -->\nformer\n<!-- end of results -->\nafter\n")
    assert run("report rows.jsonl --out own.md", capsys)[:2] == (0, "own.md\n")
    text = (here / "own.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "| 1.25 |" in text and "former" not in text
