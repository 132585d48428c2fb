"""The commands that open a model, on a small untrained one: what they write, what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memogen.models import MemoryConfig, MemoryGANConfig, NoiseConfig
from memogen.pretrained import save_pretrained
from tests.command import run

SMALL = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(4), memory=MemoryConfig(16, 8, top_k=8))
PLAIN = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(4), memory=None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model with memory (``m``), one without (``plain``), and a picture."""
    torch.manual_seed(0)
    model = SMALL.build()
    model.memory.write(torch.randn(32, 8), (torch.arange(32) < 16).float())
    save_pretrained(model, tmp_path / "m" / "model")
    save_pretrained(PLAIN.build(), tmp_path / "plain")
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("place", ["m", "m/model", "plain"])
def test_a_model_is_named_by_its_run_or_its_folder(place: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"sample {place} --num 4 --out new/grid.png", capsys)[0] == 0
    with Image.open(here / "new" / "grid.png") as picture:
        assert picture.width == picture.height > 16


def test_one_image_is_itself_and_the_folder_holds_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample m --num 1 --seed 3 --out one.png", capsys)[0] == 0
    assert run("sample m --num 3 --seed 3 --out many", capsys)[0] == 0
    assert sorted(path.name for path in (here / "many").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    one, first = (np.asarray(Image.open(here / name)) for name in ("one.png", "many/00000.png"))
    assert one.shape == (8, 8)
    assert np.abs(one.astype(int) - first).max() <= 1, "image 0 does not depend on how many are drawn, up to rounding"


def test_a_folder_with_other_files_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample m --num 3 --out many", capsys)[0] == 0
    code, _, err = run("sample m --num 2 --out many", capsys)
    assert code == 2
    assert "holds other files" in err
    assert run("sample m --num 3 --out many", capsys)[0] == 0, "the same command may be repeated"


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ("sample m --num 2 --slot 3 --out x.jpg", "x.jpg"),
        ("interpolate m --out x.png", "x.png"),
        ("interpolate m --in noise --slot 2 --out x.gif", "x.gif"),
        ("memory slots m --slots 0,5 --out x.png", "x.png"),
        ("memory posterior m picture.png --out x.png", "x.png"),
        ("neighbours m --data digits --num 2 --out x.png", "x.png"),
    ],
)
def test_pictures_are_written_and_named(words: str, out: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, err = run(words, capsys)
    assert code == 0, err
    assert told.split()[-1] == out
    with Image.open(here / out) as picture:
        picture.load()


def test_usage_and_query_print_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("memory usage m --top 4", capsys)
    assert code == 0
    assert "num_slots          16" in out
    assert "of 8 real and" in out
    for table in out.split("prior\n")[1:]:
        assert len(table.partition("\n\n")[0].splitlines()) == 4
    code, out, _ = run("memory query m picture.png --num 3", capsys)
    assert code == 0
    assert 0 <= float(out.split()[1]) <= 1
    assert len(out.split("posterior\n")[1].splitlines()) == 4


def test_clusters_prints_what_slots_tell(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("memory clusters m --data digits --num 50", capsys)
    assert code == 0, err
    asked, sorted_by, nearest, about, contents, queries = out.split("\n\n")
    assert "50 of 1,437 training images" in asked and "50 of 360 test images" in asked and "seed 0" in asked
    assert len(sorted_by.splitlines()) == 6 and len(nearest.splitlines()) == 4
    assert about == "images of digits, test; the classifier digits"
    assert contents.splitlines()[0].split() == ["images", "samples"] and "the classifier's features" in contents
    assert "of 8" in queries


def test_clusters_goes_without_what_labels_tell(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(here / "bare.npz", np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8))
    code, out, err = run("memory clusters m --data bare.npz", capsys)
    assert code == 0, err
    assert "bare has no labels" in out and "tell the class" not in out and "variance of pixels between slots" in out


def test_slots_are_named_by_the_data_that_are_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name is drawn into the picture, and nowhere else."""
    for words in ("memory slots m --slots 0,5", "memory posterior m picture.png"):
        for data in ("digits", "none"):
            assert run(f"{words} --data {data} --out {data}.png", capsys)[0] == 0
        named, bare = (Image.open(here / f"{data}.png") for data in ("digits", "none"))
        assert named.tobytes() != bare.tobytes()


def test_evaluate_prints_and_appends_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("evaluate m --data digits --num_samples 300 --metrics is --seed 2 --out rows.jsonl", capsys)
    assert code == 0, err
    (row,) = [json.loads(line) for line in (here / "rows.jsonl").read_text().splitlines()]
    assert row["metric"] == "inception_score" and (row["seed"], row["protocol"]["seed"]) == (None, 2)
    assert f"{row['value']:.4f}" in out


def test_images_of_any_origin_are_scored(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model's samples in a folder, and as npz, score what each other score."""
    assert run("sample m --num 200 --out many", capsys)[0] == 0
    images = np.stack([np.asarray(Image.open(path)) for path in sorted((here / "many").iterdir())])
    np.savez(here / "many.npz", images)
    for name in ("many", "many.npz"):
        code, _, err = run(f"evaluate {name} --data digits --metrics is,fid --out rows.jsonl", capsys)
        assert code == 0, err
    rows = [json.loads(line) for line in (here / "rows.jsonl").read_text().splitlines()]
    assert {row["model"] for row in rows} == {"many", "many.npz"} and {row["protocol"]["num_samples"] for row in rows} == {200}
    by_name = [[row["value"] for row in rows if row["model"] == name] for name in ("many", "many.npz")]
    assert by_name[0] == pytest.approx(by_name[1])


def test_a_models_own_images_in_its_own_order_score_what_the_model_does(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample m --num 200 --out many", capsys)[0] == 0
    for words in ("m --seed 0", "many --order given"):
        assert run(f"evaluate {words} --data digits --num_samples 200 --metrics is,fid --out rows.jsonl", capsys)[0] == 0
    values = [json.loads(line)["value"] for line in (here / "rows.jsonl").read_text().splitlines()]
    assert values[:2] == pytest.approx(values[2:], rel=1e-3), "up to a grey level of 255"


def test_an_interrupted_scoring_keeps_its_rows(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from memogen import metrics

    row = {"metric": "fid", "value": 1.5, "spread": None, "protocol": {"num_samples": 40}}

    def stopped(*given: object, **options: object) -> list[object]:
        raise metrics.Interrupted([metrics.rows.ResultRow.read(row)])

    monkeypatch.setattr(metrics, "evaluate", stopped)
    code, out, err = run("evaluate m --data digits --out rows.jsonl", capsys)
    assert code == 130 and "1.5000" in out and "scoring stopped; 1 score of what was seen" in err
    assert json.loads((here / "rows.jsonl").read_text())["value"] == 1.5


def test_a_scoring_stopped_before_any_score_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from memogen import metrics

    def stopped(*given: object, **options: object) -> list[object]:
        raise metrics.Interrupted([], "real data (digits test), 250 of 360")

    monkeypatch.setattr(metrics, "evaluate", stopped)
    code, out, err = run("evaluate m --data digits --out rows.jsonl", capsys)
    lines = [line for line in err.splitlines() if line.startswith("memogen:")]
    assert (code, out) == (130, "") and not (here / "rows.jsonl").exists()
    assert lines == ["memogen: scoring stopped at real data (digits test), 250 of 360; no score was finished"]


def test_result_rows_are_reported(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "rows").mkdir()
    (here / "rows" / "own.jsonl").write_text(json.dumps({"metric": "fid", "value": 1.25, "model": "m"}) + "\n")
    code, out, _ = run("report rows", capsys)
    assert code == 0 and "### own" in out and "| 1.25 |" in out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    code, out, _ = run("report rows", capsys)
    assert code == 0 and "### own" not in out and "|" not in out and "1.25" in out
    for name in ("page.html", "page.md"):
        assert run(f"report rows --out {name}", capsys)[0] == 0
        assert "1.25" in (here / name).read_text()


def test_a_run_without_a_configuration_has_a_page_before_its_model_is_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As that of an extension in its first minutes."""
    (here / "begun").mkdir()
    (here / "begun" / "metrics.jsonl").write_text(json.dumps({"step": 1, "generator/loss": 0.5}) + "\n")
    assert run("report begun", capsys)[0] == 0
    assert "no saved model yet" in (here / "begun" / "report.html").read_text()


def test_data_are_checked_in_every_part_and_with_a_size(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("data check --data digits", capsys)
    assert code == 0 and "train: data: digits" in out and "test: data: digits" in out and "1437 images" in out and "360 images" in out
    (here / "pictures").mkdir()
    for number, side in enumerate((10, 12)):
        Image.fromarray(np.zeros((side, 10), np.uint8)).save(here / "pictures" / f"{number}.png")
    code, out, _ = run("data check --data pictures", capsys)
    assert code == 2 and "several sizes: say what to do with them: --size 32 with --fit crop" in out
    code, out, _ = run("data check --data pictures --size 8x6 --fit crop", capsys)
    assert code == 0 and "as trained: 2 images of 8 x 6, 0 left out" in out
    code, out, _ = run("data prepare --data pictures --size 8x6 --fit crop", capsys)
    assert code == 0 and "2 images of 1 x 8 x 6" in out
    code, _, err = run("sample pictures", capsys)
    assert code == 2 and "pictures: is a folder of pictures and holds no saved model" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("evaluate picture.png --data digits", "picture.png"),
        ("evaluate many.zip --data digits", "many.zip: no such file; give the path of a zip, tar or npz file"),
        ("evaluate many/many.npz --data digits", "many/many.npz: no such file"),
        ("sample many.zip --out x.png", "many.zip: no such file or folder"),
        ("sample picture.png --out x.png", "picture.png: is a file, and a model is a folder"),
        ("evaluate m --data many.npz", "many.npz: no such data set or path"),
        ("report m/model", "holds neither a run (config.yaml) nor result rows"),
        ("report rows.jsonl", "rows.jsonl: no such file or folder; name a run folder, a folder of result rows"),
        ("report picture.png", "picture.png: holds no result rows"),
        ("sample m --slot 99 --out x.png", "slot"),
        ("sample m --slot -1 --out x.png", "slot"),
        ("sample m --num 0 --out x.png", "0"),
        ("sample m --num 0 --out x", "0"),
        ("sample plain --slot 0 --out x.png", "slot"),
        ("memory usage plain", "memory"),
        ("memory slots plain --out x.png", "memory"),
        ("memory clusters plain --data digits", "memory"),
        ("memory clusters m", "--data"),
        ("memory clusters m --data digits --num 3", "3 images cannot be 5 neighbours"),
        ("memory clusters m --data digits --extractor mnist", "28x28"),
        ("memory slots m --slots 1,b --out x.png", "1,b"),
        ("memory slots m --slots 77 --out x.png", "77"),
        ("memory posterior m missing.png --out x.png", "missing.png"),
        ("memory query m m/model/config.json", "config.json"),
        ("memory signs", "RUN"),
        ("memory signs m", "no memory"),
        ("memory signs m nowhere", "no memory"),
        ("memory signs nowhere m", "no such folder"),
        ("evaluate m", "--data"),
        ("evaluate m --data digits --metrics best", "best"),
        ("evaluate m --data digits --extractor nobody", "nobody"),
        ("evaluate m --data digits --split left", "left"),
        ("neighbours m --data nothing --out x.png", "nothing"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: str, told: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(words, capsys)
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("memogen:")]
    assert len(lines) == 1 and told in lines[0]
    assert not (here / "x.png").exists() and not (here / "x").exists()


def test_a_training_from_the_command_line_can_be_repeated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = "--training.steps 4 --model.width 8 --model.memory.num_slots 16 --model.memory.key_dim 8 --model.memory.top_k 8 --scoring.extractor null"
    code, out, err = run(f"train memory_gan/digits {short} --out runs/a", capsys)
    assert code == 0, err
    assert "run folder: runs/a" in out
    model = (here / "runs/a/model/model.safetensors").read_bytes()
    assert run("train runs/a/config.yaml --out runs/a", capsys)[0] == 0
    assert (here / "runs/a/model/model.safetensors").read_bytes() == model, "a finished run is left as it is"
    assert run("report runs/a", capsys)[0] == 0
    assert (here / "runs/a/report.html").stat().st_size > 1000
    assert run("sample m --num 40 --out own", capsys)[0] == 0
    code, out, err = run("memory clusters runs/a --data own", capsys)
    assert code == 0 and "images of own" in out, "a folder of pictures is not taken for the run's embedded digits: " + err
    code, _, err = run("train runs/a/config.yaml --out runs/a --model.noise.dim 3", capsys)
    assert code == 2
    assert "noise.dim" in err


@pytest.mark.parametrize("command", ["sample m --num 2 --out out.png --slot", "memory slots m --out out.png --slots"])
def test_a_slot_of_generated_images_is_told(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, fake = (run(f"{command} {slot}", capsys) for slot in (0, 15))
    assert real[0] == fake[0] == 0
    assert not real[2] and fake[2].startswith("slot 15: holds generated images") and fake[2].count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        "sample e --slot 2 --out out.png",
        "memory slots e --slots 0,2 --out out.png",
        "memory forget e --slots 2 --out f",
        "memory forget e --near 2 --out f",
    ],
)
def test_a_forgotten_slot_is_refused(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("memory forget m --slots 2 --out e", capsys)[0] == 0
    code, out, error = run(command, capsys)
    assert code == 2 and not out and error.count("\n") == 1 and "slot 2 is empty" in error
    assert not (here / "out.png").exists() and not (here / "f").exists()


@pytest.mark.parametrize("temper", ["1e3", "1e9"])
def test_a_large_temper_draws_from_the_heaviest_slots(temper: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"sample m --temper {temper} --out out.png", capsys)[0] == 0 and (here / "out.png").is_file()
