"""One picture to uint8 pixels, whatever its mode; what had to be changed is said, what cannot be used is refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from typing import IO, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from memogen.data.options import DataOptions
from memogen.data.values import Kind, Values, WrongRange, to_bytes, white_of

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


class UnusableImage(Exception):  # noqa: N818  the image is at fault
    """An image file that is left out; the message is the reason it is counted under."""


@dataclass(frozen=True)
class Header:
    """What can be said of an image before it is decoded: its size upright, whether it is grey, Pillow's name of its mode, and its kind of values."""

    height: int
    width: int
    grey: bool
    mode: str
    kind: Kind


def read_header(file: BufferedIOBase) -> Header:
    """Size and mode. Raises UnusableImage."""
    try:
        with _open(file) as image:
            width, height = (image.height, image.width) if _orientation(image) >= 5 else image.size
            return Header(height, width, _is_grey(image), image.mode, _kind(image))
    except Exception as error:
        raise _unusable(error) from error


def decode(file: BufferedIOBase, whites: Mapping[Kind, int] | None = None, options: DataOptions | None = None) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in mode L or RGB, and the names of the changes that made it so. Raises UnusableImage.

    ``whites`` says which value is white for each kind; a kind that it does not name is judged by this image alone. ``options`` say what
    :func:`shaped` will make of the image: a JPEG that it makes much smaller is decoded at a reduced size, several times as fast.
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
    """What a picture file holds, upright, of its first frame. Raises UnusableImage."""
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
            if options is not None and image.format == "JPEG" and (least := _least(options)):
                turned = _orientation(image) >= 5
                image.draft(None, least if turned else least[::-1])
            plain, kind, changes = _upright(image)
            return plain, kind, (*notes, *changes)
    except Exception as error:  # Pillow's decoders raise nearly every type there is on damaged files
        raise _unusable(error) from error


def _least(options: DataOptions) -> tuple[int, int] | None:
    """The (height, width) from which on a picture shrinks to the wanted size nearly as from its full size; None where it must be decoded in full."""
    if options.target is None or options.fit == "error" or options.centre or options.filter == "nearest":
        return None
    return _REDUCED * options.target[0], _REDUCED * options.target[1]


def values_of(image: Image.Image) -> Values:
    """What a Pillow image of any mode holds, upright and on white. Raises UnusableImage."""
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
    return Values(_reals(plain) if kind == "real" else _words(plain), kind)


def _conversion_notes(kind: Kind, white: int, *, blank: bool = False) -> tuple[str, ...]:
    """What bringing values of a kind to bytes changes; ``blank``: all are 0."""
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
        image = _centre(image, options.centre)
    if options.target and (image.height, image.width) != options.target:
        height, width = options.target
        if options.fit == "crop":
            image = ImageOps.fit(image, (width, height), _FILTERS[options.filter])
        elif options.fit == "resize":
            image = image.resize((width, height), _FILTERS[options.filter])
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _centre(image: Image.Image, side: int) -> Image.Image:
    width, height = min(side, image.width), min(side, image.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _open(file: BufferedIOBase) -> Image.Image:
    image = Image.open(cast(IO[bytes], file))
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImage("more than 89 million pixels")
    if min(image.size) < 2:
        raise UnusableImage("too small (one pixel high or wide)")
    return image


def _unusable(error: Exception) -> UnusableImage:
    """The reason that a failure is counted under."""
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
    """How a file's values lie in it, in Pillow's words; empty once they are decoded."""
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
        plain, seen_through = _on_white(image)
        return plain.convert(mode), (*notes, "transparent parts put on white") if seen_through else notes
    return image if image.mode == mode else image.convert(mode), notes


def _words(image: Image.Image) -> np.ndarray:
    """uint16; mode I is how some formats carry 16 bits."""
    wide = np.asarray(image).astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise UnusableImage("32-bit values beyond 0..65535")
    return wide.astype(np.uint16)


def _reals(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
        raise UnusableImage("floating-point values beyond 0..255")
    return values


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image over white, and whether any of the white shows."""
    layers = image.convert("RGBA")
    ground = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(ground, layers).convert("RGB"), layers.getchannel("A").getextrema()[0] != 255
