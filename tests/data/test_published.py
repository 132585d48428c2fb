"""Published files: what they must hold, and in which folders they are recognised."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from memogen.data import access, check, load, published, splits
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


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))


def of_fashion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every label file is the published one of Fashion-MNIST."""
    checksums = {published.FASHION_MNIST[split][1].checksum for split in ("train", "test")}
    monkeypatch.setattr(published, "matches", lambda path, checksum: checksum in checksums)


def test_a_folder_is_the_set_that_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_fashion(monkeypatch)
    images = write_idx(tmp_path / "set", zipped=True)
    assert published.recognised(tmp_path / "set") == ("fashion-mnist",)
    data = load(str(tmp_path / "set"), split="test", progress=False)
    assert data.name == "fashion-mnist" and splits(str(tmp_path / "set")) == ("train", "test")
    np.testing.assert_array_equal(data.image[:, 0], images["test"])
    write_cifar(tmp_path / "other" / "cifar-10-batches-bin")
    assert check(str(tmp_path / "other"), split="test", progress=False).kept == len(load("cifar10", folder=tmp_path / "other", split="test"))


def test_what_may_be_several_sets_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins whose content is neither of the published ones; then one of them beside another set."""
    write_idx(tmp_path / "set", zipped=False)
    with pytest.raises(InputError, match="holds mnist, fashion-mnist: name one of them"):
        load(str(tmp_path / "set"))
    assert load("mnist", folder=tmp_path / "set", progress=False).name == "mnist"
    of_fashion(monkeypatch)
    write_cifar(tmp_path / "set" / "cifar10")
    with pytest.raises(InputError, match="holds fashion-mnist, cifar10"):
        load(str(tmp_path / "set"))


def test_pictures_and_files_are_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    Image.new("L", (6, 4)).save(tmp_path / "mnist" / "train-images-idx3-ubyte.png")
    np.savez(tmp_path / "frey_rawface.mat.npz", images=np.zeros((3, 1, 4, 4), np.uint8))
    for place in (tmp_path / "mnist", tmp_path / "frey_rawface.mat.npz", tmp_path / "nowhere"):
        assert published.recognised(place) == ()
    assert load(str(tmp_path / "mnist"), progress=False).image_shape == (1, 4, 6)
    may = [name for name in access.DATASETS if name != "folder" and access.may_hold(tmp_path / "mnist", name)]
    assert may == ["affine-mnist", "lsun", "chairs", "celeba"], "sets that any folder of pictures may be, or that are made from others"
    write_cifar(tmp_path / "mnist" / "cifar-10-batches-bin")
    assert access.may_hold(tmp_path / "mnist", "cifar10")


def test_every_layout_is_of_a_data_set() -> None:
    assert set(published.LAYOUTS) <= set(access.DATASETS)
