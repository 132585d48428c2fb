"""npz and zip files that lie: nothing is unpickled, nothing is believed, and each ends in one line."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.data import check, files, load
from memogen.data.arrays import npz_splits, read_npz
from memogen.data.readers import read_idx, read_letters
from memogen.types import InputError


class Evil:
    def __reduce__(self):
        return eval, ("open('/nonexistent-marker', 'w')",)


def npy(header: bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + body


def head(descr: str, shape: str) -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def pickled() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Evil()], dtype=object), allow_pickle=True)
    return out.getvalue()


MEMBERS = {
    "no array": (b"hello", "magic string"),
    "objects": (pickled(), "values of type object, not numbers"),
    "3.7 TiB": (npy(head("'<f8'", "(1000000, 1, 720, 720)")), "its header promises 4,147,200,000,000 bytes, there are 0"),
    "a shape that overflows": (npy(head("'|u1'", f"({2**62}, 4)")), "promises"),
    "a negative shape": (npy(head("'|u1'", "(-1, -4)"), bytes(4)), "promises"),
    "no tuple": (npy(head("'|u1'", "7"), bytes(7)), "header is damaged"),
    "deep brackets": (npy(b"(" * 9000 + b"\n"), "header is damaged"),
    "a long header": (npy(head("'|u1'", "(1,)").ljust(60000)), "header is damaged"),
    "5,000 digits": (npy(head("'|u1'", f"({'9' * 5000},)")), "header is damaged"),
    "texts": (npy(head("'<U4'", "(2, 2)"), bytes(64)), "not numbers"),
    "records": (npy(head("[('a', '<f8')]", "(2, 2)"), bytes(32)), "not numbers"),
    "a later format": (npy(head("'|u1'", "(2, 2)"), bytes(4), b"\x03\x00"), "format 3.0"),
    "cut": (npy(head("'|u1'", "(2, 2)"), bytes(3)), "promises 4 bytes, there are 3"),
    "too long": (npy(head("'|u1'", "(2, 2)"), bytes(5)), "promises 4 bytes, there are 5"),
}


@pytest.mark.parametrize("kind", MEMBERS)
@pytest.mark.parametrize("key", ["image.npy", "label.npy", "image"])
def test_members_that_are_no_plain_arrays(tmp_path: Path, kind: str, key: str) -> None:
    content, words = MEMBERS[kind]
    good = npy(head("'|u1'", "(2, 3, 3)"), bytes(range(18)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(key, content)
        if key == "label.npy":
            archive.writestr("image.npy", good)
    with pytest.raises(InputError) as caught:
        read_npz(tmp_path / "a.npz", "train")
    assert words in str(caught.value) and "\n" not in str(caught.value) and f"{key.removesuffix('.npy')} cannot be read" in str(caught.value)
    assert check(str(tmp_path / "a.npz"), progress=False).problems == (str(caught.value),)


@pytest.mark.parametrize("kind", ["image.npy", "big.png", "letter.data", "idx"])
def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What unpacks to more than memory holds is refused before it is unpacked, as far as it says so itself; else in time."""
    import gzip

    for module in ("arrays", "readers"):
        monkeypatch.setattr(f"memogen.data.{module}.most_bytes", lambda: 1 << 20)
    if kind == "image.npy":
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("image.npy", npy(head("'|u1'", "(2048, 32, 32)"), bytes(1 << 21)))
        with pytest.raises(InputError, match="2,097,152 bytes are more than memory holds"):
            read_npz(tmp_path / "a.npz", "train")
    elif kind == "big.png":
        monkeypatch.setattr("memogen.data.pictures._MOST_BYTES", 1 << 20)
        out = io.BytesIO()
        Image.new("L", (4, 4)).save(out, "PNG")
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", out.getvalue())
            archive.writestr("b.png", out.getvalue() + bytes(1 << 21))
        report = check(str(tmp_path / "a.zip"), progress=False)
        assert report.kept == 1 and report.skipped["more than a gigabyte"].files == ("b.png",)
    elif kind == "letter.data":
        (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(1 << 21)))
        with pytest.raises(InputError, match="unpacks to more than 1,048,576 bytes"):
            read_letters(tmp_path / "a.gz")
    else:
        (tmp_path / "a").write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 1 << 21) + bytes(1 << 21)))
        with pytest.raises(InputError, match="header is damaged"):
            read_idx(tmp_path / "a")


def test_memory_bounds_what_is_believed() -> None:
    assert 1 << 28 < files.most_bytes() <= 1 << 34


def test_damaged_archives(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", image=np.arange(27).reshape(3, 3, 3))
    whole = (tmp_path / "a.npz").read_bytes()
    for name, blob in {"cut": whole[:-30], "flipped": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:], "none": b"PK"}.items():
        for suffix in ("npz", "zip"):
            path = tmp_path / f"{name}.{suffix}"
            path.write_bytes(blob)
            with pytest.raises(InputError) as caught:
                load(str(path), cache=tmp_path / "cache", progress=False)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_splits_named_before_the_key(tmp_path: Path) -> None:
    """The splits that are found are those that can be read."""
    np.savez(tmp_path / "a.npz", train_images=np.full((2, 3, 3), 9, np.uint8), test_images=np.full((1, 3, 3), 9, np.uint8))
    assert npz_splits(tmp_path / "a.npz") == ("train", "test")
    assert len(read_npz(tmp_path / "a.npz", "test")[0]) == 1


def test_a_suffix_in_capitals(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.full((2, 3, 3), 9, np.uint8))
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert len(load(str(tmp_path / "A.NPZ"), cache=tmp_path / "cache", progress=False)) == 2


def test_a_folder_may_be_called_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "a.npz" / "a.png")
    assert len(load(str(tmp_path / "a.npz"), cache=tmp_path / "cache", progress=False)) == 1


def test_a_png_whose_pixels_are_damaged_is_left_out(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8))
    for name in ("a", "b"):
        image.save(tmp_path / f"{name}.png")
    blob = bytearray((tmp_path / "b.png").read_bytes())
    place = blob.find(b"IDAT") + 30
    blob[place] ^= 1
    (tmp_path / "b.png").write_bytes(blob)
    assert check(str(tmp_path), progress=False).kept == 1


def test_a_zip_member_without_a_name_is_no_image(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("L", (4, 4)).save(out, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", out.getvalue())
        archive.writestr("x", b"")
    blob = (tmp_path / "a.zip").read_bytes()
    place = blob.rfind(b"PK\x01\x02")
    whole = blob[: place + 28] + b"\0\0" + blob[place + 30 : place + 46] + blob[place + 47 :]
    end = whole.rfind(b"PK\x05\x06")
    size = int.from_bytes(whole[end + 12 : end + 16], "little") - 1
    (tmp_path / "a.zip").write_bytes(whole[: end + 12] + struct.pack("<I", size) + whole[end + 16 :])
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["a.png", ""]
    assert check(str(tmp_path / "a.zip"), progress=False).kept == 1
