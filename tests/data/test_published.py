"""Published sets are what they say: by their number, by their digest where it is known, by their labels."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from memogen.data import check, load, published
from memogen.data.arrays import digest
from memogen.data.readers import read_idx_pair
from memogen.types import InputError
from tests.data.test_datasets import random_bytes, write_cifar, write_idx


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_few_images_are_not_cifar10(tmp_path: Path, split: str, true_sets: None) -> None:
    write_cifar(tmp_path / "set")
    count, whole = {"train": (50, "50,000"), "test": (10, "10,000")}[split]
    with pytest.raises(
        InputError, match=f"cifar10: .*: holds {count} images, the published files {whole}: fetch them again, or give them as images of"
    ):
        load("cifar10", folder=tmp_path / "set", split=split, cache=tmp_path / "cache", progress=False)
    (problem,) = check("cifar10", folder=tmp_path / "set", split=split, progress=False).problems
    assert f"holds {count} images" in problem


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "affine-mnist"])
def test_a_few_images_are_not_mnist(tmp_path: Path, name: str, true_sets: None) -> None:
    write_idx(tmp_path / ("fashion-mnist" if "fashion" in name else "mnist"), zipped=True)
    with pytest.raises(InputError, match="holds 30 images, the published files 60,000"):
        load(name, folder=tmp_path, cache=tmp_path / "cache", progress=False)


def test_a_few_frames_and_house_numbers(tmp_path: Path, true_sets: None) -> None:
    savemat(tmp_path / "frey_rawface.mat", {"ff": random_bytes(560, 150)})
    with pytest.raises(InputError, match="holds 150 images, the published files 1,965"):
        load("frey-faces", folder=tmp_path, cache=tmp_path / "cache", progress=False)
    savemat(tmp_path / "test_32x32.mat", {"X": random_bytes(32, 32, 3, 4), "y": np.ones((4, 1))})
    with pytest.raises(InputError, match="holds 4 images, the published files 26,032"):
        load("svhn", folder=tmp_path, split="test", cache=tmp_path / "cache", progress=False)


def test_other_images_of_the_right_number_are_not_mnist(tmp_path: Path, true_sets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_idx(tmp_path / "mnist", zipped=False)
    monkeypatch.setattr(published, "COUNTS", {"mnist": {"train": 30, "test": 20}})
    with pytest.raises(InputError, match=r"mnist: .*: holds other images or labels than the published files"):
        load("mnist", folder=tmp_path, cache=tmp_path / "cache", progress=False)
    known = digest(images["train"][:, None], np.arange(30) % 10)
    monkeypatch.setattr(published, "DIGESTS", {("mnist", "train"): known})
    assert load("mnist", folder=tmp_path, cache=tmp_path / "cache", progress=False).digest == known


def test_labels_above_the_classes(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist", zipped=False)
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + bytes([200]))
    with pytest.raises(InputError, match="labels reach 200, there are 10 classes"):
        load("mnist", folder=tmp_path, cache=tmp_path / "cache", progress=False)
    (tmp_path / "i").write_bytes(struct.pack(">HBB3I", 0, 8, 3, 1, 2, 2) + bytes(4))
    (tmp_path / "l").write_bytes(struct.pack(">HBBI", 0, 8, 1, 1) + b"\x07")
    assert read_idx_pair(tmp_path / "i", tmp_path / "l", 8)[1].tolist() == [7]
    with pytest.raises(InputError, match="labels reach 7, there are 7 classes"):
        read_idx_pair(tmp_path / "i", tmp_path / "l", 7)
