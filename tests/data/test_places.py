"""Odd places: splits without training images, files that are none, names that no terminal should see, parts held out by content."""

from __future__ import annotations

import os
import socket
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.cli import main
from memogen.cli.files import choose_data, holds_samples
from memogen.data import DataOptions, check, from_arrays, load, splits
from memogen.data.listing import find_pictures, label_entries
from memogen.data.source import place_of
from memogen.recipes import RECIPES
from memogen.runs import save_config
from memogen.types import ImageData, InputError

RNG = np.random.default_rng(0)


def make(folder: Path, names: list[str], *, level: int | None = None) -> Path:
    """Random grey pictures of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (4, 4), dtype=np.uint8) if level is None else np.full((4, 4), level, np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def opened(place: Path, tmp_path: Path, split: str = "train", **options) -> ImageData:
    return load(str(place), split=split, cache=tmp_path / "cache", progress=False, options=DataOptions(**options))


def refusal(call, *arguments, **named) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("held_out", [("val", "test"), ("test",), ("Validation",)])
def test_held_out_images_are_never_trained_on(tmp_path: Path, held_out: tuple[str, ...], as_zip: bool) -> None:
    place = make(tmp_path / "set", [f"{part}/{name}/{k}.png" for part in held_out for name in ("cat", "dog") for k in range(2)])
    if as_zip:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for file in sorted(place.rglob("*.png")):
                archive.write(file, file.relative_to(place).as_posix())
        place = tmp_path / "set.zip"
    found = splits(str(place))
    assert found == tuple({"val": "valid", "test": "test", "Validation": "valid"}[part] for part in held_out)
    assert f"has {', '.join(found)}: choose one of these, or sort the images into train/" in refusal(opened, place, tmp_path)
    assert opened(place, tmp_path, found[0]).classes == ("cat", "dog"), "to be scored on they are there"


@pytest.mark.parametrize("other", ["cat/1.png", "1.png"])
def test_held_out_images_beside_others_are_refused(tmp_path: Path, other: str) -> None:
    place = make(tmp_path / "set", ["train/cat/1.png", "test/cat/2.png", other])
    assert f"holds test/, the folder of a split, beside {other.split('/')[0]}, which belongs to none" in refusal(opened, place, tmp_path)
    assert "beside" in refusal(splits, str(place))


def test_trains_may_be_a_class(tmp_path: Path) -> None:
    assert opened(make(tmp_path / "set", ["train/1.png", "bus/1.png"]), tmp_path).classes == ("bus", "train")


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_never_opened(tmp_path: Path, kind: str) -> None:
    place, odd = make(tmp_path / "set", ["a.png", "b.png"]), tmp_path / "set" / "c.png"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        (tmp_path / "set" / "c.png").parent.mkdir(exist_ok=True)
        here = Path.cwd()
        os.chdir(tmp_path / "set")  # the path of a socket is short
        server.bind("c.png")
        os.chdir(here)
        server.close()
    else:
        odd.symlink_to("/dev/zero")
    report = check(str(place), progress=False)
    assert report.kept == 2 and report.skipped["no regular file, but a pipe, a socket or a device"].files == ("c.png",)
    assert len(opened(place, tmp_path)) == 2
    for suffix in (".npz", ".zip"):
        odd.rename(tmp_path / f"it{suffix}") if suffix == ".npz" else (tmp_path / "it.npz").rename(tmp_path / "it.zip")
        for call in (opened, check):
            named = (tmp_path / f"it{suffix}", tmp_path) if call is opened else (str(tmp_path / f"it{suffix}"),)
            assert "is not a regular file but a pipe, a socket or a device: give a file" in refusal(call, *named)


def test_links_to_themselves_end(tmp_path: Path) -> None:
    place = make(tmp_path / "set", ["a.png"])
    (place / "loop.png").symlink_to("loop.png")
    report = check(str(place), progress=False)
    assert report.kept == 1 and report.skipped["cannot be opened"].files == ("loop.png",)


HOSTILE = {"escape codes": b"\x1b[31mred\x07", "a line break": b"two\nlines", "no UTF-8": b"caf\xe9", "turned writing": "a\u202eb".encode()}
SHOWN = {"escape codes": "\\x1b[31mred\\x07", "a line break": "two\\nlines", "no UTF-8": "caf\\xe9", "turned writing": "a\\u202eb"}


@pytest.mark.parametrize("kind", HOSTILE)
def test_names_are_shown_safely(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    odd, place = os.fsdecode(HOSTILE[kind]), tmp_path / os.fsdecode(b"set-" + HOSTILE[kind])
    make(place, [f"{odd}/{odd}.png", "plain/1.png"])
    (place / odd / f"{odd}-broken.png").write_bytes(b"x")
    data = opened(place, tmp_path)
    assert sorted(data.classes) == sorted([SHOWN[kind], "plain"]) and data.name == f"set-{SHOWN[kind]}"
    data.classes[0].encode()  # so that a configuration or a page can hold it
    assert main(["data", "check", str(place)]) == 0
    assert main(["data", "prepare", str(place)]) == 0
    assert main(["data", "prepare", str(place), "--size", "9"]) == 2
    captured = capsys.readouterr()
    written = captured.out + captured.err
    assert f"{SHOWN[kind]}-broken.png" in written and written.replace("\n", "").isprintable()
    with pytest.raises(InputError) as caught:
        load(str(tmp_path / odd), progress=False)
    assert str(caught.value).isprintable()


def test_a_terminal_of_few_letters_ends_no_command(tmp_path: Path) -> None:
    import subprocess
    import sys

    place = make(tmp_path / "bäume", ["Äste/1.png", "Wurzeln/1.png"])
    words = [sys.executable, "-m", "memogen", "data", "check", str(place)]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii", "MEMOGEN_CACHE": str(tmp_path)})
    assert done.returncode == 0 and b"\\xc4ste: 1" in done.stdout


def test_class_names_of_many_digits(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("9" * 5000, "10", "2", "02"):
            archive.writestr(f"{name}/a.png", b"x")
    classes, label = label_entries({"train": find_pictures(tmp_path / "set.zip").entries}, "train")
    assert classes == ("02", "2", "10", "9" * 5000) and label is not None and sorted(label.tolist()) == [0, 1, 2, 3]


def test_the_same_name_twice_in_a_zip_is_one_image(tmp_path: Path) -> None:
    make(tmp_path / "set", ["a.png"])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.write(tmp_path / "set" / "a.png", "a.png")
    assert len(opened(tmp_path / "set.zip", tmp_path)) == 1


def test_a_share_is_held_out_by_content(tmp_path: Path) -> None:
    place = make(tmp_path / "set", [f"{'cat' if k % 2 else 'dog'}/{k}.png" for k in range(200)])
    assert splits(str(place)) == ("train",) and splits(str(place), options=DataOptions(test_share=0.2)) == ("train", "test")
    train, test = (opened(place, tmp_path, split, test_share=0.2) for split in ("train", "test"))
    assert len(train) + len(test) == 200 and 20 <= len(test) <= 60, "of 200 images 40 on average, 5.7 the standard deviation"
    parts = [{image.tobytes() for image in data.image} for data in (train, test)]
    whole = opened(place, tmp_path)
    assert not parts[0] & parts[1] and parts[0] | parts[1] == {image.tobytes() for image in whole.image}
    assert train.classes == test.classes == ("cat", "dog") and train.label is not None and test.label is not None
    known = {image.tobytes(): int(label) for image, label in zip(whole.image, whole.label, strict=True)}
    assert [known[image.tobytes()] for image in test.image] == test.label.tolist()
    report = check(str(place), split="test", options=DataOptions(test_share=0.2), progress=False)
    assert (report.kept, report.elsewhere) == (len(test), len(train)) and f"in another split, by test_share: {len(train)}" in report.text()
    larger = opened(place, tmp_path, "test", test_share=0.4)
    assert parts[1] < {image.tobytes() for image in larger.image}


def test_the_same_picture_always_lands_on_the_same_side(tmp_path: Path) -> None:
    """Under another name, in another format, in colour, in another size, in an npz file."""
    place = make(tmp_path / "set", [f"{k:03d}.png" for k in range(40)])
    images = opened(place, tmp_path).image
    np.savez(tmp_path / "set.npz", image=images[:, 0])
    (tmp_path / "other").mkdir()
    for number, image in enumerate(images[::-1]):
        Image.fromarray(image[0]).convert("RGB").save(tmp_path / "other" / f"{number}.bmp")
    sides = {}
    for name in ("set", "set.npz", "other"):
        for size in (None, 2):
            shape = {} if size is None else {"size": 2, "fit": "resize"}
            data = opened(tmp_path / name, tmp_path, "test", test_share=0.3, **shape)
            sides[name, size] = sorted(image[0].tobytes() for image in data.image)
    assert sides["set", None] == sides["set.npz", None] == sides["other", None]
    assert sides["set", 2] == sides["set.npz", 2] and len(sides["set", 2]) == len(sides["set", None])
    assert [place_of(image) < 0.3 for image in images].count(True) == len(sides["set", None])
    assert place_of(images[0]) == place_of(np.repeat(images[0], 3, 0)) != place_of(images[1])


def test_shares_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    sorted_ones = make(tmp_path / "sorted", ["train/1.png", "test/2.png"])
    assert "has train, test: leave the share at 0" in refusal(opened, sorted_ones, tmp_path, test_share=0.1)
    assert "mnist is split as it was published" in refusal(splits, "mnist", options=DataOptions(test_share=0.1))
    for share in (-0.1, 1.0, float("nan")):
        assert "test_share" in refusal(DataOptions, test_share=share)
    same = make(tmp_path / "same", ["1.png", "2.png"], level=7)
    side = "train" if place_of(from_arrays(np.full((1, 4, 4), 7, np.uint8)).image[0]) < 0.5 else "test"
    assert f"none of its images falls to {side} at a share of 0.5" in refusal(opened, same, tmp_path, side, test_share=0.5)
    assert "hold some out with test_share" in refusal(opened, same, tmp_path, "test")


def test_a_valid_split_stays_as_it_is(tmp_path: Path) -> None:
    place = make(tmp_path / "set", [f"train/{k}.png" for k in range(30)] + ["val/1.png"])
    parts = {split: len(opened(place, tmp_path, split, test_share=0.5)) for split in splits(str(place), options=DataOptions(test_share=0.5))}
    assert list(parts) == ["train", "valid", "test"] and parts["valid"] == 1 and parts["train"] + parts["test"] == 30


def test_a_run_that_held_a_share_out_is_scored_by_it(tmp_path: Path) -> None:
    place = make(tmp_path / "set", [f"{k}.png" for k in range(20)])
    run = tmp_path / "run"
    run.mkdir()
    recipe = RECIPES["memory_gan/folder"]()
    data = replace(recipe.data, folder=str(place), options=DataOptions(test_share=0.3))
    save_config(replace(recipe, data=data), run / "config.yaml")
    shares = {}
    for name in (None, str(place), "digits", str(make(tmp_path / "other", ["train/1.png", "test/2.png"]))):
        choice = choose_data(name, model=str(run))
        assert "test" in choice.known
        shares[name] = choice.options.test_share
    assert list(shares.values()) == [0.3, 0.3, 0.0, 0.0]


def test_a_damaged_first_picture_holds_no_samples(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", RNG.bytes(500))
    blob = bytearray((tmp_path / "a.zip").read_bytes())
    blob[60:80] = bytes(20)
    (tmp_path / "a.zip").write_bytes(blob)
    assert not holds_samples(str(tmp_path / "a.zip"))
