"""The cache: built once, opened at once, never half there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from memogen.data import DataOptions, check, load
from memogen.data.cache import cache_root, cached
from memogen.data.findings import Tally
from memogen.data.source import Contents, Source, array_contents
from memogen.types import ImageData, InputError

IMAGE = np.random.default_rng(0).integers(0, 256, (1100, 1, 4, 3), dtype=np.uint8)
LABEL = np.arange(1100) % 3


def source(image: np.ndarray = IMAGE, label: np.ndarray | None = LABEL, name: str = "some set") -> tuple[Source, list[int]]:
    """A source, and a list that grows by one whenever it is read."""
    reads: list[int] = []

    def begin(tally: Tally, progress: bool) -> Contents:
        reads.append(1)
        return array_contents(image, label, (), DataOptions(), tally, "here")

    return Source(name, "train", "here", (("a", 1, 2),), DataOptions(), begin), reads


def folders(root: Path) -> list[str]:
    return [path.name for path in (root / "images").iterdir() if path.is_dir()]


def test_built_once_and_mapped(tmp_path: Path) -> None:
    given, reads = source()
    first, second = (cached(given, tmp_path, progress=False) for _ in range(2))
    assert len(reads) == 1 and isinstance(second.image, np.memmap)
    np.testing.assert_array_equal(second.image, IMAGE)
    assert second.label is not None and second.label.dtype == np.int64
    np.testing.assert_array_equal(second.label, LABEL)
    assert (second.name, second.split, second.classes, second.image_shape) == ("some set", "train", ("0", "1", "2"), (1, 4, 3))
    assert first.digest == second.digest == hashlib.sha256(IMAGE.tobytes() + LABEL.astype("<i8").tobytes()).hexdigest()


def test_the_report_lies_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cached(source()[0], tmp_path, progress=True)
    (text,) = (tmp_path / "images").glob("*/report.txt")
    assert text.read_text() == capsys.readouterr().err and "1100 images read" in text.read_text()
    assert json.loads(text.with_suffix(".json").read_text())["labels"] == {"0": 367, "1": 367, "2": 366}


def test_without_labels(tmp_path: Path) -> None:
    data = cached(source(label=None)[0], tmp_path, progress=False)
    assert data.label is None and data.classes == () and data.digest == hashlib.sha256(IMAGE.tobytes()).hexdigest()


def test_a_change_of_files_or_options_builds_anew(tmp_path: Path) -> None:
    folder = tmp_path / "x.npz"
    seen = set()
    for image, when in ((IMAGE, 10), (IMAGE[:-1], 10), (IMAGE[:-1], 20)):
        np.savez(folder, image=image)
        os.utime(folder, (when, when))
        load(str(folder), cache=tmp_path / "cache", progress=False)
        seen.add(len(folders(tmp_path / "cache")))
    load(str(folder), options=DataOptions(channels=3), cache=tmp_path / "cache", progress=False)
    assert seen == {1, 2, 3} and len(folders(tmp_path / "cache")) == 4


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def begin(tally: Tally, progress: bool) -> Contents:
        def chunks():
            yield IMAGE[:5], None
            raise RuntimeError("the power went")

        return Contents((1, 4, 3), 10, (), chunks())

    with pytest.raises(RuntimeError):
        cached(Source("x", "train", "here", (), DataOptions(), begin), tmp_path, progress=False)
    assert folders(tmp_path) == []


def test_no_usable_image_is_one_line(tmp_path: Path) -> None:
    def begin(tally: Tally, progress: bool) -> Contents:
        return Contents((1, 4, 3), 10, (), iter(()))

    with pytest.raises(InputError, match="none of its images"):
        cached(Source("x", "train", "here", (), DataOptions(), begin), tmp_path, progress=False)


SLOW = """
import sys, time, numpy as np
from pathlib import Path
from memogen.data.cache import cached
from memogen.data import DataOptions
from memogen.data.source import Contents, Source
def chunks():
    for _ in range(1000):
        yield np.zeros((1, 1, 4, 3), np.uint8), None
        print("chunk", flush=True)
        time.sleep(0.2)
cached(Source("x", "train", "here", (), DataOptions(), lambda tally, progress: Contents((1, 4, 3), 1000, (), chunks())), Path(sys.argv[1]))
"""


def test_killed_half_way_nothing_looks_complete(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"chunk\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = folders(tmp_path)
    assert left.startswith(".")
    given = Source("x", "train", "here", (), DataOptions(), lambda tally, progress: Contents((1, 4, 3), 5, (), iter([(IMAGE[:5], None)])))
    assert len(cached(given, tmp_path, progress=False)) == 5  # the dead process holds no lock
    old = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / "images" / left, (old, old))
    (complete,) = (name for name in folders(tmp_path) if name != left)
    (tmp_path / "images" / complete / "image.npy").write_bytes(b"damaged")
    assert len(cached(given_again(), tmp_path, progress=False)) == 5 and folders(tmp_path) == [complete]  # mended, and swept


def given_again() -> Source:
    return Source("x", "train", "here", (), DataOptions(), lambda tally, progress: Contents((1, 4, 3), 5, (), iter([(IMAGE[:5], None)])))


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "env"))
    assert cache_root() == tmp_path / "env" and cache_root(tmp_path) == tmp_path
    monkeypatch.delenv("MEMOGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_root() == tmp_path / "xdg" / "memogen"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="MEMOGEN_CACHE"):
        cached(source()[0], tmp_path / "file", progress=False)


def test_cached_arrays_are_read_only(tmp_path: Path) -> None:
    data: ImageData = cached(source()[0], tmp_path, progress=False)
    with pytest.raises(ValueError, match="read-only"):
        data.image[0] = 1


def built(root: Path) -> Path:
    """The folder of a cache of some set."""
    cached(source()[0], root, progress=False)
    (folder,) = (path for path in (root / "images").iterdir() if path.is_dir())
    return folder


def flip(path: Path, place: int) -> None:
    blob = bytearray(path.read_bytes())
    blob[place] ^= 1
    path.write_bytes(blob)


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("image.npy", 20, "image.npy has another header"),
        ("image.npy", 5000, "image.npy holds other pixels"),
        ("image.npy", -1, "image.npy holds other pixels"),
        ("label.npy", -1, "label.npy holds other labels"),
        ("cache.json", 30, "cache.json"),
    ],
)
def test_a_flipped_byte_is_found_and_the_cache_rebuilt(tmp_path: Path, name: str, place: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = built(tmp_path)
    flip(folder / name, place)
    again, reads = source()
    data = cached(again, tmp_path, progress=False)
    told = capsys.readouterr().err
    assert len(reads) == 1 and f"cache: {folder}: damaged ({words}" in told and told.rstrip().endswith("built anew")
    np.testing.assert_array_equal(data.image, IMAGE)
    assert cached(again, tmp_path, progress=False).digest == data.digest and len(reads) == 1


@pytest.mark.parametrize(
    "facts",
    ["[]", "7", "null", "{}", '"a"', "[" * 100_000, '{"shape": 3, "labels": ""}', '{"labelled": true, "shape": [1100, 1, 4, 3], "classes": 5}'],
)
def test_facts_of_another_shape_are_damage(tmp_path: Path, facts: str, capsys: pytest.CaptureFixture[str]) -> None:
    (built(tmp_path) / "cache.json").write_text(facts)
    again, reads = source()
    assert len(cached(again, tmp_path, progress=False)) == 1100 and len(reads) == 1
    assert "damaged (cache.json" in capsys.readouterr().err


def test_facts_that_were_edited_are_damage(tmp_path: Path) -> None:
    path = built(tmp_path) / "cache.json"
    path.write_text(path.read_text().replace('"0"', '"zero"'))
    again, reads = source()
    assert cached(again, tmp_path, progress=False).classes == ("0", "1", "2") and len(reads) == 1


def test_large_caches_are_compared_in_blocks_and_by_a_check_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (2400, 64, 64), dtype=np.uint8)  # 9.4 MiB in 151 blocks, of which 64 are compared
    np.savez(tmp_path / "x.npz", image=pixels)
    data = load(str(tmp_path / "x.npz"), progress=False)
    (folder,) = (path for path in (tmp_path / "cache" / "images").iterdir() if path.is_dir())
    flip(folder / "image.npy", 128 + (1 << 16) + 9)  # in the second block, which no opening reads
    assert load(str(tmp_path / "x.npz"), progress=False).digest == data.digest
    report = check(str(tmp_path / "x.npz"), progress=False)
    assert report.cache == (f"cache: {folder}: damaged (image.npy holds other pixels), removed: the next run builds it anew",)
    assert report.cache[0] in report.text() and not folder.exists()
    np.testing.assert_array_equal(load(str(tmp_path / "x.npz"), progress=False).image[:, 0], pixels)
    assert check(str(tmp_path / "x.npz"), progress=False).cache == ()
