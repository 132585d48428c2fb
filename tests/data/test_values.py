"""One rule from numbers to pixels, whatever door they come by."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from memogen.data import DataOptions, check, from_arrays, from_dataset, load
from memogen.data.images import decode, read_header
from memogen.types import ImageData, InputError

RNG = np.random.default_rng(0)
BINARY = RNG.integers(0, 2, (6, 8, 8), dtype=np.uint8)
WORDS = np.linspace(0, 65535, 6 * 64).astype(np.uint16).reshape(6, 8, 8)


class Listed(Dataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int):
        return self.items[row]


def png16(array: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16-bit values (h, w, c), which Pillow can read but not write in colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def opened(place: Path, tmp_path: Path, **options) -> ImageData:
    return load(str(place), cache=tmp_path / "cache", progress=False, **options)


def by_every_door(images: list[Image.Image], tmp_path: Path, options: DataOptions = DataOptions()) -> dict[str, np.ndarray]:  # noqa: B008
    """The same pictures from a folder, a zip and a torch data set."""
    folder = tmp_path / "set"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number, image in enumerate(images):
            image.save(folder / f"{number}.png")
            archive.write(folder / f"{number}.png", f"{number}.png")
    found = {"folder": opened(folder, tmp_path, options=options), "zip": opened(tmp_path / "set.zip", tmp_path, options=options)}
    if options == DataOptions():
        found["torch"] = from_dataset(Listed(images))
    return {name: data.image for name, data in found.items()}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64])
def test_zero_and_one_are_black_and_white_in_every_type(dtype: type) -> None:
    np.testing.assert_array_equal(from_arrays(BINARY.astype(dtype)).image[:, 0], BINARY * 255)
    np.testing.assert_array_equal(from_arrays(BINARY.reshape(6, -1).astype(dtype)).image[:, 0, 0], BINARY.reshape(6, -1) * 255)
    items = [torch.from_numpy(one) for one in BINARY.astype(dtype)]
    np.testing.assert_array_equal(from_dataset(Listed(items)).image[:, 0], BINARY * 255)


def test_zero_and_one_are_black_and_white_in_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "set.npz", image=BINARY)
    doors = by_every_door([Image.fromarray(one) for one in BINARY], tmp_path)
    assert "whole numbers 0 and 1 taken for black and white: 6" in capsys.readouterr().err
    doors["npz"] = opened(tmp_path / "set.npz", tmp_path).image
    for name, image in doors.items():
        np.testing.assert_array_equal(image[:, 0], BINARY * 255, err_msg=name)


def test_binary_pictures_are_scaled_after_they_became_white(tmp_path: Path) -> None:
    """A mean of black and white is grey, not black."""
    small = DataOptions(4, "resize", filter="box")
    np.savez(tmp_path / "set.npz", image=BINARY)
    doors = by_every_door([Image.fromarray(one) for one in BINARY], tmp_path, small)
    doors["npz"] = opened(tmp_path / "set.npz", tmp_path, options=small).image
    mean = BINARY.reshape(6, 4, 2, 4, 2).mean((2, 4)) * 255
    for name, image in doors.items():
        assert np.abs(image[:, 0] - mean).max() <= 1, name


def test_one_dark_picture_does_not_change_what_is_white(tmp_path: Path) -> None:
    pictures = [np.full((4, 4), level, np.uint8) for level in (0, 1, 200)]
    for name, image in by_every_door([Image.fromarray(one) for one in pictures], tmp_path).items():
        assert image[:, 0, 0, 0].tolist() == [0, 1, 200], name
    assert from_arrays(np.stack(pictures)).image[:, 0, 0, 0].tolist() == [0, 1, 200]


@pytest.mark.parametrize("mode", ["I;16", "LA", "RGBA", "L and RGB", "P", "1", "CMYK"])
def test_a_torch_data_set_is_read_as_a_folder_of_the_same_pictures(tmp_path: Path, mode: str) -> None:
    grey = [Image.fromarray((one // 257).astype(np.uint8)) for one in WORDS]
    clear = [np.dstack([np.zeros((8, 8, 3), np.uint8), np.asarray(one)]) for one in grey]
    cases = {"I;16": [Image.fromarray(one) for one in WORDS], "RGBA": [Image.fromarray(one) for one in clear]}
    cases["L and RGB"] = [*grey[:3], *(one.convert("RGB") for one in grey[3:])]
    images = cases.get(mode) or [one.convert(mode) for one in grey]
    if mode == "CMYK":
        (tmp_path / "set").mkdir()
        for number, one in enumerate(images):
            one.save(tmp_path / "set" / f"{number}.tiff")
        doors = {"folder": opened(tmp_path / "set", tmp_path).image, "torch": from_dataset(Listed(images)).image}
    else:
        doors = by_every_door(images, tmp_path)
    for name, image in doors.items():
        np.testing.assert_array_equal(image, doors["folder"], err_msg=name)
    if mode == "I;16":
        np.testing.assert_array_equal(doors["torch"][:, 0], (WORDS.astype(int) + 128) // 257)
    if mode == "RGBA":
        assert np.abs(doors["torch"][:, 0].astype(int) - (255 - WORDS // 257)).max() <= 1, "black seen through to white"


@pytest.mark.parametrize("most", [700, 1023, 4095])
def test_a_few_bits_of_sixteen_are_refused(tmp_path: Path, most: int) -> None:
    dark = (WORDS.astype(np.int64) * most // 65535).astype(np.uint16)
    images = [Image.fromarray(one) for one in dark]
    for number, one in enumerate(images):
        one.save(tmp_path / f"{number}.png")
    sources = [lambda: opened(tmp_path, tmp_path / "c"), lambda: from_dataset(Listed(images)), lambda: from_arrays(dark)]
    for source in sources:
        with pytest.raises(InputError, match=rf"no more than {most:,} of 65,535.*nearly black: multiply") as caught:
            source()
        assert "\n" not in str(caught.value)
    (problem,) = check(str(tmp_path), progress=False).problems
    assert f"no more than {most:,}" in problem


def test_sixteen_bits_that_hold_eight_are_eight(tmp_path: Path) -> None:
    byte = (WORDS // 257).astype(np.uint16)
    for name, image in by_every_door([Image.fromarray(one) for one in byte], tmp_path).items():
        np.testing.assert_array_equal(image[:, 0], byte, err_msg=name)
    np.testing.assert_array_equal(from_arrays(byte).image[:, 0], byte)


def test_sixteen_bits_as_an_array_are_scaled_like_pictures() -> None:
    np.testing.assert_array_equal(from_arrays(WORDS).image[:, 0], (WORDS.astype(int) + 128) // 257)


def test_dark_pictures_are_told(tmp_path: Path) -> None:
    for number, one in enumerate(WORDS // 4):  # 14 bits
        Image.fromarray(one).save(tmp_path / f"{number}.png")
    report = check(str(tmp_path), progress=False)
    assert report.brightest == 64 and "dark: no pixel is brighter than 64 of 255" in report.text() and not report.problems
    np.savez(tmp_path / "bright.npz", image=BINARY)
    assert "dark:" not in check(str(tmp_path / "bright.npz"), progress=False).text()


def test_colours_of_sixteen_bits() -> None:
    array = RNG.integers(0, 65536, (8, 8, 4), dtype=np.uint16)
    for colour_type, channels in ((2, 3), (6, 4)):
        blob = png16(array[..., :channels], colour_type)
        image, notes = decode(io.BytesIO(blob))
        assert image.mode == "RGB" and "16-bit colours cut to 8 bit" in notes
        if channels == 3:
            assert np.abs(np.asarray(image) - array[..., :3] / 257).max() <= 1
    opaque = np.dstack([array[..., 0], np.full((8, 8), 65535)])
    blob = png16(opaque, 4)
    assert read_header(io.BytesIO(blob)).grey and decode(io.BytesIO(blob))[0].mode == "L"


def test_dark_colours_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png16(RNG.integers(0, 4096, (8, 8, 3), dtype=np.uint16), 2))
    with pytest.raises(InputError, match=r"16-bit colours that reach no more than 4,095"):
        opened(tmp_path, tmp_path / "c")


def test_floats_of_a_folder_have_one_range(tmp_path: Path) -> None:
    for number, level in enumerate((0.5, 200.0)):
        Image.fromarray(np.full((4, 4), level, np.float32)).save(tmp_path / f"{number}.tiff")
    report = check(str(tmp_path), progress=False)
    assert report.kept == 1 and "neither whole numbers nor within [0, 1]" in next(iter(report.skipped)), "0.5 of 255 is no grey of 128"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_every_format_is_turned_upright(kind: str) -> None:
    ramp = np.repeat(np.arange(16, dtype=np.uint8)[None] * 16, 24, 0)
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    out = io.BytesIO()
    try:
        Image.fromarray(np.dstack([ramp] * 3)).save(out, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    header, (image, notes) = read_header(io.BytesIO(out.getvalue())), decode(io.BytesIO(out.getvalue()))
    assert (header.height, header.width) == (image.height, image.width) == (16, 24)
    assert np.abs(np.asarray(image)[..., 0].astype(int) - np.rot90(ramp, -1)).max() <= 6
    assert kind == "TIFF" or "turned upright as its EXIF data says" in notes


def test_types_are_not_mixed_in_a_torch_data_set() -> None:
    with pytest.raises(InputError, match="several types, bool, uint8: give all in one"):
        from_dataset(Listed([torch.ones(1, 4, 4, dtype=torch.bool), torch.full((1, 4, 4), 200, dtype=torch.uint8)]))


def test_image_data_in_a_torch_loader() -> None:
    images = RNG.integers(0, 256, (7, 3, 4, 4), dtype=np.uint8)
    data = from_arrays(images, np.arange(7))
    image, label = data[3]
    assert image.dtype == torch.uint8 and label == 3 and isinstance(label, int)
    np.testing.assert_array_equal(image, images[3])
    image[:] = 0  # a copy
    np.testing.assert_array_equal(data.image, images)
    batches = list(DataLoader(data, batch_size=3))
    assert [len(batch[0]) for batch in batches] == [3, 3, 1] and torch.cat([batch[1] for batch in batches]).tolist() == list(range(7))
    assert from_dataset(DataLoader(data, batch_size=3)).digest == data.digest
    plain = from_arrays(images)
    assert len(plain[0]) == 1 and from_dataset(DataLoader(plain)).digest == plain.digest
    assert len(list(data)) == 7, "the old way to iterate ends"


def test_cached_image_data_in_a_torch_loader(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    data = load("digits", cache=tmp_path, progress=False)
    image, label = next(iter(DataLoader(data, batch_size=5, shuffle=True)))
    assert image.shape == (5, 1, 8, 8) and image.dtype == torch.uint8 and label.dtype == torch.int64 and not recwarn.list
