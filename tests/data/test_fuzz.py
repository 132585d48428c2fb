"""Small valid files with damaged bytes: each is read as it was written, or refused in one line; nothing else, and nothing takes long."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from memogen.data import DATASETS, DataOptions
from memogen.data.arrays import read_npz
from memogen.data.cache import cached
from memogen.data.findings import Tally
from memogen.data.readers import read_cifar, read_idx_pair, read_matrices
from memogen.data.source import Request, counted
from memogen.types import InputError
from tests.data.test_cache import source

SECONDS, LONG = float(os.environ.get("FUZZ_SECONDS", "20")), 5.0  # for each kind of file, and for one file at most
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (5, 9, 8), dtype=np.uint8)
LABEL = np.arange(5) % 3


def mutated(blob: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits, bytes, numbers of extreme size, pieces left out, doubled or moved, the end cut off."""
    content = bytearray(blob)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(len(content))) if content else 0
        stop = place + int(rng.integers(1, 9))
        match int(rng.integers(7)) if content else 6:
            case 0:
                content[place] ^= 1 << int(rng.integers(8))
            case 1:
                content[place] = int(rng.integers(256))
            case 2:
                number = int(rng.choice([0, 1, 127, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]))
                content[place : place + 4] = struct.pack(rng.choice(["<I", ">I"]), number)
            case 3:
                del content[place:stop]
            case 4:
                content[place:place] = content[place:stop]
            case 5:
                content[place:stop] = bytes(rng.integers(0, 256, stop - place, dtype=np.uint8))
            case 6:
                del content[place:]
    return bytes(content)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def npz(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    blobs = []
    for save in (np.savez, np.savez_compressed):
        save(path / "set.npz", image=IMAGE, label=LABEL)
        blobs.append((path / "set.npz").read_bytes())

    def read() -> None:
        image, label = read_npz(path / "set.npz", "train")
        np.testing.assert_array_equal(image[:, 0], IMAGE)  # every byte stands under a checksum
        assert label is None or label.tolist() == LABEL.tolist()

    return blobs, read


def zipped(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    blobs = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path / "set.zip", "w", method) as archive:
            for number, one in enumerate(IMAGE):
                archive.writestr(f"{number % 2}/{number}.png", encoded(Image.fromarray(one), "PNG"))
        blobs.append((path / "set.zip").read_bytes())
    return blobs, lambda: pictures(path / "set.zip")


def shard(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, one in enumerate(IMAGE):
            for suffix, content in (("png", encoded(Image.fromarray(one), "PNG")), ("cls", str(number % 2).encode())):
                info = tarfile.TarInfo(f"{number}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return [out.getvalue()], lambda: pictures(path / "set.tar")


def idx(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    image = struct.pack(">HBB3I", 0, 8, 3, *IMAGE.shape) + IMAGE.tobytes()
    label = struct.pack(">HBBI", 0, 8, 1, len(LABEL)) + LABEL.astype(np.uint8).tobytes()
    blob = struct.pack(">I", len(image)) + image + label

    def read() -> None:
        content = (path / "set.idx").read_bytes()
        first = int.from_bytes(content[:4], "big")  # both files are damaged in turn
        for name, part in (("images", content[4 : 4 + first]), ("labels", content[4 + first :])):
            (path / name).write_bytes(gzip.compress(part) if content[:1] == b"\x01" else part)
        got = read_idx_pair(path / "images", path / "labels", 10)
        assert got[0].shape[:2] == (len(got[1]), 1) and got[0].dtype == np.uint8 and got[1].max(initial=0) < 10

    packed = gzip.compress(image)
    return [blob, struct.pack(">I", len(packed)) + packed + label], read


def cifar(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    rows = RNG.integers(0, 256, (2, 3073), dtype=np.uint8)
    rows[:, 0] = 3, 9
    python = pickle.dumps({b"data": rows[:, 1:], b"labels": [3, 9]}, 2)
    names = {len(rows.tobytes()): "set.bin"}

    def read() -> None:
        content = (path / "set.cifar").read_bytes()
        name = names.get(len(content), "set") if content[:1] != b"\x80" else "set"
        (path / name).write_bytes(content)
        (path / "set.bin").write_bytes(content)
        for one in {name, "set.bin"} if name == "set" else {name}:
            try:
                image, label = read_cifar(path, [one])
            except InputError:
                if one == name:
                    raise
                continue
            assert image.shape == (len(label), 3, 32, 32) and image.dtype == np.uint8 and 0 <= label.min() <= label.max() <= 9

    return [rows.tobytes(), python], read


def matlab(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    blobs = []
    for packed in (False, True):
        savemat(path / "set.mat", {"ff": IMAGE.reshape(5, -1).T, "other": LABEL * 0.5}, do_compression=packed)
        blobs.append((path / "set.mat").read_bytes())

    def read() -> None:
        (found,) = read_matrices(path / "set.mat", "ff")
        assert found.dtype.kind in "iuf"

    return blobs, read


def png(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    grey = Image.fromarray(IMAGE[0])
    clear = Image.fromarray(RNG.integers(0, 256, (9, 8, 4), dtype=np.uint8))
    words = Image.fromarray(RNG.integers(0, 65536, (9, 8), dtype=np.uint16))
    exif = Image.Exif()
    exif[274] = 6
    kinds = [(grey, "PNG"), (clear, "PNG"), (words, "PNG"), (grey.convert("P"), "PNG"), (grey, "GIF"), (clear.convert("CMYK"), "TIFF")]
    blobs = [encoded(image, kind) for image, kind in kinds]
    aside = [image.transpose(Image.Transpose.ROTATE_90) for image in (grey, clear)]
    blobs += [encoded(aside[0], "JPEG", exif=exif), encoded(aside[1], "WEBP", exif=exif), encoded(grey, "BMP"), encoded(grey, "PPM")]
    (path / "folder").mkdir(exist_ok=True)
    (path / "folder" / "good.png").write_bytes(blobs[0])

    def read() -> None:
        (path / "folder" / "set.png").write_bytes((path / "set.png").read_bytes())
        pictures(path / "folder")

    return blobs, read


def pictures(place: Path) -> None:
    tally = Tally()
    contents = DATASETS["folder"].source(Request("folder", place, "train", DataOptions(), place)).open(tally, False)
    for image, label in counted(contents, tally):
        assert image.shape[1:] == contents.shape and image.dtype == np.uint8
        assert (label is None) == (not contents.classes) and (label is None or label.max() < len(contents.classes))
    assert tally.kept + sum(finding.count for finding in tally.report("here").skipped.values()) <= len(IMAGE)


def facts(path: Path) -> tuple[list[bytes], Callable[[], None]]:
    """cache.json: whatever it says, the right images come."""
    data = cached(source()[0], path, progress=False)
    (place,) = (path / "images").glob("*/cache.json")
    blob = place.read_bytes()

    def read() -> None:
        place.write_bytes((path / "set.facts").read_bytes())
        found = cached(source()[0], path, progress=False)
        assert (found.digest, found.classes, found.name, found.split) == (data.digest, data.classes, data.name, data.split)
        np.testing.assert_array_equal(found.image, data.image)
        np.testing.assert_array_equal(found.label, data.label)

    return [blob], read


KINDS = {"npz": npz, "zip": zipped, "tar": shard, "idx": idx, "cifar": cifar, "mat": matlab, "png": png, "facts": facts}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    blobs, read = KINDS[kind](tmp_path)
    rng, end, counts = np.random.default_rng(0), time.monotonic() + SECONDS, Counter[str]()
    while time.monotonic() < end:
        blob = blobs[counts.total() % len(blobs)]
        content = mutated(blob, rng) if counts.total() >= len(blobs) else blob  # first as they are
        (tmp_path / f"set.{kind}").write_bytes(content)
        began = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow says what it finds odd
                read()
            counts["read"] += 1
        except InputError as error:
            assert "\n" not in str(error) and counts.total() >= len(blobs)
            counts["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"{kind} number {counts.total()}: {type(error).__name__}: {error}: {content[:4000]!r}") from error
        assert time.monotonic() - began < LONG, content[:4000]
        if counts.total() % 100 == 0:
            capsys.readouterr()
    with capsys.disabled():
        print(f"\n{kind}: {counts['read']:,} read, {counts['refused']:,} refused")
