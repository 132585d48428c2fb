"""Shards of a webdataset hold the same images as a folder, and nothing of them is unpacked, unpickled or passed over in silence."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.cli import main
from memogen.data import DataOptions, check, load, splits
from memogen.types import InputError

OPTIONS = DataOptions(8, "crop")
CLASSES = 11  # so that numbers do not sort as words do


def picture(number: int) -> bytes:
    out = io.BytesIO()
    image = np.random.default_rng(number).integers(0, 256, (9 + number % 3, 12, 3), dtype=np.uint8)
    Image.fromarray(image).save(out, "JPEG" if number % 2 else "PNG")
    return out.getvalue()


def member(number: int) -> str:
    return f"{number:05d}.{'jpg' if number % 2 else 'png'}"


def shard(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


LABELS: dict[str, Callable[[int], dict[str, bytes]]] = {
    "cls": lambda n: {f"{n:05d}.cls": f"{n % CLASSES}\n".encode(), f"{n:05d}.txt": b"a caption, of no interest beside the number"},
    "json": lambda n: {f"{n:05d}.json": json.dumps({"caption": "a/b", "label": n % CLASSES}).encode()},
    "txt": lambda n: {f"{n:05d}.txt": f"{n % CLASSES}".encode()},
}


def sample(number: int, labels: str) -> dict[str, bytes]:
    return {member(number): picture(number), **LABELS[labels](number)}


def loaded(place: Path | str, tmp_path: Path, split: str = "train"):
    return load(str(place), split=split, options=OPTIONS, cache=tmp_path / "cache", progress=False)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("named", ["folder", "pattern"])
def test_shards_hold_what_the_folder_holds(tmp_path: Path, labels: str, named: str) -> None:
    numbers = np.random.default_rng(0).permutation(40)
    for start in range(0, 40, 15):
        part = [sample(int(number), labels) for number in numbers[start : start + 15]]
        shard(tmp_path / "shards" / f"set-{start:03d}.tar", {name: content for files in part for name, content in files.items()})
    for number in range(40):
        file = tmp_path / "plain" / str(number % CLASSES) / member(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    place = tmp_path / "shards" / ("set-*.tar" if named == "pattern" else "")
    packed, plain = loaded(place, tmp_path), loaded(tmp_path / "plain", tmp_path)
    assert packed.digest == plain.digest and packed.classes == plain.classes == tuple(map(str, range(CLASSES)))
    np.testing.assert_array_equal(packed.image, plain.image)
    np.testing.assert_array_equal(packed.label, plain.label)


def test_a_number_is_one_class_however_many_zeros_it_has(tmp_path: Path) -> None:
    files = {"a.png": picture(0), "a.cls": b"003", "b.png": picture(2), "b.cls": b"3", "c.png": picture(4), "c.cls": b"00", "d.png": picture(6)}
    data = loaded(shard(tmp_path / "set.tar", {**files, "d.json": b'{"label": 0}'}), tmp_path)
    assert data.classes == ("0", "3") and data.label is not None and data.label.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("inside", ["", "wrapped"])
def test_folders_of_shards_are_splits(tmp_path: Path, inside: str) -> None:
    for split, numbers in (("train", range(12)), ("test", range(3, 8))):
        files = {name: content for number in numbers for name, content in sample(number, "cls").items()}
        shard(tmp_path / "set" / inside / split / "0.tar", files)
    assert splits(str(tmp_path / "set")) == ("train", "test")
    train, test = (loaded(tmp_path / "set", tmp_path, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 5) and train.classes == test.classes
    assert test.label is not None and [test.classes[k] for k in test.label] == ["3", "4", "5", "6", "7"]


@pytest.mark.parametrize("wrapped", ["", "set/"])
def test_folders_of_splits_inside_a_shard_are_splits_of_labelled_samples_too(tmp_path: Path, wrapped: str) -> None:
    files = {
        f"{wrapped}{split}/{name}": part for split, n in (("train", 2), ("test", 3)) for k in range(n) for name, part in sample(k, "cls").items()
    }
    place = shard(tmp_path / "set.tar", files)
    assert splits(str(place)) == ("train", "test")
    train, test = (loaded(place, tmp_path, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (2, 3) and train.classes == test.classes == ("0", "1", "2")
    assert test.label is not None and test.label.tolist() == [0, 1, 2]


@pytest.mark.parametrize("named", ["folder", "pattern"])
def test_names_of_shards_that_tell_of_several_splits_are_refused(tmp_path: Path, named: str) -> None:
    for k, name in enumerate(("set-train-0.tar", "set-train-1.tar", "set-val-0.tar")):
        shard(tmp_path / "shards" / name, sample(k, "cls"))
    with pytest.raises(InputError, match=r"set-val-0\.tar is of split valid by its name"):
        loaded(tmp_path / "shards" / ("*.tar" if named == "pattern" else ""), tmp_path)
    assert len(loaded(tmp_path / "shards" / "set-train-*.tar", tmp_path)) == 2
    assert len(loaded(tmp_path / "shards" / "set-val-*.tar", tmp_path)) == 1


def test_without_labels_the_folders_inside_are_classes(tmp_path: Path) -> None:
    files = {f"set/{'cat' if number % 2 else 'dog'}/{member(number)}": picture(number) for number in range(6)}
    data = loaded(shard(tmp_path / "set.tar", files), tmp_path)
    assert data.classes == ("cat", "dog") and data.label is not None and data.label.tolist() == [0, 0, 0, 1, 1, 1]


def test_damaged_pictures_and_other_members_are_named(tmp_path: Path) -> None:
    """A pickle beside the pictures is such a member: it would fail the test if it were opened."""
    files = {**sample(0, "cls"), **sample(1, "cls"), "00002.png": picture(2)[:40], "00002.cls": b"1", "00000.pyd": pickle.dumps(Explosive())}
    report = check(str(shard(tmp_path / "set.tar", files)), progress=False)
    assert report.kept == 2 and [name for found in report.skipped.values() for name in found.files] == ["1/00002.png"]
    assert report.ignored.files == ("00000.pyd",)


class Explosive:
    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return pytest.fail, ("a member was unpickled",)


def refused() -> dict[str, tuple[str, bytes]]:
    def packed(files: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()

    def link() -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = tarfile.TarInfo("a.png")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
        return out.getvalue()

    two = packed({"a.png": picture(0), "b.png": picture(2)})
    second = 512 + -(-len(picture(0)) // 512) * 512
    twice = packed({"a.png": picture(0)})[:second] + packed({"a.png": picture(2)})
    return {
        "compressed": ("can be read in place", gzip.compress(two)),
        "no tar": ("not a complete tar", b"no tar" * 300),
        "cut in a picture": ("ends within|not a complete", two[: second + 600]),
        "cut between pictures": ("cut off there", two[:second]),
        "a damaged header": ("is damaged after", two[:second] + b"\xff" * 512 + two[second + 512 :]),
        "a name that leads out": ("leads out of it", packed({"../a.png": picture(0)})),
        "an absolute name": ("leads out of it", packed({"/a.png": picture(0)})),
        "a link": ("is a link", link()),
        "a name twice": ("holds a.png twice", twice),
        "a missing label": ("b.png has no label", packed({"a.png": picture(0), "a.cls": b"0", "b.png": picture(2)})),
        "names with dots": ("first dot", packed({"a.0.png": picture(0), "a.0.cls": b"0"})),
        "two joined by cat": ("goes on after its end", two + packed({"c.png": picture(4)})),
        "a word for a number": ("holds the number", packed({"a.png": picture(0), "a.cls": b"cat"})),
        "a caption": ("no name of a class", packed({"a.png": picture(0), "a.txt": b"a cat " * 40})),
        "a label that is a path": ("no name of a class", packed({"a.png": picture(0), "a.json": b'{"label": "../x"}'})),
        "no JSON": ("is not JSON", packed({"a.png": picture(0), "a.json": b"{"})),
        "no text": ("is not text", packed({"a.png": picture(0), "a.txt": b"\xff\xfe"})),
    }


@pytest.mark.parametrize("kind", refused())
def test_what_cannot_be_right_is_refused_in_one_line(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    told, content = refused()[kind]
    (tmp_path / "set.tar").write_bytes(content)
    with pytest.raises(InputError, match=told):
        loaded(tmp_path / "set.tar", tmp_path)
    assert main(["train", "memory_gan/folder", "--data", str(tmp_path / "set.tar"), "--dry-run"]) == 2
    assert "set.tar" in capsys.readouterr().err


def test_one_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    for number in range(2):
        shard(tmp_path / f"{number}.tar", {"a.png": picture(number)})
    with pytest.raises(InputError, match=r"1\.tar: holds a\.png as 0\.tar does"):
        loaded(tmp_path / "*.tar", tmp_path)


@pytest.mark.parametrize("pattern", ["none-*.tar", "*/set-0.tar", "set-{0..1}.tar"])
def test_a_pattern_that_nothing_fits_is_refused(tmp_path: Path, pattern: str) -> None:
    shard(tmp_path / "in" / "set-0.tar", sample(0, "cls"))
    with pytest.raises(InputError, match="no tar file has such a name"):
        loaded(tmp_path / pattern, tmp_path)


def test_a_training_of_shards_is_that_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard(tmp_path / "set-0.tar", {name: content for number in range(20) for name, content in sample(number, "cls").items()})
    assert main(["train", "memory_gan/folder", "--data", str(tmp_path / "set-*.tar"), "--dry-run"]) == 0
    assert "set-*.tar" in capsys.readouterr().out
    assert main(["data", "check", "--data", str(tmp_path / "set-*.tar"), "--size", "8", "--fit", "crop"]) == 0
