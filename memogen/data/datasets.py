"""The data sets by name: one function each, and the table DATASETS at the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from memogen.data import published
from memogen.data.batches import epoch_order
from memogen.data.derived import AT_ONCE, CHANNELS, FRAME, STACKED, affine, stacked
from memogen.data.download import fetch
from memogen.data.images import DataOptions
from memogen.data.listing import Entry, label_entries, pictures_of
from memogen.data.own import folder, own_place
from memogen.data.pictures import picture_source
from memogen.data.readers import read_cifar, read_frames, read_house_numbers, read_idx_pair, read_letters
from memogen.data.source import Chunk, Request, Source, array_source
from memogen.types import InputError

DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
OCR_SPLITS = tuple(published.OCR_LETTERS_PARTS)
CELEBA_CROP = 108  # the middle square of the 178 x 218 faces that DCGAN (Radford et al. 2016) and its successors cut out before scaling to 64
SMALL = 64  # side of Chairs and CelebA in Kim et al. 2018
_CELEBA_SPLITS = ("train", "valid", "test")
_CELEBA_LAST = (162_770, 182_637, 202_599)  # the official partition goes by the number in the file's name


@dataclass(frozen=True)
class DataSet:
    """A row of the table: its function, its splits, one line for a listing, and whether its images come with memogen."""

    source: Callable[[Request], Source]
    splits: tuple[str, ...]
    about: str
    embedded: bool = False


# --- scikit-learn's digits, which come with memogen ---


def digits(asked: Request) -> Source:
    """scikit-learn's embedded 8 x 8 digits, 1,437 to train and 360 to test, split by class and always alike; 0..16 becomes 0..255."""
    return _embedded(asked, DIGITS, lambda image, label: (image, label))


def stacked_digits(asked: Request) -> Source:
    """Three of the embedded digits in three channels, 1,000 combinations; those of the test split are stacked of the digits' own test split."""
    count, stream = STACKED[asked.split], list(STACKED).index(asked.split)
    return _embedded(asked, tuple(f"{number:03d}" for number in range(10**CHANNELS)), partial(stacked, count=count, stream=stream))


def digits_without_9(asked: Request) -> Source:
    """The same digits, but no nine to train on; the test split has all ten classes."""

    def without_9(image: np.ndarray, label: np.ndarray) -> Chunk:
        rows = (label != 9) | (asked.split == "test")
        return image[rows], label[rows]

    return _embedded(asked, DIGITS, without_9)


def _embedded(asked: Request, classes: tuple[str, ...], derive: Callable[[np.ndarray, np.ndarray], Chunk]) -> Source:
    """A set that is derived from the images and labels of the embedded digits."""
    if asked.folder is not None:
        raise InputError(
            f"{asked.name}: {asked.folder}: these digits come with memogen and are in no folder: leave it out, or load it as images of your own"
        )

    def read() -> Chunk:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        raw = load_digits()
        parts = train_test_split(np.arange(len(raw.target)), test_size=360, stratify=raw.target, random_state=0)
        rows = np.sort(parts[("train", "test").index(asked.split)])
        image = np.rint(raw.images[rows] * (255 / 16)).astype(np.uint8)
        return derive(image[:, None], raw.target[rows].astype(np.int64))

    return array_source(asked, [], classes, read)


# --- published files ---


def mnist(asked: Request) -> Source:
    """Handwritten digits, 28 x 28 grey (LeCun et al. 1998)."""
    files = _idx_files(asked, "mnist")
    return array_source(asked, files, DIGITS, lambda: _read_idx_set("mnist", asked.split, files))


def fashion_mnist(asked: Request) -> Source:
    """Articles of clothing, 28 x 28 grey (Xiao et al. 2017)."""
    files = _idx_files(asked, "fashion-mnist")
    return array_source(asked, files, FASHION, lambda: _read_idx_set("fashion-mnist", asked.split, files))


def affine_mnist(asked: Request) -> Source:
    """MNIST turned by up to 20 degrees and placed in a 40 x 40 frame, one transform per image, always alike (Kim et al. 2018)."""
    files = _idx_files(asked, "mnist")

    def read() -> Chunk:
        image, label = _read_idx_set("mnist", asked.split, files)
        placed = np.empty((len(image), 1, FRAME, FRAME), np.uint8)
        for start in range(0, len(image), AT_ONCE):
            placed[start : start + AT_ONCE] = affine(image[start : start + AT_ONCE], start, stream=("train", "test").index(asked.split))
        return placed, label

    return array_source(asked, files, DIGITS, read)


_IDX = {"mnist": (published.MNIST, published.MNIST_FOLDERS), "fashion-mnist": (published.FASHION_MNIST, published.FASHION_FOLDERS)}


def _idx_files(asked: Request, name: str) -> list[Path]:
    """The image and the label file of the split, from the user's folder or downloaded."""
    files, folders = _IDX[name]
    wanted = files[asked.split]
    if asked.folder is None:
        return [fetch(remote, asked.root / "downloads" / name, wanted_by=name, progress=asked.progress) for remote in wanted]
    found = published.find_files(asked.folder, folders, [published.spellings(remote.name) for remote in wanted])
    if found is None:
        raise published.wrong_folder(name, asked.folder, " and ".join(f"{remote.name.removesuffix('.gz')}[.gz]" for remote in wanted))
    return found


def _read_idx_set(name: str, split: str, files: list[Path]) -> Chunk:
    twin = "fashion-mnist" if name == "mnist" else "mnist"
    published.refuse_twin(name, files, twin, _IDX[twin][0][split])
    image, label = read_idx_pair(files[0], files[1], len(DIGITS))
    published.check_published(name, split, image, label, str(files[0]))
    return image, label


def cifar10(asked: Request) -> Source:
    """Small colour photographs of ten classes, 32 x 32 (Krizhevsky 2009): the binary version, or the python version read without unpickling."""
    batches = published.CIFAR10_BATCHES[asked.split]
    binary = [f"{batch}.bin" for batch in batches]
    if asked.folder is None:
        archive = fetch(published.CIFAR10, asked.root / "downloads" / "cifar10", wanted_by="cifar10", progress=asked.progress)
        return array_source(asked, [archive], CIFAR, lambda: _read_cifar(asked.split, archive, binary))
    layouts = [(binary, binary), (batches, batches), ([published.CIFAR10.name], binary), ([published.CIFAR10_PYTHON], batches)]
    for wanted, names in layouts:
        if files := published.find_files(asked.folder, published.CIFAR_FOLDERS, [(name,) for name in wanted]):
            place = files[0] if wanted is not names else files[0].parent
            return array_source(asked, files, CIFAR, partial(_read_cifar, asked.split, place, names))
    raise published.wrong_folder("cifar10", asked.folder, f"{binary[0]} and its like, {batches[0]} and its like, or {published.CIFAR10.name}")


def _read_cifar(split: str, place: Path, names: list[str]) -> Chunk:
    image, label = read_cifar(place, names)
    published.check_published("cifar10", split, image, label, str(place))
    return image, label


def ocr_letters(asked: Request) -> Source:
    """Handwritten letters a to z, 16 x 8, black and white, from letter.data (Kassel; Taskar et al. 2003), in the split of Larochelle et al. 2010."""
    files = _own_files(asked, published.OCR_LETTERS, published.OCR_FOLDERS, "http://ai.stanford.edu/~btaskar/ocr/")

    def read() -> Chunk:
        image, label = read_letters(files[0])
        rows = letter_rows(asked.split, len(image), str(files[0]))
        return image[rows], label[rows]

    return array_source(asked, files, LETTERS, read)


def letter_rows(split: str, count: int, where: str) -> np.ndarray:
    """The lines of letter.data in a split, int64: all of them in the order of Python 2.7's shuffle under the seed 12345, cut in three.

    So does mlpython's script, from which the usual 32,152 / 10,000 / 10,000 come. InputError where the file has another length.
    """
    parts = published.OCR_LETTERS_PARTS
    if count != sum(parts.values()):
        raise InputError(f"ocr-letters: {where}: holds {count:,} letters, the published file {sum(parts.values()):,}: fetch it again")
    order, draw = list(range(count)), random.Random(12345)
    for last in range(count - 1, 0, -1):
        place = int(draw.random() * (last + 1))
        order[last], order[place] = order[place], order[last]
    first = sum(size for name, size in parts.items() if list(parts).index(name) < list(parts).index(split))
    return np.array(order[first : first + parts[split]])


def frey_faces(asked: Request) -> Source:
    """Frames of one face, 28 x 20 grey, from frey_rawface.mat (B. Frey): 100 drawn by ``options.split_seed`` to test, the others to train."""
    files = _own_files(asked, published.FREY_FACES, published.FREY_FOLDERS, "https://cs.nyu.edu/~roweis/data.html")

    def read() -> Chunk:
        image = read_frames(files[0], (28, 20))
        published.check_published("frey-faces", asked.split, image, None, str(files[0]))
        if len(image) <= published.FREY_TEST:
            raise InputError(f"frey-faces: {files[0]}: holds {len(image)} frames, {published.FREY_TEST} are held out: fetch the file again")
        order = epoch_order(len(image), seed=asked.options.split_seed, epoch=0)
        held_out, others = order[: published.FREY_TEST], order[published.FREY_TEST :]
        return image[np.sort(held_out if asked.split == "test" else others)], None

    return array_source(asked, files, (), read)


def svhn(asked: Request) -> Source:
    """Cropped house numbers, 32 x 32 in colour, from train_32x32.mat and test_32x32.mat (Netzer et al. 2011); the digit 0 is class 0."""
    files = _own_files(asked, published.SVHN[asked.split], published.SVHN_FOLDERS, "http://ufldl.stanford.edu/housenumbers")

    def read() -> Chunk:
        image, label = read_house_numbers(files[0])
        published.check_published("svhn", asked.split, image, label, str(files[0]))
        return image, label

    return array_source(asked, files, DIGITS, read)


def _own_files(asked: Request, names: tuple[tuple[str, ...], ...], folders: tuple[str, ...], home: str) -> list[Path]:
    """The files of a set that has no published checksum, hence no download: the user's own copies. ``home`` is where the set was published."""
    remedy = f"; they were published at {home}"
    if asked.folder is None:
        raise InputError(f"{asked.name}: this set cannot be downloaded: give FOLDER/{asked.name}, where FOLDER holds {names[0][0]}, as data{remedy}")
    found = published.find_files(asked.folder, folders, names)
    if found is None:
        raise published.wrong_folder(asked.name, asked.folder, " or ".join(names[0]), remedy)
    return found


# --- image files of known sets ---


def chairs(asked: Request) -> Source:
    """Rendered chairs (Aubry et al. 2014), rendered_chairs/<model>/renders/*.png, one class per model: scaled to 64 x 64 unless asked otherwise."""
    place = _first_there(own_place(asked), ("rendered_chairs", "chairs/rendered_chairs", "rendered_chairs.zip", ""))
    pictures = pictures_of(place)
    renders = tuple(entry for entry in pictures.entries if len(entry.parts) == 3 and entry.parts[1] == "renders")
    if not renders:
        raise published.wrong_folder("chairs", place, "rendered_chairs/<model>/renders/*.png")
    classes, label = label_entries({"train": renders}, "train")
    return picture_source(_preset(asked, DataOptions(SMALL, "resize")), replace(pictures, entries=renders), classes, label, "chairs")


def celeba(asked: Request) -> Source:
    """Aligned faces (Liu et al. 2015), img_align_celeba/*.jpg or .zip, unlabelled: the middle 108 x 108 scaled to 64 x 64."""
    own = own_place(asked)
    where = ("img_align_celeba", "celeba/img_align_celeba", "img_align_celeba.zip", "celeba/img_align_celeba.zip", "")
    pictures = pictures_of(_first_there(own, where))
    if not pictures.entries:
        raise published.wrong_folder("celeba", own, "img_align_celeba/*.jpg or img_align_celeba.zip")
    part, parts = _CELEBA_SPLITS.index(asked.split), _celeba_partition(pictures.place, own)
    entries = tuple(entry for entry in pictures.entries if _celeba_part(entry, parts) == part)
    return picture_source(_preset(asked, DataOptions(SMALL, "resize", centre=CELEBA_CROP)), replace(pictures, entries=entries), (), None, "celeba")


def lsun(asked: Request) -> Source:
    """Four categories of LSUN (Yu et al. 2015) as <category>/train/ and <category>/val/ folders of images, the latter to test: scaled to 64 x 64."""
    pictures = pictures_of(_first_there(own_place(asked), ("lsun", "LSUN", "dataset/lsun", "")))
    part, most = ("train", published.LSUN_MOST) if asked.split == "train" else ("val", None)
    chosen = [[entry for entry in pictures.entries if entry.parts[:2] == (name, part)][:most] for name in published.LSUN]
    if not all(chosen):
        missing = next(name for name, entries in zip(published.LSUN, chosen, strict=True) if not entries)
        raise published.wrong_folder("lsun", pictures.place, f"{missing}/{part}/*.jpg")
    label = np.repeat(np.arange(len(chosen)), [len(entries) for entries in chosen])
    sized = _preset(asked, DataOptions(SMALL, "resize"))
    if sized.options != asked.options:
        sized = replace(sized, options=replace(sized.options, filter="bilinear"))  # as the authors scale
    return picture_source(sized, replace(pictures, entries=tuple(chain.from_iterable(chosen))), published.LSUN, label, "lsun")


def _first_there(root: Path, subs: tuple[str, ...]) -> Path:
    return next((root / sub for sub in subs if root.is_dir() and (root / sub).exists()), root)


def _preset(asked: Request, preset: DataOptions) -> Request:
    """The request with the data set's own options, unless the user asked for a shape."""
    given = asked.options
    plain = given.fit == "error" and given.size in (None, preset.size, preset.target) and not given.centre
    return replace(asked, options=replace(preset, channels=given.channels, filter=given.filter)) if plain else asked


def _celeba_partition(*places: Path) -> dict[str, int]:
    """File name to split number from list_eval_partition.txt (or .csv) beside the images; empty if there is none."""
    folders = [folder for place in places for folder in (place, place.parent, place / "celeba")]
    names = ("list_eval_partition.txt", "list_eval_partition.csv")
    found = next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)
    rows = [line.replace(",", " ").split() for line in found.read_text(encoding="utf-8", errors="replace").splitlines()] if found else []
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1] in ("0", "1", "2")}


def _celeba_part(entry: Entry, parts: dict[str, int]) -> int:
    name = PurePosixPath(entry.name)
    number = int(name.stem) if name.stem.isdecimal() and len(name.stem) < 10 else 0
    return parts.get(name.name, -1) if parts else int(np.searchsorted(_CELEBA_LAST, number))


DATASETS: dict[str, DataSet] = {
    "digits": DataSet(digits, ("train", "test"), "8x8 grey digits, 1,437 + 360, embedded", embedded=True),
    "stacked-digits": DataSet(
        stacked_digits, ("train", "test"), "8x8, a digit in each of three channels, 50,000 + 10,000, made of the digits", embedded=True
    ),
    "digits-without-9": DataSet(
        digits_without_9, ("train", "test"), "8x8 grey digits, 1,293 + 360, no nine to train on, made of the digits", embedded=True
    ),
    "mnist": DataSet(mnist, ("train", "test"), "28x28 grey digits, 60,000 + 10,000"),
    "fashion-mnist": DataSet(fashion_mnist, ("train", "test"), "28x28 grey clothing, 60,000 + 10,000"),
    "affine-mnist": DataSet(affine_mnist, ("train", "test"), "40x40 grey digits, turned and moved, 60,000 + 10,000, made from MNIST"),
    "cifar10": DataSet(cifar10, ("train", "test"), "32x32 colour photographs, 50,000 + 10,000"),
    "ocr-letters": DataSet(ocr_letters, OCR_SPLITS, "16x8 black and white letters, 32,152 + 10,000 + 10,000, your own letter.data"),
    "frey-faces": DataSet(frey_faces, ("train", "test"), "28x20 grey frames of a face, 1,865 + 100, your own frey_rawface.mat"),
    "svhn": DataSet(svhn, ("train", "test"), "32x32 house numbers in colour, 73,257 + 26,032, your own .mat files"),
    "lsun": DataSet(lsun, ("train", "test"), "four categories of scenes scaled to 64x64, your own folders of images"),
    "chairs": DataSet(chairs, ("train",), "rendered chairs scaled to 64x64, your own copy"),
    "celeba": DataSet(celeba, _CELEBA_SPLITS, "faces, middle 108x108 scaled to 64x64, your own copy"),
    "folder": DataSet(folder, ("train", "valid", "test"), "your own images (folder, zip, tar or npz) or vectors (npz)"),
}
