"""One image file to uint8 pixels, whatever its mode; what had to be changed is said, what cannot be used is refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from io import BufferedIOBase
from typing import IO, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from memogen.data.options import DataOptions

MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs: a quarter of a gigabyte at three bytes a pixel
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
    """What can be said of an image before it is decoded: its size upright, whether it is grey, and Pillow's name of its mode."""

    height: int
    width: int
    grey: bool
    mode: str


def read_header(file: BufferedIOBase) -> Header:
    """Size and mode. Raises UnusableImage."""
    try:
        with _open(file) as image:
            width, height = (image.height, image.width) if _orientation(image) >= 5 else image.size
            return Header(height, width, _is_grey(image), image.mode)
    except Exception as error:
        raise _unusable(error) from error


def decode(file: BufferedIOBase) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in mode L or RGB, and the names of the changes that made it so. Raises UnusableImage."""
    try:
        with _open(file) as image:
            notes = []
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a camera's MPO carries previews, not frames
                notes.append("animated, first frame taken")
                image.seek(0)
            image.load()
            if _orientation(image) > 1:
                notes.append("turned upright as its EXIF data says")
            plain, changes = _plain(ImageOps.exif_transpose(image) if _orientation(image) > 1 else image)
            return plain, (*notes, *changes)
    except Exception as error:  # Pillow's decoders raise nearly every type there is on damaged files
        raise _unusable(error) from error


def shaped(image: Image.Image, options: DataOptions, channels: int) -> np.ndarray:
    """uint8 (c, h, w): centre cut, fitted to the wanted size, in one or three channels."""
    image = image.convert("L" if channels == 1 else "RGB")
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
    """EXIF orientation 1..8; looked up in photographs only, as other formats would decode for it."""
    return int(image.getexif().get(274, 1)) if image.format in ("JPEG", "MPO") else 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in _GREY or image.mode.startswith("I;16")


def _plain(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Any mode to L or RGB."""
    mode = "L" if _is_grey(image) else "RGB"
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_16_bit(image), ("16-bit grey scaled to 8 bit",)
    if image.mode == "F":
        return _from_float(image), ("floating-point grey scaled to 8 bit",)
    if image.mode == "CMYK":
        return image.convert("RGB"), ("CMYK converted to RGB",)
    notes = ("palette expanded",) if image.mode in ("P", "PA") else ()
    if image.has_transparency_data:
        plain, seen_through = _on_white(image)
        return plain.convert(mode), (*notes, "transparent parts put on white") if seen_through else notes
    return image.convert(mode), notes


def _from_16_bit(image: Image.Image) -> Image.Image:
    """65,535 becomes 255: division by 257, rounded. Mode I is how some formats carry 16 bits."""
    wide = np.asarray(image).astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise UnusableImage("32-bit values beyond 0..65535")
    return Image.fromarray(((wide + 128) // 257).astype(np.uint8))


def _from_float(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
        raise UnusableImage("floating-point values beyond 0..255")
    return Image.fromarray(np.rint(values * (255 if values.max() <= 1 else 1)).astype(np.uint8))


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image over white, and whether any of the white shows."""
    layers = image.convert("RGBA")
    ground = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(ground, layers).convert("RGB"), layers.getchannel("A").getextrema()[0] != 255
