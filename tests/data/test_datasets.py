"""The named data sets on small files in their published layouts, and what is said when a folder is wrong."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from memogen.data import DATASETS, DataOptions, check, load, prepare, published, splits
from memogen.data.datasets import letter_rows
from memogen.data.derived import affine
from memogen.types import ImageData, InputError

IDX = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}


OWN = ("ocr-letters", "frey-faces", "svhn", "lsun", "chairs", "celeba")


def random_bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def write_idx(folder: Path, *, zipped: bool, dotted: bool = False) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for split, count in (("train", 30), ("test", 20)):
        images[split] = random_bytes(count, 28, 28)
        for name, array in zip(IDX[split], (images[split], np.arange(count, dtype=np.uint8) % 10), strict=True):
            blob = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
            path = folder / ((name.replace("-idx", ".idx") if dotted else name) + ".gz" * zipped)
            path.write_bytes(gzip.compress(blob) if zipped else blob)
    return images


def write_cifar(folder: Path) -> np.ndarray:
    folder.mkdir(parents=True)
    for name in [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]:
        rows = random_bytes(10, 3073)
        rows[:, 0] = np.arange(10)
        rows.tofile(folder / name)
    return rows[:, 1:].reshape(10, 3, 32, 32)


def opened(name: str, tmp_path: Path, folder: Path | None = None, **options) -> ImageData:
    return load(name, folder=folder, cache=tmp_path / "cache", progress=False, **options)


def test_digits(tmp_path: Path) -> None:
    train, test = (opened("digits", tmp_path, split=split) for split in ("train", "test"))
    assert train.image.shape == (1437, 1, 8, 8) and test.image.shape == (360, 1, 8, 8)
    assert (
        train.classes == tuple("0123456789") and train.image.max() == 255 and set(np.unique(test.image)) <= {round(v * 255 / 16) for v in range(17)}
    )
    assert train.label is not None and test.label is not None
    assert np.bincount(train.label).min() >= 138 and np.abs(np.bincount(test.label) - 36).max() <= 1
    assert not {image.tobytes() for image in train.image} & {image.tobytes() for image in test.image}
    with pytest.raises(InputError, match="in no folder"):  # else a user's own images would silently not be read
        opened("digits", tmp_path, folder=tmp_path)
    assert (train.digest[:12], test.digest[:12]) == ("cf523fcf146a", "99ac20baf448")  # the same rows, always


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sub", ["", "mnist", "MNIST/raw"])
def test_mnist_is_found(tmp_path: Path, zipped: bool, sub: str) -> None:
    images = write_idx(tmp_path / "here" / sub, zipped=zipped)
    for split in ("train", "test"):
        data = opened("mnist", tmp_path, tmp_path / "here", split=split)
        np.testing.assert_array_equal(data.image[:, 0], images[split])
        assert data.label is not None and data.label.tolist() == [k % 10 for k in range(len(data))] and data.split == split


def test_unpacked_names_with_a_dot_are_found(tmp_path: Path) -> None:
    images = write_idx(tmp_path / "fashion-mnist", zipped=False, dotted=True)
    data = opened("fashion-mnist", tmp_path, tmp_path)
    np.testing.assert_array_equal(data.image[:, 0], images["train"])
    assert data.classes[0] == "T-shirt/top" and len(data.classes) == 10


def test_the_twin_is_not_taken_for_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "set", zipped=True)
    monkeypatch.setattr(published, "matches", lambda path, checksum: checksum == published.FASHION_MNIST["train"][1].checksum)
    with pytest.raises(InputError, match="this is fashion-mnist"):
        opened("mnist", tmp_path, tmp_path / "set")


def test_affine_mnist_is_made_of_mnist(tmp_path: Path) -> None:
    images = write_idx(tmp_path / "mnist", zipped=True)
    train, test = (opened("affine-mnist", tmp_path, tmp_path, split=split) for split in ("train", "test"))
    np.testing.assert_array_equal(train.image, affine(images["train"][:, None], 0, stream=0))
    np.testing.assert_array_equal(test.image, affine(images["test"][:, None], 0, stream=1))
    assert train.image_shape == (1, 40, 40) and train.label is not None and len(train.classes) == 10


@pytest.mark.parametrize("sub", ["", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_cifar10_is_found(tmp_path: Path, sub: str) -> None:
    image = write_cifar(tmp_path / "here" / sub)
    train, test = (opened("cifar10", tmp_path, tmp_path / "here", split=split) for split in ("train", "test"))
    np.testing.assert_array_equal(test.image, image)
    assert train.image.shape == (50, 3, 32, 32) and train.classes[3] == "cat"


def test_options_reach_arrays(tmp_path: Path) -> None:
    write_cifar(tmp_path / "here")
    asked = DataOptions(size=(16, 8), fit="resize", channels=1)
    assert opened("cifar10", tmp_path, tmp_path / "here", options=asked).image_shape == (1, 16, 8)
    with pytest.raises(InputError, match='images are 32 x 32, but the size asked for is 16 x 16: give fit="resize"'):
        opened("cifar10", tmp_path, tmp_path / "here", options=DataOptions(size=16))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "affine-mnist", "cifar10", *OWN])
@pytest.mark.parametrize("kind", ["empty", "wrong", "missing", "file"])
def test_a_wrong_folder_is_one_line(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / "place"
    if kind in ("empty", "wrong"):
        place.mkdir()
    if kind == "wrong":
        for k in range(7):
            (place / f"holiday-{k}.txt").write_text("x")
    if kind == "file":
        place.write_text("x")
    with pytest.raises(InputError) as caught:
        opened(name, tmp_path, place)
    message = str(caught.value)
    assert str(place) in message and "\n" not in message
    assert kind != "empty" or ("nothing" in message and "give the folder" in message)
    assert kind != "wrong" or ("holiday-0.txt" in message and "and 2 more" in message)


def test_unknown_names_and_splits_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean fashion-mnist"):
        opened("fashon-mnist", tmp_path)
    with pytest.raises(InputError, match="choose digits"):
        opened("/no/such/path", tmp_path)
    with pytest.raises(InputError, match="digits has train, test"):
        opened("digits", tmp_path, split="valid")
    with pytest.raises(InputError, match="give their folder, zip, tar or npz as data"):
        opened("folder", tmp_path)
    for name in OWN:
        with pytest.raises(InputError, match="cannot be downloaded"):
            opened(name, tmp_path)


def write_image(path: Path, height: int, width: int, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[(height - 108) // 2 :][:108, (width - 108) // 2 :][:, :108] = level  # the middle 108 x 108
    Image.fromarray(pixels).save(path)


def write_celeba(folder: Path, numbers: list[int], *, partition: str = "") -> None:
    for place, number in enumerate(numbers):
        write_image(folder / "img_align_celeba" / f"{number:06d}.jpg", 218, 178, 40 + 30 * place)
    if partition:
        separator = "," if partition.endswith("csv") else " "
        rows = [f"{number:06d}.jpg{separator}{place % 3}" for place, number in enumerate(numbers)]
        (folder / partition).write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("partition", ["list_eval_partition.txt", "list_eval_partition.csv"])
def test_celeba(tmp_path: Path, partition: str) -> None:
    write_celeba(tmp_path / "own" / "celeba", [1, 2, 3, 4, 5], partition=partition)
    found = {split: opened("celeba", tmp_path, tmp_path / "own", split=split) for split in splits("celeba")}
    assert [len(data) for data in found.values()] == [2, 2, 1] and all(data.image_shape == (3, 64, 64) for data in found.values())
    levels = np.concatenate([data.image.mean((1, 2, 3)) for data in found.values()])
    np.testing.assert_allclose(levels, [40, 130, 70, 160, 100], atol=3)  # nothing but the middle
    assert found["train"].label is None
    assert opened("celeba", tmp_path, tmp_path / "own", options=DataOptions(32, "crop")).image_shape == (3, 32, 32)


def test_celeba_zipped_and_without_a_partition(tmp_path: Path) -> None:
    write_celeba(tmp_path / "raw", [7, 162_770, 162_771, 182_638])
    with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as archive:
        for file in (tmp_path / "raw").rglob("*.jpg"):
            archive.write(file, f"img_align_celeba/{file.name}")
    assert [len(opened("celeba", tmp_path, tmp_path, split=split)) for split in ("train", "valid", "test")] == [2, 1, 1]
    assert len(opened("celeba", tmp_path, tmp_path / "raw")) == 2


def test_chairs(tmp_path: Path) -> None:
    for model in ("aa", "bb", "cc"):
        for view in range(2):
            write_image(tmp_path / "own/rendered_chairs" / model / "renders" / f"image_{view:03d}.png", 120, 120, 90)
    (tmp_path / "own/rendered_chairs/all_chair_names.mat").write_bytes(b"x")
    write_image(tmp_path / "own/rendered_chairs/aa/preview.png", 120, 120, 3)
    for place in ("own", "own/rendered_chairs"):
        data = opened("chairs", tmp_path, tmp_path / place)
        assert data.image.shape == (6, 3, 64, 64) and data.classes == ("aa", "bb", "cc")
        assert data.label is not None and data.label.tolist() == [0, 0, 1, 1, 2, 2]


def write_letters(path: Path, count: int) -> np.ndarray:
    """letter.data with ``count`` letters a, b, c, ...; returns their bits."""
    bits = np.random.default_rng(0).integers(0, 2, (count, 16, 8))
    lines = (f"{k + 1}\t{chr(97 + k % 26)}\t{k + 2}\t1\t{k}\t{k % 10}\t" + "\t".join(map(str, bits[k].ravel())) + "\t\n" for k in range(count))
    path.parent.mkdir(parents=True, exist_ok=True)
    (gzip.open if path.suffix == ".gz" else open)(path, "wt").write("".join(lines))
    return bits


@pytest.mark.parametrize("place", ["ocr-letters/letter.data.gz", "letter.data"])
def test_ocr_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    bits = write_letters(tmp_path / "own" / place, 50)
    with pytest.raises(InputError, match="holds 50 letters, the published file 52,152"):
        opened("ocr-letters", tmp_path, tmp_path / "own")
    monkeypatch.setattr(published, "OCR_LETTERS_PARTS", {"train": 30, "valid": 12, "test": 8})
    found = {split: opened("ocr-letters", tmp_path, tmp_path / "own", split=split) for split in splits("ocr-letters")}
    assert [len(data) for data in found.values()] == [30, 12, 8]
    rows = np.concatenate([letter_rows(split, 50, "here") for split in found])
    assert sorted(rows) == list(range(50))
    np.testing.assert_array_equal(np.concatenate([data.image for data in found.values()])[:, 0], bits[rows] * 255)
    assert [found["test"].classes[label] for label in found["test"].label] == [chr(97 + row % 26) for row in rows[-8:]]


def test_the_split_of_ocr_letters_is_the_usual_one() -> None:
    """Its lines as Python 2.7 shuffles them: random.seed(12345); order = range(52152); random.shuffle(order)."""
    rows = {split: letter_rows(split, 52_152, "here") for split in ("train", "valid", "test")}
    assert [len(part) for part in rows.values()] == [32_152, 10_000, 10_000] and len(np.unique(np.concatenate(list(rows.values())))) == 52_152
    assert [part[:4].tolist() for part in rows.values()] == [[8110, 9346, 20302, 2071], [33766, 40261, 28756, 17957], [48045, 38908, 42186, 44385]]
    assert hashlib.sha256(rows["test"].astype("<i4").tobytes()).hexdigest()[:12] == "579391b5a667"


def test_frey_faces_are_split_by_a_seed(tmp_path: Path) -> None:
    frames = random_bytes(150, 28, 20)
    savemat(tmp_path / "frey_rawface.mat", {"ff": frames.reshape(150, 560).T})
    train, test = (opened("frey-faces", tmp_path, tmp_path, split=split) for split in ("train", "test"))
    other = opened("frey-faces", tmp_path, tmp_path, split="test", options=DataOptions(split_seed=1))
    assert (len(train), len(test), test.image_shape, test.label) == (50, 100, (1, 28, 20), None)
    parts = [{image.tobytes() for image in data.image} for data in (train, test, other)]
    assert parts[0] | parts[1] == {frame.tobytes() for frame in frames} and not parts[0] & parts[1]
    assert parts[1] != parts[2]


def test_frey_faces_of_another_shape_are_one_line(tmp_path: Path) -> None:
    savemat(tmp_path / "frey_rawface.mat", {"ff": random_bytes(561, 150)})
    with pytest.raises(InputError, match="no matrix ff of 560 rows"):
        opened("frey-faces", tmp_path, tmp_path)
    savemat(tmp_path / "frey_rawface.mat", {"ff": random_bytes(560, 90)})
    with pytest.raises(InputError, match="holds 90 frames, 100 are held out"):
        opened("frey-faces", tmp_path, tmp_path)
    (tmp_path / "frey_rawface.mat").write_bytes(b"MATLAB 5.0 cut")
    with pytest.raises(InputError, match="cannot be read") as caught:
        opened("frey-faces", tmp_path, tmp_path)
    assert "\n" not in str(caught.value)


def write_house_numbers(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    savemat(path, {"X": image.transpose(2, 3, 1, 0), "y": label[:, None]})


def test_house_numbers(tmp_path: Path) -> None:
    """The file holds (height, width, colour, image), and 10 for the digit 0."""
    label = np.array([10, 1, 9, 10, 5], np.uint8)
    image = {split: random_bytes(count, 3, 32, 32) for split, count in (("train", 5), ("test", 4))}
    (tmp_path / "svhn").mkdir()
    for split, pixels in image.items():
        write_house_numbers(tmp_path / "svhn" / f"{split}_32x32.mat", pixels, label[: len(pixels)])
    for split, pixels in image.items():
        data = opened("svhn", tmp_path, tmp_path, split=split)
        np.testing.assert_array_equal(data.image, pixels)
        assert data.label is not None and data.label.tolist() == [0, 1, 9, 0, 5][: len(pixels)]
        assert data.classes == tuple("0123456789")


def test_house_numbers_of_another_shape_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "train_32x32.mat"
    write_house_numbers(file, random_bytes(3, 3, 32, 32), np.array([1, 2, 11]))
    with pytest.raises(InputError, match="labels from 1 to 11"):
        opened("svhn", tmp_path, tmp_path)
    write_house_numbers(file, random_bytes(3, 3, 28, 28), np.array([1, 2, 3]))
    with pytest.raises(InputError, match=r"X is uint8 of shape \(28, 28, 3, 3\)"):
        opened("svhn", tmp_path, tmp_path)
    savemat(file, {"X": random_bytes(32, 32, 3, 3)})
    with pytest.raises(InputError, match="no matrix y"):
        opened("svhn", tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"looked for test_32x32\.mat"):
        opened("svhn", tmp_path, tmp_path, split="test")


def test_scenes_are_in_the_order_in_which_they_are_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "LSUN_MOST", 3)
    for place, name in enumerate(published.LSUN):
        for part, count in (("train", 4), ("val", 2)):
            folder = tmp_path / "lsun" / name / part / "deeper"
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (80 + number, 96), (50 * place, 10 * number, 0)).save(folder / f"{number}.png")
    train, test = (opened("lsun", tmp_path, tmp_path, split=split) for split in ("train", "test"))
    assert train.classes == ("bedroom", "kitchen", "church_outdoor", "tower")
    assert train.image_shape == (3, 64, 64)
    assert train.label is not None and train.label.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], "no more than so many of each, the first by name"
    assert train.image[:, 0, 0, 0].tolist() == [0] * 3 + [50] * 3 + [100] * 3 + [150] * 3
    assert test.label is not None and test.label.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    (tmp_path / "lsun" / "tower").rename(tmp_path / "lsun" / "castle")
    with pytest.raises(InputError, match=r"looked for tower/train/\*\.jpg"):
        opened("lsun", tmp_path, tmp_path)


def test_downloads_come_from_the_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "server", zipped=True)
    asked = []

    def deliver(remote, folder: Path, *, wanted_by: str, progress: bool) -> Path:
        asked.append((wanted_by, remote.name, len(remote.urls) >= 2, folder.relative_to(tmp_path / "cache").as_posix()))
        return tmp_path / "server" / remote.name

    monkeypatch.setattr("memogen.data.datasets.fetch", deliver)
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    assert [len(data) for data in prepare("affine-mnist", progress=False)] == [30, 20]
    assert asked == [("mnist", f"{name}.gz", True, "downloads/mnist") for split in ("train", "test") for name in IDX[split]]


def test_every_published_file_has_a_checksum_and_mirrors() -> None:
    remotes = [remote for files in (published.MNIST, published.FASHION_MNIST) for pair in files.values() for remote in pair] + [published.CIFAR10]
    for remote in remotes:
        assert len(remote.checksum) == 4 + 32 and len(remote.urls) >= 2 and all(url.endswith("/" + remote.name) for url in remote.urls)
    assert len({remote.checksum for remote in remotes}) == 9


def test_own_npz_and_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "letters.npz"
    np.savez(path, x_train=random_bytes(5, 6, 6), y_train=np.arange(5) % 2, x_test=random_bytes(3, 6, 6))
    assert splits(str(path)) == ("train", "test")
    train, test = prepare(str(path), progress=False)
    assert train.classes == ("0", "1") and test.label is None and (train.name, len(test)) == ("letters", 3)


def test_own_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    real = np.random.default_rng(0).random((1100, 6), np.float32)
    path = tmp_path / "measured.npz"
    np.savez(path, x_train=real, y_train=np.arange(1100) % 2, x_test=(real > 0.5)[:7])
    train, test = prepare(str(path), progress=False)
    assert isinstance(train.image, np.memmap) and train.image.dtype == np.float32 and train.image_shape == (1, 1, 6) and train.classes == ("0", "1")
    np.testing.assert_array_equal(train.image[:, 0, 0], real)  # not a bit is lost
    assert test.image.dtype == np.uint8
    np.testing.assert_array_equal(test.image[:, 0, 0], (real > 0.5)[:7] * 255)
    shaped = opened(str(path), tmp_path, options=DataOptions((2, 3)))
    np.testing.assert_array_equal(shaped.image[:, 0], real.reshape(-1, 2, 3))
    with pytest.raises(InputError, match="vectors of 6 numbers: give a size of as many pixels"):
        opened(str(path), tmp_path, options=DataOptions(4, "resize"))


def test_check_of_vectors(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", x=np.eye(5)[:, :4])
    report = check(str(tmp_path / "v.npz"), progress=False)
    assert report.kept == 5 and not report.problems and report.sizes == {"1 x 4": 5} and report.modes == {"binary vectors": 5}
    assert check(str(tmp_path / "v.npz"), options=DataOptions(2), progress=False).sizes == {"2 x 2": 5}
    asked = check(str(tmp_path / "v.npz"), options=DataOptions(3), progress=False)
    assert len(asked.problems) == 1 and "vectors of 4 numbers" in asked.problems[0]


def test_check_of_an_npz_of_images_names_the_size_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "i.npz", x=random_bytes(3, 6, 6))
    assert check(str(tmp_path / "i.npz"), options=DataOptions(6), progress=False).clean
    (problem,) = check(str(tmp_path / "i.npz"), options=DataOptions(5), progress=False).problems
    assert "images are 6 x 6, but the size asked for is 5 x 5" in problem


def test_check_of_arrays(tmp_path: Path) -> None:
    write_cifar(tmp_path / "here")
    report = check("cifar10", folder=tmp_path / "here", split="test", progress=False)
    assert report.clean and report.kept == 10 and report.sizes == {"32 x 32": 10} and report.labels["truck"] == 1
    assert "10 images read" in report.text() and '"kept": 10' in report.json()
    (tmp_path / "here/test_batch.bin").write_bytes(b"cut")
    broken = check("cifar10", folder=tmp_path / "here", split="test", progress=False)
    assert not broken.clean and "whole number" in broken.problems[0]


def test_the_table_is_complete() -> None:
    assert list(DATASETS) == ["digits", "stacked-digits", "digits-without-9", "mnist", "fashion-mnist", "affine-mnist", "cifar10", *OWN, "folder"]
    assert all(row.about and row.splits[0] == "train" for row in DATASETS.values())
