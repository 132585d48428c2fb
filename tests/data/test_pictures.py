"""A zoo of image files: every oddity is handled or counted, and nothing crashes."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memogen.cli import main
from memogen.data import DataOptions, check, images, load
from memogen.data.images import UnusableImage, decode, read_header, shaped
from memogen.types import InputError

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def palette_image(transparency: int | None = None) -> bytes:
    image = Image.new("P", (8, 6))
    image.putdata((RAMP % 3).ravel().tolist())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return encoded(image) if transparency is None else encoded(image, transparency=transparency)


def bomb() -> bytes:
    """A PNG header that claims 60,000 x 60,000 pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", 99) + b"IDAT"


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(np.full((6, 8, 3), level, np.uint8)) for level in (40, 90, 200)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {}))


def turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return encoded(Image.fromarray(COLOUR.transpose(1, 0, 2)), "JPEG", exif=exif)


def rgba(alpha: int) -> bytes:
    return encoded(Image.fromarray(np.concatenate([COLOUR, np.full((6, 8, 1), alpha, np.uint8)], 2)))


GOOD = encoded(Image.fromarray(COLOUR))
SKIPPED = {
    "empty.png": (b"", "empty file"),
    "text.png": (b"no image at all", "not readable as an image"),
    "cut.png": (encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)))[:-40], "truncated"),
    "cut.jpg": (encoded(Image.fromarray(COLOUR), "JPEG", quality=98)[:-40], "truncated"),
    "pixel.png": (encoded(Image.new("RGB", (1, 1))), "too small (one pixel high or wide)"),
    "line.png": (encoded(Image.new("RGB", (8, 1))), "too small (one pixel high or wide)"),
    "bomb.png": (bomb(), "more than 89 million pixels"),
    "nan.tiff": (encoded(Image.fromarray(np.full((6, 8), np.nan, np.float32)), "TIFF"), "floating-point values beyond 0..255"),
}
KEPT = {
    "plain.png": (GOOD, None),
    "grey.png": (encoded(Image.fromarray(RAMP)), None),
    "bits.png": (encoded(Image.fromarray(RAMP > 99)), None),
    "opaque.png": (rgba(255), None),
    "glass.png": (rgba(100), "transparent parts put on white"),
    "grey-glass.png": (encoded(Image.fromarray(RAMP).convert("LA")), None),
    "cmyk.jpg": (encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"), "CMYK converted to RGB"),
    "deep.png": (encoded(Image.fromarray(RAMP.astype(np.uint16) * 257)), "16-bit grey scaled to 8 bit"),
    "float.tiff": (encoded(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"), "floating-point grey scaled to 8 bit"),
    "palette.png": (palette_image(), "palette expanded"),
    "palette-glass.png": (palette_image(transparency=1), "transparent parts put on white"),
    "moving.gif": (animated("GIF"), "animated, first frame taken"),
    "moving.webp": (animated("WEBP"), "animated, first frame taken"),
    "turned.jpg": (turned(), "turned upright as its EXIF data says"),
}


def pixels(blob: bytes, channels: int = 3) -> tuple[np.ndarray, tuple[str, ...]]:
    image, notes = decode(io.BytesIO(blob))
    return shaped(image, DataOptions(), channels), notes


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    for name, (blob, _) in {**SKIPPED, **KEPT}.items():
        (folder / name).write_bytes(blob)
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize("name", SKIPPED)
def test_unusable_images_have_a_reason(name: str) -> None:
    with pytest.raises(UnusableImage) as caught:
        decode(io.BytesIO(SKIPPED[name][0]))
    assert str(caught.value) == SKIPPED[name][1] or name == "empty.png"


@pytest.mark.parametrize("name", KEPT)
def test_odd_images_are_kept_and_say_what_changed(name: str) -> None:
    blob, note = KEPT[name]
    assert pixels(blob)[0].shape == (3, 6, 8)
    assert (note in pixels(blob)[1]) if note else not pixels(blob)[1]
    header = read_header(io.BytesIO(blob))
    assert (header.height, header.width) == (6, 8)


def test_pixel_values_survive() -> None:
    np.testing.assert_array_equal(pixels(GOOD)[0].transpose(1, 2, 0), COLOUR)
    for name in ("grey.png", "deep.png", "float.tiff", "grey-glass.png"):
        np.testing.assert_array_equal(pixels(KEPT[name][0], 1)[0][0], RAMP, err_msg=name)
        assert read_header(io.BytesIO(KEPT[name][0])).grey
    for name in ("moving.gif", "moving.webp"):
        assert np.abs(pixels(KEPT[name][0])[0].astype(int) - 40).max() <= 1
    glass = np.rint(COLOUR * (100 / 255) + 255 * (155 / 255)).transpose(2, 0, 1)
    assert np.abs(pixels(KEPT["glass.png"][0])[0] - glass).max() <= 1
    shown = pixels(KEPT["palette-glass.png"][0])[0].transpose(1, 2, 0)
    assert (shown[RAMP % 3 == 1] == 255).all() and (shown[RAMP % 3 == 0] == [255, 0, 0]).all()


def test_16_bit_is_divided_by_257_and_rounded() -> None:
    wide = np.array([[0, 128, 129, 257, 65535, 65406, 32768, 385]], np.uint16).repeat(2, 0)
    assert pixels(encoded(Image.fromarray(wide)), 1)[0][0, 0].tolist() == [0, 0, 1, 1, 255, 254, 128, 1]


def test_a_grey_palette_is_grey() -> None:
    image = Image.fromarray(RAMP // 128)
    image.putpalette([10, 10, 10, 200, 200, 200])
    assert read_header(io.BytesIO(encoded(image))).grey
    assert set(np.unique(pixels(encoded(image), 1)[0])) == {10, 200}


def test_the_zoo_loads_after_one_report(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load(str(zoo), options=DataOptions(size=(6, 8), fit="resize"), cache=tmp_path / "cache", progress=False)
    assert data.image.shape == (len(KEPT), 3, 6, 8) and data.label is None and data.image.dtype == np.uint8
    report = capsys.readouterr().err
    assert f"{len(KEPT)} images read, {len(SKIPPED)} skipped, 1 other files ignored" in report
    for name, (_, reason) in {**SKIPPED, **KEPT}.items():
        assert reason is None or (reason in report and name in report)
    np.testing.assert_array_equal(data.image[sorted(KEPT).index("plain.png")].transpose(1, 2, 0), COLOUR)
    load(str(zoo), options=DataOptions(size=(6, 8), fit="resize"), cache=tmp_path / "cache", progress=False)
    assert capsys.readouterr().err == ""  # said once


def test_every_broken_file_is_named_by_a_check_and_some_by_a_loading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "my pictures"
    place.mkdir()
    (place / "whole.png").write_bytes(GOOD)
    names = [f"broken-{number}.png" for number in range(8)]
    for name in names:
        (place / name).write_bytes(b"x")
    load(str(place), cache=tmp_path / "cache", progress=False)
    told = capsys.readouterr().err
    assert "8 (broken-0.png" in told and names[-1] not in told
    assert f"memogen data check --data '{place}'" in told
    assert main(["data", "check", str(place)]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in names) and "memogen data check" not in told


def test_check_counts_without_a_cache(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOGEN_CACHE", str(tmp_path / "cache"))
    (zoo / "large.png").write_bytes(encoded(Image.new("L", (20, 30))))
    report = check(str(zoo), progress=False)
    assert report.kept == len(KEPT) + 1 and sum(finding.count for finding in report.skipped.values()) == len(SKIPPED)
    assert report.sizes["30 x 20"] == 1 and report.modes["CMYK"] == 1 and report.ignored.count == 1
    assert any("several sizes" in problem for problem in report.problems) and "large.png" not in report.text()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("sizes", "options", "problem"),
    [
        ([(6, 8), (6, 8)], DataOptions(), None),
        ([(6, 8), (8, 6)], DataOptions(), "several sizes"),
        ([(6, 8), (8, 6)], DataOptions(size=4, fit="crop"), None),
        ([(6, 8), (8, 6)], DataOptions(size=4), "several sizes"),
        ([(6, 8), (6, 8)], DataOptions(size=4), "images are 6 x 8, but the size asked for is 4 x 4"),
        ([(6, 8), (6, 8)], DataOptions(size=(6, 8)), None),
        ([(6, 8), (6, 8)], DataOptions(size=4, centre=4), None),
    ],
)
def test_sizes_are_a_problem_where_training_would_refuse_them(
    sizes: list[tuple[int, int]], options: DataOptions, problem: str | None, tmp_path: Path
) -> None:
    place = make(tmp_path / "set", {f"{number}.png": size for number, size in enumerate(sizes)})
    (place / "broken.png").write_bytes(b"no picture")
    report = check(str(place), options=options, progress=False)
    assert report.problems == () if problem is None else problem in report.problems[0]
    if problem is None:
        data = load(str(place), options=options, cache=tmp_path / "cache", progress=False)
        assert report.trained == data.image_shape[1:] and report.kept == len(data) == 2
        assert f"as trained: 2 images of {report.trained[0]} x {report.trained[1]}, 1 left out" in report.text()
    else:
        assert report.trained is None and "as trained" not in report.text()
        with pytest.raises(InputError):
            load(str(place), options=options, cache=tmp_path / "cache", progress=False)


def make(folder: Path, files: dict[str, tuple[int, int]]) -> Path:
    """Grey images of (height, width), each filled with its place in the sorted list."""
    for place, name in enumerate(sorted(files)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(files[name], place, np.uint8)).save(folder / name)
    return folder


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
        archive.writestr("__MACOSX/._a.png", b"junk")
    return path


def test_mixed_sizes_are_one_line_that_names_the_way_out(tmp_path: Path) -> None:
    folder = make(tmp_path / "mix", {"a.png": (4, 4), "b.png": (4, 4), "c.png": (5, 6), "d.png": (7, 3), "e.png": (9, 9)})
    with pytest.raises(InputError) as caught:
        load(str(folder), cache=tmp_path / "cache", progress=False)
    message = str(caught.value)
    assert "4 x 4 (2)" in message and "1 more size" in message and 'size=4 with fit="resize" or fit="crop"' in message and "\n" not in message
    with pytest.raises(InputError, match='not 8 x 8: give fit="resize"'):
        load(str(folder), options=DataOptions(size=8), cache=tmp_path / "cache", progress=False)
    assert not list((tmp_path / "cache").glob("images/[!.]*"))  # nothing that looks complete


@pytest.mark.parametrize("as_zip", [False, True])
def test_sub_folders_are_classes(tmp_path: Path, as_zip: bool) -> None:
    place = make(tmp_path / "set", {"cat/deep/2.png": (4, 4), "cat/10.png": (4, 4), "dog/1.png": (4, 4), "ant/1.png": (4, 4)})
    if as_zip:
        place = zipped(place, tmp_path / "set.zip", prefix="wrapped/set/")
    data = load(str(place), cache=tmp_path / "cache", progress=False)
    assert data.classes == ("ant", "cat", "dog") and data.label is not None and data.label.tolist() == [0, 1, 1, 2]
    assert data.image[:, 0, 0, 0].tolist() == [0, 1, 2, 3] and data.name == "set"
    with pytest.raises(InputError, match="has train"):
        load(str(place), split="test", cache=tmp_path / "cache", progress=False)


def test_numbers_as_class_names_sort_as_numbers(tmp_path: Path) -> None:
    data = load(str(make(tmp_path / "set", {f"{k}/x.png": (3, 3) for k in (0, 2, 10)})), cache=tmp_path / "cache", progress=False)
    assert data.classes == ("0", "2", "10")


@pytest.mark.parametrize("files", [["a.png", "b.png"], ["one/a.png", "one/b.png"], ["a.png", "sub/b.png"]])
def test_without_classes_there_are_no_labels(tmp_path: Path, files: list[str]) -> None:
    data = load(str(make(tmp_path / "set", dict.fromkeys(files, (3, 3)))), cache=tmp_path / "cache", progress=False)
    assert data.label is None and data.classes == () and len(data) == 2


def test_split_folders_share_their_classes(tmp_path: Path) -> None:
    names = ["train/cat/1.png", "train/dog/1.png", "train/owl/1.png", "val/owl/1.png", "test/dog/1.png", "test/owl/1.png"]
    place = str(make(tmp_path / "set", dict.fromkeys(names, (3, 3))))
    labels = {split: load(place, split=split, cache=tmp_path / "cache", progress=False) for split in ("train", "valid", "test")}
    assert all(data.classes == ("cat", "dog", "owl") for data in labels.values())
    assert [data.label.tolist() for data in labels.values() if data.label is not None] == [[0, 1, 2], [2], [1, 2]]


def test_fitting(tmp_path: Path) -> None:
    image = np.zeros((10, 20), np.uint8)
    image[:, 5:15] = 255  # a white square in the middle
    (tmp_path / "set").mkdir()
    Image.fromarray(image).save(tmp_path / "set/a.png")

    def fitted(options: DataOptions) -> np.ndarray:
        return load(str(tmp_path / "set"), options=options, cache=tmp_path / "cache", progress=False).image[0]

    assert (fitted(DataOptions(size=10, fit="crop")) == 255).all()
    assert fitted(DataOptions(size=10, fit="resize", filter="box"))[0, 0].tolist() == [0, 0, 128, 255, 255, 255, 255, 128, 0, 0]
    assert fitted(DataOptions(centre=8)).shape == (1, 8, 8)
    assert fitted(DataOptions(channels=3)).shape == (3, 10, 20)
    assert (fitted(DataOptions(size=(6, 4), centre=10, fit="resize")) == 255).all()


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"size": (3, 1)}, {"fit": "resize"}, {"fit": "crop"}, {"centre": -1}],
)
def test_options_are_checked(options: dict) -> None:
    with pytest.raises(InputError):
        DataOptions(**options)


@pytest.mark.parametrize("kind", ["empty", "only text", "only broken", "missing", "a text file", "a broken zip"])
def test_unusable_places_are_one_line(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind not in ("missing", "a text file", "a broken zip"):
        place.mkdir()
    if kind == "only text":
        (place / "readme.txt").write_text("hello")
    if kind == "only broken":
        (place / "a.png").write_bytes(b"x")
    if kind in ("a text file", "a broken zip"):
        place = place.with_suffix(".zip" if "zip" in kind else ".txt")
        place.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError) as caught:
        load("folder", folder=place, cache=tmp_path / "cache", progress=False)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)
    found = {"empty": "found nothing", "only text": "found readme.txt", "only broken": "none of its image files"}
    assert found.get(kind, "") in str(caught.value)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    place = make(tmp_path / "set", {"a.png": (3, 3)})
    (place / "again").symlink_to(place)
    (place / "gone.png").symlink_to(tmp_path / "nowhere.png")
    data = load(str(place), cache=tmp_path / "cache", progress=False)
    assert len(data) == 1


def test_a_locked_zip_is_counted(tmp_path: Path) -> None:
    path = zipped(make(tmp_path / "set", {"a.png": (3, 3), "b.png": (3, 3)}), tmp_path / "set.zip")
    raw = bytearray(path.read_bytes())
    for start in (raw.find(b"PK\x03\x04") + 6, raw.find(b"PK\x01\x02") + 8):
        raw[start] |= 1  # says that its first member is encrypted
    path.write_bytes(raw)
    report = check(str(path), progress=False)
    assert report.kept == 1 and report.skipped["cannot be opened"].count == 1


def test_a_jpeg_turned_by_exif_data_behind_its_size_is_upright() -> None:
    """EXIF data usually come first, but need not."""
    turned, blob = Image.Exif(), io.BytesIO()
    turned[274] = 6
    Image.new("RGB", (37, 21)).save(blob, "JPEG", exif=turned)
    parts, rest = [b"\xff\xd8"], blob.getvalue()[2:]
    while rest[1] != 0xDA:
        length = 2 + int.from_bytes(rest[2:4])
        parts, rest = [*parts, rest[:length]], rest[length:]
    exif = next(part for part in parts if part[1] == 0xE1)
    blob = io.BytesIO(b"".join([*(part for part in parts if part is not exif), exif, rest]))
    header = read_header(blob)
    blob.seek(0)
    assert decode(blob)[0].size == (header.width, header.height) == (21, 37)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"exif": 6}, {"exif": 1, "comment": b"\xff\xc0" * 40}, {"comment": b"\xff\xc0" * 2000}])
def test_a_jpeg_has_the_header_that_pillow_reads(mode: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also turned by EXIF data, and where a comment looks like a header or is longer than what is read at first."""
    turned = Image.Exif()
    turned[274] = how.get("exif", 1)
    more = {**how, "exif": turned} if "exif" in how else how
    blob = io.BytesIO()
    Image.new(mode, (37, 21)).save(blob, "JPEG", **more)
    found = []
    for first in (images._FIRST_BYTES, 0):
        monkeypatch.setattr(images, "_FIRST_BYTES", first)
        blob.seek(0)
        found.append(read_header(blob))
    assert found[0] == found[1]
    assert (found[0].height, found[0].width) == ((37, 21) if how.get("exif") == 6 else (21, 37))
    assert (found[0].mode, found[0].grey) == (mode, mode == "L")
