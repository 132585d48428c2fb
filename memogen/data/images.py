"""One picture file to uint8 pixels of the shape asked for. Every change is named, and an unusable file is refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from typing import IO, Literal, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from memogen.data.values import Kind, Values, WrongRange, to_bytes, white_of
from memogen.types import InputError, check_seed

MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs: a quarter of a gigabyte at three bytes a pixel
_ORIENTATION = 274  # the EXIF tag
_REDUCED = 2  # a JPEG may be decoded at a half, a quarter or an eighth of its size that is at least so many times the wanted one
_GREY = ("1", "L", "LA", "La", "I", "F")
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


MOST_PIXELS = 2048
"""The longest side of an image after reading: hundreds of them are in memory at once."""


@dataclass(frozen=True)
class DataOptions:
    """How images are brought to one shape, and which of them a split holds.

    ``size`` is (height, width) or one number for both; None keeps the size of the files, which must then be the same for all.
    ``fit`` says what happens to an image of another size: "error" refuses it, "resize" scales it (the aspect ratio may change), "crop" scales it
    until it covers ``size`` and cuts out the middle. ``channels`` "auto" gives 3 as soon as one image has colour.
    ``centre`` first cuts a square of that many pixels out of the middle of every image; 0: no cut. ``split_seed`` draws the test images of
    a set that was published without a split. ``long_tail``: class k of the training split keeps this share, to the power of k, of its
    images; 1 keeps all. ``test_share``: the share of a user's own images that is held out to test, where they have no test split; the pixels of an
    image decide on which side it lies.
    """

    size: int | tuple[int, int] | None = None
    fit: Literal["error", "resize", "crop"] = "error"
    channels: Literal["auto", 1, 3] = "auto"
    filter: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "lanczos"
    centre: int = 0
    split_seed: int = 0
    long_tail: float = 1.0
    test_share: float = 0.0

    def __post_init__(self) -> None:
        if self.target and (len(self.target) != 2 or min(self.target) < 2):
            raise InputError(f"size: {self.size}: give one number or (height, width), each at least 2")
        if self.target and max(self.target) > MOST_PIXELS:
            raise InputError(f"size: {self.size}: give sides of {MOST_PIXELS} pixels at most")
        if self.fit not in ("error", "resize", "crop"):
            raise InputError(f"fit: {self.fit!r}: choose error, resize or crop")
        if self.fit != "error" and self.size is None:
            raise InputError(f"fit: {self.fit!r} without a size: give size as well, for instance size=64")
        if self.channels not in ("auto", 1, 3):
            raise InputError(f"channels: {self.channels!r}: choose auto, 1 or 3")
        if self.filter not in ("nearest", "box", "bilinear", "bicubic", "lanczos"):
            raise InputError(f"filter: {self.filter!r}: choose nearest, box, bilinear, bicubic or lanczos")
        check_seed(self.split_seed, "split_seed")
        if self.centre < 0:
            raise InputError(f"centre: {self.centre}: give a number of pixels, or 0 for none")
        if not 0 < self.long_tail <= 1:
            raise InputError(f"long_tail: {self.long_tail}: give a share above 0, for instance 0.6, or 1 to keep all images")
        if not 0 <= self.test_share < 1:
            raise InputError(f"test_share: {self.test_share}: give a share below 1, for instance 0.1, or 0 for no test split")

    @property
    def target(self) -> tuple[int, int] | None:
        """(height, width), or None for the size of the files."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


class UnusableImage(Exception):  # noqa: N818  the image is at fault
    """An image file that is left out; the message is the reason under which it is counted."""


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded: its upright size, whether it is grey, Pillow's name of its mode, and its kind of values."""

    height: int
    width: int
    grey: bool
    mode: str
    kind: Kind


def read_header(file: BufferedIOBase) -> Header:
    """Raises UnusableImage."""
    try:
        if (header := _jpeg_header(file.read(_FIRST_BYTES))) is not None:
            return header
        file.seek(0)
        with _open(file) as image:
            width, height = (image.height, image.width) if _orientation(image) >= 5 else image.size
            return Header(height, width, _is_grey(image), image.mode, _kind(image))
    except Exception as error:  # Pillow raises nearly every type of error on damaged files
        raise _unusable(error) from error


_FIRST_BYTES = 2048
_FRAMES, _SCAN = (0xC0, 0xC1, 0xC2), 0xDA  # markers
_PLAIN = (0xC4, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE)  # tables, JFIF, Adobe and comments, which tell nothing of the header


def _jpeg_header(first: bytes) -> Header | None:
    """The header of a plain JPEG from its first bytes, five times as fast as Pillow reads it. None for all others: with EXIF data, of another kind,
    with a longer beginning, or of a size to be refused. EXIF data may follow the size, so that everything before the pixels is looked at.
    """
    place, header = 2, None
    while first[:2] == b"\xff\xd8" and len(first) >= place + 10 and first[place] == 0xFF:
        marker, length = first[place + 1], int.from_bytes(first[place + 2 : place + 4])
        if marker == _SCAN:
            return header
        if marker in _FRAMES and header is None:
            height, width = (int.from_bytes(first[start : start + 2]) for start in (place + 5, place + 7))
            mode = {1: "L", 3: "RGB"}.get(first[place + 9])
            if first[place + 4] != 8 or mode is None or min(height, width) < 2 or height * width > MAX_PIXELS:
                return None
            header = Header(height, width, mode == "L", mode, "byte")
        elif marker not in _PLAIN or length < 2:
            return None
        place += 2 + length
    return None


def decode(file: BufferedIOBase, whites: Mapping[Kind, int] | None = None, options: DataOptions | None = None) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in mode L or RGB, and the names of the changes that made it so. Raises UnusableImage.

    ``whites``: the white value of each kind of values; for a missing kind this image alone decides. ``options`` are those that :func:`shaped`
    will get: a JPEG that becomes much smaller is decoded at a reduced size, several times as fast.
    """
    plain, kind, notes = _read(file, options)
    white = (whites or {}).get(kind)
    if white == 255 and kind in ("byte", "high byte"):  # these bytes are the pixels
        return plain, (*notes, *_conversion_notes(kind, white))
    try:
        values = _values(plain, kind)
        white = white_of(kind, values.largest) if white is None else white
        return Image.fromarray(to_bytes(values.array, white)), (*notes, *_conversion_notes(kind, white, blank=values.largest == 0))
    except WrongRange as error:
        raise UnusableImage(str(error).split(":")[0]) from error


def read_values(file: BufferedIOBase) -> Values:
    """The values of a picture file's first frame, upright. Raises UnusableImage."""
    plain, kind, _ = _read(file, None)
    return _values(plain, kind)


def _read(file: BufferedIOBase, options: DataOptions | None) -> tuple[Image.Image, Kind, tuple[str, ...]]:
    """The first frame of a picture file as :func:`_upright` has it. Raises UnusableImage."""
    try:
        with _open(file) as image:
            notes = []
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a camera's MPO carries previews, not frames
                notes.append("animated, first frame taken")
                image.seek(0)
            scaled = options is not None and options.fit != "error" and not options.centre and options.filter != "nearest"
            if options is not None and options.target and scaled and image.format == "JPEG":
                height, width = (_REDUCED * side for side in options.target)
                image.draft(None, (height, width) if _orientation(image) >= 5 else (width, height))
            plain, kind, changes = _upright(image)
            return plain, kind, (*notes, *changes)
    except Exception as error:
        raise _unusable(error) from error


def values_of(image: Image.Image) -> Values:
    """The values of a Pillow image of any mode, upright and on white. Raises UnusableImage."""
    plain, kind, _ = _upright(image)
    return _values(plain, kind)


def _upright(image: Image.Image) -> tuple[Image.Image, Kind, tuple[str, ...]]:
    """The image upright and on white, in mode L or RGB where its values are bytes; their kind; and the names of the changes that were made."""
    kind = _kind(image)  # of the file, which loading forgets
    grey = _is_grey(image)
    image.load()
    notes = []
    if _orientation(image) > 1:
        notes.append("turned upright as its EXIF data says")
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        return image, "word", tuple(notes)
    if image.mode == "F":
        return image, "real", tuple(notes)
    plain, changes = _plain(image, "L" if grey else "RGB")
    return plain, kind, (*notes, *changes)


def _values(plain: Image.Image, kind: Kind) -> Values:
    """The numbers of an upright image. Raises UnusableImage."""
    if plain.mode in ("L", "RGB"):
        return Values(np.asarray(plain, dtype=np.uint8), kind)
    values = np.asarray(plain)
    if kind == "real":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise UnusableImage("floating-point values beyond 0..255")
        return Values(values, kind)
    if values.min() < 0 or values.max() > 65535:  # some formats carry 16 bits in mode I, of 32
        raise UnusableImage("32-bit values beyond 0..65535")
    return Values(values.astype(np.uint16), kind)


def _conversion_notes(kind: Kind, white: int, *, blank: bool = False) -> tuple[str, ...]:
    """The changes in bringing values of a kind to bytes; ``blank``: all are 0."""
    if white == 1 and kind in ("byte", "word"):
        return () if blank else ("whole numbers 0 and 1 taken for black and white",)
    whole = {"word": "16-bit grey " + ("taken for 8 bit, as no value exceeds 255" if white == 255 else "scaled to 8 bit")}
    others = {"high byte": "16-bit colours cut to 8 bit", "real": "floating-point grey scaled to 8 bit"}
    told = (whole | others).get(kind)
    return (told,) if told else ()


def shaped(image: Image.Image, options: DataOptions, channels: int) -> np.ndarray:
    """uint8 (c, h, w): centre cut, fitted to the wanted size, in one or three channels."""
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    if options.centre:
        width, height = min(options.centre, image.width), min(options.centre, image.height)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    if options.target and (image.height, image.width) != options.target:
        height, width = options.target
        if options.fit == "crop":
            image = ImageOps.fit(image, (width, height), _FILTERS[options.filter])
        elif options.fit == "resize":
            image = image.resize((width, height), _FILTERS[options.filter])
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _open(file: BufferedIOBase) -> Image.Image:
    image = Image.open(cast(IO[bytes], file))
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImage("more than 89 million pixels")
    if min(image.size) < 2:
        raise UnusableImage("too small (one pixel high or wide)")
    return image


def _unusable(error: Exception) -> UnusableImage:
    """The failure with the reason under which it is counted."""
    if isinstance(error, UnusableImage):
        return error
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return UnusableImage("more than 89 million pixels")
    if isinstance(error, UnidentifiedImageError):
        return UnusableImage("not readable as an image")
    return UnusableImage("truncated" if "truncated" in str(error) or isinstance(error, EOFError) else "damaged")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8, without decoding for it. Pillow turns TIFF itself."""
    if image.format in ("JPEG", "MPO"):
        return int(image.getexif().get(_ORIENTATION, 1))
    block = image.info.get("exif")
    if not isinstance(block, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        return int(exif.get(_ORIENTATION, 1))
    except Exception:  # a damaged block says nothing, as in Pillow's own reading
        return 1


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name for the layout of a file's values; empty once they are decoded."""
    tile = getattr(image, "tile", None)
    if not tile:
        return ""
    words = tile[0][3]
    return str(words[0] if isinstance(words, tuple) and words else words)


def _kind(image: Image.Image) -> Kind:
    if image.mode.startswith("I"):
        return "word"
    return "real" if image.mode == "F" else "high byte" if ";16" in _raw_mode(image) else "byte"


def _is_grey(image: Image.Image) -> bool:
    if _raw_mode(image).startswith("LA"):  # 16-bit grey with transparency, which Pillow opens as colours
        return True
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in _GREY or image.mode.startswith("I;16")


def _plain(image: Image.Image, mode: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Any mode of 8 bits to L or RGB."""
    if image.mode == "CMYK":
        return image.convert("RGB"), ("CMYK converted to RGB",)
    notes = ("palette expanded",) if image.mode in ("P", "PA") else ()
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        plain = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
        seen_through = layers.getchannel("A").getextrema()[0] != 255
        return plain.convert(mode), (*notes, "transparent parts put on white") if seen_through else notes
    return image if image.mode == mode else image.convert(mode), notes
