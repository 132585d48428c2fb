"""The published files: their names, checksums and mirrors, and in which of a user's folders they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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


def _idx_pairs(mirrors: Iterable[str], *md5: str) -> dict[str, tuple[Remote, Remote]]:
    """Images and labels of each split."""
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    files = [_remote(name, checksum, mirrors) for name, checksum in zip(names, md5, strict=True)]
    return {"train": (files[0], files[1]), "test": (files[2], files[3])}


MNIST = _idx_pairs(
    _MNIST_MIRRORS,
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
FASHION_MNIST = _idx_pairs(
    _FASHION_MIRRORS,
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
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
    """The error of a folder without the ``wanted`` files; ``otherwise`` is another way to them."""
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


# --- which sets lie in a folder, so that --data may name it ---


def recognised(folder: Path) -> tuple[str, ...]:
    """The names of the published data sets whose files are in the folder, or in one of the sub-folders where people usually keep them.

    MNIST and Fashion-MNIST have files of the same names; checksums tell them apart. If the files match neither, both names are given.
    """
    return tuple(name for name, found in LAYOUTS.items() if folder.is_dir() and found(folder))


def _idx(files: Mapping[str, tuple[Remote, Remote]], folders: Iterable[str], twins: Mapping[str, tuple[Remote, Remote]]) -> Callable[[Path], bool]:
    """Whether a folder holds these files and not those of the ``twins``, which have the same names."""

    def found(root: Path) -> bool:
        for split, wanted in files.items():
            there = find_files(root, folders, [spellings(remote.name) for remote in wanted])
            if there is not None:
                return not matches(there[1], twins[split][1].checksum)
        return False

    return found


def _any_of(folders: Iterable[str], *layouts: Iterable[tuple[str, ...]]) -> Callable[[Path], bool]:
    return lambda root: any(find_files(root, folders, layout) is not None for layout in layouts)


_CIFAR_BATCH = CIFAR10_BATCHES["test"][0]
LAYOUTS: dict[str, Callable[[Path], bool]] = {
    "mnist": _idx(MNIST, MNIST_FOLDERS, FASHION_MNIST),
    "fashion-mnist": _idx(FASHION_MNIST, FASHION_FOLDERS, MNIST),
    "cifar10": _any_of(CIFAR_FOLDERS, *([(name,)] for name in (f"{_CIFAR_BATCH}.bin", _CIFAR_BATCH, CIFAR10.name, CIFAR10_PYTHON))),
    "ocr-letters": _any_of(OCR_FOLDERS, OCR_LETTERS),
    "frey-faces": _any_of(FREY_FOLDERS, FREY_FACES),
    "svhn": _any_of(SVHN_FOLDERS, *SVHN.values()),
}
