"""Which published data sets lie in a folder, so that ``--data`` may name it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from memogen.data import published
from memogen.data.datasets import DATASETS
from memogen.data.download import Remote, matches


def recognised(folder: Path) -> tuple[str, ...]:
    """The names of the published data sets whose files are in the folder, or in one of the sub-folders where people usually keep them.

    MNIST and Fashion-MNIST have files of the same names; checksums tell them apart. If the files match neither, both names are given.
    """
    return tuple(name for name, found in LAYOUTS.items() if folder.is_dir() and found(folder))


def may_hold(folder: Path, name: str) -> bool:
    """Whether the folder may hold the data set ``name``.

    It cannot if the set is embedded and has no files, or if the set has a known layout and the folder holds the files of no published set.
    """
    return not DATASETS[name].embedded and (name not in LAYOUTS or bool(recognised(folder)))


def _idx(files: Mapping[str, tuple[Remote, Remote]], folders: Iterable[str], twins: Mapping[str, tuple[Remote, Remote]]) -> Callable[[Path], bool]:
    def found(root: Path) -> bool:
        for split, wanted in files.items():
            there = published.find_files(root, folders, [published.spellings(remote.name) for remote in wanted])
            if there is not None:
                return not matches(there[1], twins[split][1].checksum)
        return False

    return found


def _any_of(folders: Iterable[str], *layouts: Iterable[tuple[str, ...]]) -> Callable[[Path], bool]:
    return lambda root: any(published.find_files(root, folders, layout) is not None for layout in layouts)


_CIFAR_BATCH = published.CIFAR10_BATCHES["test"][0]
LAYOUTS: dict[str, Callable[[Path], bool]] = {
    "mnist": _idx(published.MNIST, published.MNIST_FOLDERS, published.FASHION_MNIST),
    "fashion-mnist": _idx(published.FASHION_MNIST, published.FASHION_FOLDERS, published.MNIST),
    "cifar10": _any_of(
        published.CIFAR_FOLDERS, *([(name,)] for name in (f"{_CIFAR_BATCH}.bin", _CIFAR_BATCH, published.CIFAR10.name, published.CIFAR10_PYTHON))
    ),
    "ocr-letters": _any_of(published.OCR_FOLDERS, published.OCR_LETTERS),
    "frey-faces": _any_of(published.FREY_FOLDERS, published.FREY_FACES),
    "svhn": _any_of(published.SVHN_FOLDERS, *published.SVHN.values()),
}
