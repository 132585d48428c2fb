"""One word names the images in every command: a data set's name, a folder, a file, or FOLDER/NAME."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memogen.cli import parser
from memogen.cli.options import HIDDEN
from memogen.cli.table import COMMANDS
from memogen.data import load, named, splits
from memogen.models import MemoryConfig, MemoryGANConfig, NoiseConfig
from memogen.pretrained import save_pretrained
from memogen.recipes import RECIPES
from memogen.runs import choose
from memogen.types import InputError
from tests.command import run
from tests.data.test_datasets import write_cifar, write_idx

SMALL = MemoryGANConfig(image_shape=(1, 8, 8), width=8, noise=NoiseConfig(4), memory=MemoryConfig(16, 8, top_k=8))
READ_DATA = {
    "explore",
    "train",
    "evaluate",
    "impute",
    "neighbours",
    "memory usage",
    "memory slots",
    "memory posterior",
    "memory clusters",
    "memory graph",
    "memory signs",
    "tasks embedding",
    "extend",
    "reproduce",
    "sample",
    "novelty",
    "memory forget",
    "memory freeze",
    "report",
    "data check",
    "data prepare",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved model ``m``, a folder and an archive of pictures, and ``sets`` with the files of two published data sets."""
    torch.manual_seed(0)
    save_pretrained(SMALL.build(), tmp_path / "m")
    (tmp_path / "mine").mkdir()
    for number, image in enumerate(load("digits", cache=tmp_path / "cache", progress=False).image[:12]):
        Image.fromarray(image[0]).save(tmp_path / "mine" / f"{number:02d}.png")
    np.savez(tmp_path / "mine.npz", load("digits", cache=tmp_path / "cache", progress=False).image[:12])
    write_idx(tmp_path / "sets", zipped=False)
    write_cifar(tmp_path / "sets" / "cifar-10-batches-bin")
    monkeypatch.setattr("memogen.data.published.COUNTS", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_commands_that_read_data_have_one_option_for_them(name: str) -> None:
    built, _ = parser.build(name, COMMANDS[name])
    shown = {option for action in built._actions if action.help != HIDDEN for option in action.option_strings}
    assert ("--data" in shown) is (name in READ_DATA)
    assert not shown & {"--folder", "--dataset", "--images"}
    positional = [key for key, each in inspect.signature(COMMANDS[name]).parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert set(positional) <= {"model", "run", "recipe", "table", "image", "first", "second", "word"}, "a picture to look up is no data set"


def test_a_word_is_a_name_a_place_or_a_name_below_a_place(here: Path) -> None:
    assert named("digits") == ("digits", None)
    assert named("mine") == ("folder", Path("mine"))
    assert named("mine.npz") == ("folder", Path("mine.npz"))
    assert named("sets/cifar10") == ("cifar10", Path("sets"))
    assert named(here / "sets" / "mnist") == ("mnist", here / "sets")
    for wrong, told in (
        ("digts", "did you mean digits"),
        ("mine/nothing", "no such data set or path"),
        ("nowhere/mnist", "no such data set or path"),
    ):
        with pytest.raises(InputError, match=told):
            named(wrong)
    with pytest.raises(InputError, match="name one of them, as sets/mnist"):
        named("sets")


def test_a_set_of_several_in_a_folder_is_loaded_by_its_name_there(here: Path) -> None:
    one, other = load("sets/cifar10", split="test", progress=False), load("cifar10", folder="sets", split="test", progress=False)
    assert one.digest == other.digest and one.name == "cifar10"
    assert splits("sets/mnist") == ("train", "test")


@pytest.mark.parametrize("word", ["digits", "mine", "mine.npz", "sets/cifar10"])
def test_commands_take_the_same_word(word: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("data check", "data prepare"):
        code, out, err = run(f"{words} --data {word}", capsys)
        assert code == 0, err
        assert run(f"{words} {word}", capsys)[:2] == (0, out), "the word alone is understood as before"
    if word != "sets/cifar10":
        assert run(f"neighbours m --data {word} --num 2 --nearest 3 --out x.png", capsys)[0] == 0
        assert run(f"evaluate m --data {word} --metrics kid --extractor digits --num-samples 20 --out rows.jsonl", capsys)[0] == 0
    else:
        assert run("data check --data cifar10 --folder sets", capsys)[1] == run(f"data check --data {word}", capsys)[1]


def test_data_that_are_named_twice_or_not_at_all_are_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        ("data check", "--data: not given"),
        ("data check mine --data digits", "name the data once"),
        ("impute m mine --data digits --mask half", "reconstructs no images"),
        ("report rows --data digits", "they need no images"),
    ):
        code, _, err = run(words, capsys)
        assert code == 2 and told in err and err.count("\n") == 1


def test_training_takes_the_word_as_the_others_do(here: Path) -> None:
    digits, own = RECIPES["memory_gan/digits"](), RECIPES["memory_gan/folder"]()
    for recipe in (digits, own):
        data = choose(recipe, data="mine").data
        assert (data.name, data.folder) == ("folder", str(here / "mine"))
        data = choose(recipe, data="sets/cifar10").data
        assert (data.name, data.folder) == ("cifar10", str(here / "sets"))
    mnist = choose(RECIPES["memory_gan/fashion_mnist"](), data="sets").data
    assert (mnist.name, mnist.folder) == ("fashion-mnist", str(here / "sets")), "its own files lie there"
    empty = here / "empty"
    empty.mkdir()
    assert choose(RECIPES["memory_gan/fashion_mnist"](), data=empty).data.name == "fashion-mnist", "whose files are then looked for"
    assert choose(RECIPES["memory_gan/fashion_mnist"](), data="mine").data.name == "folder"


def test_a_report_reads_the_images_that_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = "--training.steps 2 --model.width 8 --model.memory.num_slots 16 --model.memory.key_dim 8 --model.memory.top_k 8 --scoring.extractor null"
    assert run(f"train memory_gan/folder --data mine {short} --training.batch_size 4 --out r", capsys)[0] == 0
    (here / "mine").rename(here / "moved")
    code, _, err = run("report r", capsys)
    assert code == 0 and "is written without training images" in err
    code, _, err = run("report r --data moved", capsys)
    assert code == 0 and "12 images read" in err and "goes without" not in err
    code, _, err = run("report r --data nowhere", capsys)
    assert code == 2 and "nowhere" in err
