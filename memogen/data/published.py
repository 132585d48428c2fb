"""The published files: their names, checksums and mirrors, and how they are found in a user's folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from memogen.data.arrays import digest
from memogen.data.download import Remote, matches
from memogen.errors import printable
from memogen.types import InputError

_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
_FASHION_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
_CIFAR_MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "http://www.cs.toronto.edu/~kriz/")


def _remote(name: str, md5: str, mirrors: Iterable[str]) -> Remote:
    return Remote(name, f"md5:{md5}", tuple(mirror + name for mirror in mirrors))


# per split: images, labels
MNIST = {
    "train": (
        _remote("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", _MNIST_MIRRORS),
        _remote("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", _MNIST_MIRRORS),
    ),
    "test": (
        _remote("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", _MNIST_MIRRORS),
        _remote("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", _MNIST_MIRRORS),
    ),
}
FASHION_MNIST = {
    "train": (
        _remote("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", _FASHION_MIRRORS),
        _remote("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", _FASHION_MIRRORS),
    ),
    "test": (
        _remote("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", _FASHION_MIRRORS),
        _remote("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", _FASHION_MIRRORS),
    ),
}
CIFAR10 = _remote("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", _CIFAR_MIRRORS)
CIFAR10_PYTHON = "cifar-10-python.tar.gz"
CIFAR10_BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}

COUNTS = {  # images of the published files, where a set has so many and no other
    "mnist": {"train": 60_000, "test": 10_000},
    "fashion-mnist": {"train": 60_000, "test": 10_000},
    "cifar10": {"train": 50_000, "test": 10_000},
    "frey-faces": {"train": 1_965, "test": 1_965},  # one file
    "svhn": {"train": 73_257, "test": 26_032},
}
DIGESTS = {  # SHA-256 of the pixels followed by the labels, as in ImageData.digest
    ("mnist", "train"): "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c",
    ("mnist", "test"): "a0863a96c44e5666edbb30c4071ee79ca0514c621e6349c5967fc78e7305c891",
    ("fashion-mnist", "train"): "1f243a60b4b748a44c48b9a6f6907be2a08bee3e4e226f0e86fbde8e147b745a",
    ("fashion-mnist", "test"): "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e",
}

OCR_LETTERS = (("letter.data.gz", "letter.data"),)
OCR_LETTERS_PARTS = {"train": 32_152, "valid": 10_000, "test": 10_000}
FREY_FACES = (("frey_rawface.mat",),)
FREY_TEST = 100  # frames held out of 1,965 (Li et al. 2016, section 5.3)
SVHN = {"train": (("train_32x32.mat",),), "test": (("test_32x32.mat",),)}
LSUN = ("bedroom", "kitchen", "church_outdoor", "tower")  # in the order in which Wu et al. 2018 learn them
LSUN_MOST = 100_000  # training images of a category (Wu et al. 2018, section 4.2), the first by name

# where people keep a set below the folder that they name; the first that holds the files is taken
MNIST_FOLDERS = ("", "mnist", "MNIST", "MNIST/raw", "mnist/raw", "raw")
FASHION_FOLDERS = ("fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw", "fashion", "data/fashion", "raw", "")
CIFAR_FOLDERS = (
    "",
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
    *(f"{own}/{part}" for own in ("cifar10", "cifar-10", "CIFAR10") for part in ("", "cifar-10-batches-bin", "cifar-10-batches-py")),
)
OCR_FOLDERS = ("", "ocr-letters", "ocr_letters", "ocr")
SVHN_FOLDERS = ("", "svhn", "SVHN", "svhn_cropped")
FREY_FOLDERS = ("", "frey-faces", "frey_faces", "freyfaces", "frey")


def spellings(name: str) -> tuple[str, ...]:
    """A gzipped IDX file's name, unpacked too, and with the dot that some unpackers put before "idx"."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    return name, plain, dotted, dotted + ".gz"


def find_files(root: Path, folders: Iterable[str], wanted: Iterable[tuple[str, ...]]) -> list[Path] | None:
    """The wanted files (each under any of its names) from the first of the folders below ``root`` that holds them all; None if none does."""
    wanted = list(wanted)
    for folder in dict.fromkeys(root / sub for sub in folders):
        found = [next((folder / name for name in names if (folder / name).is_file()), None) for names in wanted]
        if all(found):
            return [file for file in found if file is not None]
    return None


def wrong_folder(name: str, root: Path, wanted: str, otherwise: str = ", or leave folder out to download") -> InputError:
    """What was looked for, what was found, and how to mend it; ``otherwise`` is another way to the files."""
    if not root.exists():
        return InputError(f"{name}: {root}: there is no such folder: give the one that holds {wanted}{otherwise}")
    if root.is_file():
        return InputError(f"{name}: {root}: is a file: give the folder that holds {wanted}")
    there = sorted(printable(item.name) + "/" * item.is_dir() for item in root.iterdir())
    found = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "") if there else "nothing"
    return InputError(f"{name}: {root}: looked for {wanted}, found {found}: give the folder that holds these files{otherwise}")


def check_published(name: str, split: str, image: np.ndarray, label: np.ndarray | None, where: str) -> None:
    """InputError where a set's files hold another number of images than the published ones, or, where their digest is known, other images."""
    wanted = COUNTS.get(name, {}).get(split, len(image))
    own = "or give them as images of your own, in a folder or an npz file of another name"
    if len(image) != wanted:
        raise InputError(f"{name}: {where}: holds {len(image):,} images, the published files {wanted:,}: fetch them again, {own}")
    known = DIGESTS.get((name, split))
    if known is not None and digest(image, label) != known:
        raise InputError(f"{name}: {where}: holds other images or labels than the published files: fetch them again, {own}")


def refuse_twin(name: str, files: list[Path], twin: str, published: tuple[Remote, Remote]) -> None:
    """MNIST and Fashion-MNIST have files of the same names: InputError when the label file is the other set's."""
    if matches(files[1], published[1].checksum):
        raise InputError(f"{name}: {files[1]}: this is {twin}: give the folder of {name}, or ask for {twin}")
