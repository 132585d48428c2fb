"""A folder of drawn shapes, as a user's own pictures come: several sizes, colours and formats, and a few files that no program can read.

    python -m benchmarks.drawn_shapes shapes                      # 200 pictures: circles, squares and triangles
    python -m benchmarks.drawn_shapes many --number 20000 --side 24,40

The three kinds lie mixed in one folder, so that a training is told nothing of them; ``--classes`` gives each a sub-folder of its own.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("circle", "square", "triangle")
FORMATS = ("png", "jpg", "webp")
BIGGER = 4  # a picture is drawn so many times larger and scaled down, which smooths its edges
Colour = tuple[int, int, int]


def drawn(kind: str, size: tuple[int, int], chance: np.random.Generator) -> Image.Image:
    """One filled shape near the middle of a pale ground, in a strong colour; ``size`` is (width, height) in pixels."""
    wide, high = (BIGGER * side for side in size)
    picture = Image.new("RGB", (wide, high), _pale(chance))
    side = min(wide, high)
    radius = side * chance.uniform(0.24, 0.38)
    middle = wide / 2 + side * chance.uniform(-0.1, 0.1), high / 2 + side * chance.uniform(-0.1, 0.1)
    draw, colour = ImageDraw.Draw(picture), _strong(chance)
    if kind == "circle":
        draw.ellipse([middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius], fill=colour)
    else:
        corners = 4 if kind == "square" else 3
        start = (math.pi / 4 if corners == 4 else -math.pi / 2) + chance.uniform(-0.2, 0.2)
        angles = (start + 2 * math.pi * corner / corners for corner in range(corners))
        draw.polygon([(middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)) for angle in angles], fill=colour)
    return picture.resize(size, Image.Resampling.BOX)


def _pale(chance: np.random.Generator) -> Colour:
    red, green, blue = chance.integers(200, 256, 3).tolist()
    return red, green, blue


def _strong(chance: np.random.Generator) -> Colour:
    """One of six hues, never twice quite the same."""
    hue = (int(chance.integers(6)) + chance.uniform(-0.15, 0.15)) / 6
    parts = (np.clip(abs((6 * hue + shift) % 6 - 3) - 1, 0, 1) * chance.uniform(180, 240) for shift in (0, 4, 2))
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def write_folder(folder: Path, number: int, *, seed: int = 0, side: tuple[int, int] = (48, 160), classes: bool = False, faulty: bool = True) -> None:
    """``number`` readable pictures, whose sides lie between the two of ``side``, and with ``faulty`` six more files that are broken or tiny."""
    chance = np.random.default_rng(seed)
    for count in range(number):
        kind = KINDS[count % len(KINDS)]
        wide = int(chance.integers(side[0], side[1] + 1))
        high = wide if chance.random() < 0.5 else int(chance.integers(side[0], side[1] + 1))
        place = folder / kind if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        drawn(kind, (wide, high), chance).save(place / f"{count:05d}.{FORMATS[int(chance.integers(len(FORMATS)))]}", quality=92)
    if faulty:
        _spoil(folder / KINDS[0] if classes else folder, chance)


def _spoil(place: Path, chance: np.random.Generator) -> None:
    """An empty file, noise, half a JPEG, half a PNG, a text, and a picture of 3 x 3 pixels."""
    (place / "empty.png").write_bytes(b"")
    (place / "noise.jpg").write_bytes(chance.bytes(2000))
    (place / "notes.png").write_text("this is no picture", encoding="utf-8")
    for name in ("half.jpg", "half.png"):
        drawn("circle", (100, 100), chance).save(place / name)
        whole = (place / name).read_bytes()
        (place / name).write_bytes(whole[: len(whole) // 2])
    drawn("square", (3, 3), chance).save(place / "tiny.png")


def main() -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=Path)
    words.add_argument("--number", type=int, default=200)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--side", default="48,160", help="the shortest and the longest side in pixels")
    words.add_argument("--classes", action="store_true", help="a sub-folder for each kind")
    words.add_argument("--faultless", action="store_true", help="readable pictures alone")
    given = words.parse_args()
    least, most = map(int, given.side.split(","))
    write_folder(given.folder, given.number, seed=given.seed, side=(least, most), classes=given.classes, faulty=not given.faultless)


if __name__ == "__main__":
    main()
