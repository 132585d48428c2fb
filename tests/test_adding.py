"""What it takes to add a data set or a command: a function and a line. tests/metrics add a metric, tests/families a family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pytest

from memogen import cli, load_data
from memogen.cli.table import COMMANDS
from memogen.data.datasets import DATASETS, DataSet
from memogen.data.source import Request, Source, array_source
from memogen.runs import Splits, choose, read_rows, train


def stripes(asked: Request) -> Source:
    """Stripes of 8 x 8 pixels, upright or lying."""

    def read() -> tuple[np.ndarray, np.ndarray]:
        label = np.arange(60 if asked.split == "train" else 30) % 2
        phase = np.random.default_rng(len(label)).integers(0, 8, len(label))
        wave = ((np.arange(8) + phase[:, None]) % 4 < 2) * 255
        image = np.where(label[:, None, None] == 0, wave[:, None, :], wave[:, :, None])
        return image[:, None].astype(np.uint8), label

    return array_source(asked, [], ("upright", "lying"), read)


@pytest.fixture
def striped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(DATASETS, "stripes", DataSet(stripes, ("train", "test"), "stripes", embedded=True))


def test_a_data_set_is_a_function_and_a_line(striped: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_data("stripes", split="test")
    assert (len(data), data.image_shape, data.classes) == (30, (1, 8, 8), ("upright", "lying"))
    assert cli.main(["data", "list"]) == 0 and "stripes" in capsys.readouterr().out
    assert cli.main(["data", "check", "stripes"]) == 0
    recipe = choose("mem_vae/digits", data="stripes")
    assert Splits(recipe.data).known == ("train", "test")
    words = ["train", "mem_vae/digits", "--data", "stripes", "--out", str(tmp_path / "run"), "--steps", "2", "--scoring.metrics", "[nll]"]
    assert cli.main([*words, "--scoring.model.importance_samples", "2", "--scoring.likelihood_every", "0"]) == 0
    (row, *_) = read_rows(tmp_path / "run" / "results.jsonl")
    assert row.data == load_data("stripes").digest and row.split == "test"
    assert train(tmp_path / "run" / "config.yaml", out=tmp_path / "run", console=False) == tmp_path / "run"


def greet(name: Annotated[str, "who is greeted"], *, times: Annotated[int, "how often", 1] = 1) -> None:
    """Greet somebody."""
    print(" ".join(["hello", name] * times))


def test_a_command_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(COMMANDS, "greet", greet)
    assert cli.main(["greet", "you", "--times", "2"]) == 0 and capsys.readouterr().out == "hello you hello you\n"
    assert cli.main(["--help"]) == 0 and "Greet somebody" in capsys.readouterr().out
    assert cli.main(["help", "greet"]) == 0 and "who is greeted" in capsys.readouterr().out
    assert cli.main(["greet", "you", "--times", "0"]) == 2
