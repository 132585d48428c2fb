"""A folder of published files is the data set that it holds; a folder that may be several is asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.data import access, check, load, published, splits
from memogen.types import InputError
from tests.data.test_datasets import write_cifar, write_idx


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
