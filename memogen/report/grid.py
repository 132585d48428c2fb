"""Images laid out in rows, with captions and frames, as PIL pictures in the colours of a theme: light, dark, or transparent for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from memogen.types import InputError, folded

Colour = tuple[int, int, int]

BLUE: Colour = (66, 133, 244)
RED: Colour = (219, 68, 55)
SERIES = ("#4285f4", "#e8710a", "#12a4af", "#b36ae2")  # lines of one chart, in order; each reads on white and on black
REAL, FAKE = SERIES[0], SERIES[1]


@dataclass(frozen=True)
class Theme:
    """Colours: ``ground`` None is transparent; ``ink`` is that of text, ``faint`` that of grid lines."""

    ground: Colour | None
    ink: Colour
    faint: Colour


LIGHT = Theme(ground=(255, 255, 255), ink=(60, 66, 76), faint=(222, 226, 231))
DARK = Theme(ground=(29, 32, 38), ink=(196, 201, 209), faint=(58, 63, 72))
CLEAR = Theme(ground=None, ink=(120, 128, 140), faint=(150, 157, 168))


def web(colour: Colour) -> str:
    """#rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


TARGET = 56  # pixels: small images are enlarged by a whole factor to about this
GAP = 2
CAPTION = 16  # pixels of height of one caption line
MARGIN = 10
BAR = 120  # pixels of height of the longest bar


def tile(image: UInt8[Tensor, "c h w"] | UInt8[np.ndarray, "c h w"], scale: int = 1) -> Image.Image:
    """One image as an RGB picture, enlarged ``scale`` times. Raises InputError unless it has one channel or three."""
    pixels = np.asarray(image.cpu() if isinstance(image, Tensor) else image)
    if len(pixels) not in (1, 3):
        raise InputError(f"picture: the images have {len(pixels)} channels: only grey (1) and colour (3) can be drawn")
    colour = np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(colour.repeat(scale, 0).repeat(scale, 1)), "RGB")


def scale_for(height: int, width: int) -> int:
    """The whole factor that brings the longer side nearest to TARGET, at least 1."""
    return max(1, round(TARGET / max(height, width)))


def blank(width: int, height: int, theme: Theme) -> Image.Image:
    """An empty picture: RGB, or RGBA where the theme has no ground."""
    return Image.new("RGBA", (width, height), (0, 0, 0, 0)) if theme.ground is None else Image.new("RGB", (width, height), theme.ground)


def text(picture: Image.Image, at: tuple[float, float], words: str, ink: Colour, *, anchor: str = "la", size: int = 12) -> None:
    """Write on a picture in Pillow's own font."""
    ImageDraw.Draw(picture).text(at, words, fill=ink, font=ImageFont.load_default(size), anchor=anchor)


def text_width(words: str, size: int = 12) -> int:
    """The width in pixels of :func:`text`, that of the longest line."""
    return round(max(ImageFont.load_default(size).getlength(line) for line in words.split("\n"))) + 1


def frame(picture: Image.Image, box: tuple[int, int, int, int], colour: Colour) -> None:
    """Draw a frame on the inner edge of ``box`` (left, top, right, bottom)."""
    left, top, right, bottom = box
    ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), outline=colour, width=3)


def grid(images: UInt8[Tensor, "b c h w"], columns: int, *, framed: Sequence[int] = (), theme: Theme = LIGHT) -> Image.Image:
    """Images row by row, ``columns`` in a row, framed at the places ``framed``. Vectors are folded."""
    images = folded(images)
    scale = scale_for(*images.shape[-2:])
    width, height = images.shape[-1] * scale + GAP, images.shape[-2] * scale + GAP
    picture = blank(min(columns, len(images)) * width - GAP, -(-len(images) // columns) * height - GAP, theme)
    for place, image in enumerate(images):
        left, top = place % columns * width, place // columns * height
        picture.paste(tile(image, scale), (left, top))
        if place in framed:
            frame(picture, (left, top, left + width - GAP, top + height - GAP), BLUE)
    return picture


def sheet(
    rows: Sequence[UInt8[Tensor, "_ c h w"]], captions: Sequence[str], *, title: str = "", lead: bool = False, theme: Theme = LIGHT
) -> Image.Image:
    """Rows of images with a caption over each; ``lead`` sets the first image of every row apart in a red frame. Vectors are folded.

    A ``title`` with a margin around the picture is left out on a transparent ground, as a page has both.
    """
    rows = [folded(row) for row in rows]
    scale = scale_for(*rows[0].shape[-2:])
    width, height = rows[0].shape[-1] * scale + GAP, rows[0].shape[-2] * scale
    apart, pitch = (8 if lead else 0), height + CAPTION + 6
    across = max(max(len(row) for row in rows) * width - GAP + apart, max(text_width(words) for words in captions))
    picture = blank(across, len(rows) * pitch, theme)
    for line, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        top = line * pitch + CAPTION
        text(picture, (0, line * pitch), caption, theme.ink)
        for place, image in enumerate(row):
            picture.paste(tile(image, scale), (place * width + (apart if place else 0), top))
        if lead:
            frame(picture, (0, top, width - GAP, top + height), RED)
    if not title or theme.ground is None:
        return picture
    head = 2 * CAPTION
    titled = blank(max(picture.width, text_width(title, 14)) + 2 * MARGIN, picture.height + head + MARGIN // 2, theme)
    text(titled, (MARGIN, 8), title, theme.ink, size=14)
    titled.paste(picture, (MARGIN, head))
    return titled


def bars(
    images: UInt8[Tensor, "b c h w"],
    shares: Sequence[float],
    captions: Sequence[str],
    *,
    lead: UInt8[Tensor, "c h w"],
    notes: Sequence[str] = (),
    theme: Theme = LIGHT,
) -> Image.Image:
    """A bar for each share over its image and caption, which may have several lines; left of them the ``lead`` image, twice as large, framed in red,
    over ``notes``.
    """
    scale = scale_for(*images.shape[-2:])
    width, height = images.shape[-1] * scale, images.shape[-2] * scale
    pitch = max(width, *(text_width(words) for words in captions)) + 8
    floor, left = BAR + CAPTION, max(2 * width, *(text_width(words) for words in notes), 0) + 24
    below = CAPTION * max((words.count("\n") + 1 for words in captions), default=1)
    picture = blank(left + len(images) * pitch, max(floor + 6 + height + below + 4, CAPTION * (len(notes) + 1) + 2 * height + 4), theme)
    picture.paste(tile(lead, 2 * scale), (0, CAPTION))
    frame(picture, (0, CAPTION, 2 * width, CAPTION + 2 * height), RED)
    for line, words in enumerate(notes, start=1):
        text(picture, (0, line * CAPTION + 2 * height + 4), words, theme.ink)
    draw = ImageDraw.Draw(picture)
    draw.line((left - 4, floor, picture.width, floor), fill=theme.faint)
    for place, (image, share, caption) in enumerate(zip(images, shares, captions, strict=True)):
        middle = left + place * pitch + pitch // 2
        top = floor - round(BAR * share / max(shares)) if max(shares) > 0 else floor
        draw.rectangle((middle - width // 3, top, middle + width // 3, floor), fill=BLUE)
        text(picture, (middle, top - 2), f"{share:.1%}", theme.ink, anchor="md")
        picture.paste(tile(image, scale), (middle - width // 2, floor + 6))
        text(picture, (middle, floor + 8 + height), caption, theme.ink, anchor="ma")
    return picture


def save_gif(pictures: Sequence[Image.Image], path: Path) -> None:
    """Write an endless animation of 80 ms a frame."""
    pictures[0].save(path, save_all=True, append_images=list(pictures[1:]), duration=80, loop=0)


def stacked(pictures: Sequence[Image.Image], *, theme: Theme = LIGHT) -> Image.Image:
    """Pictures below each other, aligned left; a single one unchanged."""
    if len(pictures) == 1:
        return pictures[0]
    sheet = blank(max(picture.width for picture in pictures), sum(picture.height for picture in pictures), theme)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet
