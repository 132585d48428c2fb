"""Colour pictures of 32x32 that are none of CIFAR-10, to hold a novelty score against: ``python -m benchmarks.foreign_sets FOLDER``.

``noise.npz``: every value uniform in 0..255. ``house_numbers.npz``: a digit with its neighbours cut off at the sides, in two colours, turned, blurred
and grained, as SVHN's cropped digits look; drawn, since SVHN itself is not at hand. The font is the one that ships with Pillow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 32
BIGGER = 3  # a number is drawn so many times larger and scaled down
CONTRAST = 60  # grey levels between ink and ground, at least


def noise(number: int, chance: np.random.Generator) -> np.ndarray:
    """uint8 (n, h, w, 3)."""
    return chance.integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)


def house_numbers(number: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, uint8 (n, h, w, 3), and the digit in the middle of each, int64 (n,)."""
    label = chance.integers(0, 10, number)
    return np.stack([_house_number(int(digit), chance) for digit in label]), label


def _house_number(digit: int, chance: np.random.Generator) -> np.ndarray:
    ground = ink = _muted(chance)
    while abs(sum(ink) - sum(ground)) < 3 * CONTRAST:
        ink = _muted(chance)
    side = SIDE * BIGGER
    picture = Image.new("RGB", (2 * side, 2 * side), ground)
    font, pen = ImageFont.load_default(size=side * chance.uniform(0.75, 1.05)), ImageDraw.Draw(picture)
    apart = font.getlength("0") * chance.uniform(1.0, 1.25)
    for place, one in ((-1, int(chance.integers(10))), (0, digit), (1, int(chance.integers(10)))):
        pen.text((side + place * apart, side), str(one), fill=ink, font=font, anchor="mm")
    picture = picture.rotate(chance.uniform(-12, 12), Image.Resampling.BILINEAR, fillcolor=ground)
    left, top = (side / 2 + side * chance.uniform(-0.08, 0.08) for _ in range(2))
    cut = picture.crop((round(left), round(top), round(left) + side, round(top) + side))
    small = cut.filter(ImageFilter.GaussianBlur(chance.uniform(0.5, 4))).resize((SIDE, SIDE), Image.Resampling.BOX)
    light = np.linspace(1, chance.uniform(0.7, 1.3), SIDE)[None, :, None]
    grained = np.asarray(small) * light + chance.normal(0, chance.uniform(0, 8), (SIDE, SIDE, 3))
    return grained.round().clip(0, 255).astype(np.uint8)


def _muted(chance: np.random.Generator) -> tuple[int, int, int]:
    """A colour near grey, as walls and signs have."""
    grey = chance.uniform(20, 235)
    red, green, blue = (int(np.clip(grey + chance.normal(0, 25), 0, 255)) for _ in range(3))
    return red, green, blue


def main() -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=Path)
    words.add_argument("--number", type=int, default=2000)
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    chance = np.random.default_rng(given.seed)
    given.folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(given.folder / "noise.npz", x=noise(given.number, chance))
    image, label = house_numbers(given.number, chance)
    np.savez_compressed(given.folder / "house_numbers.npz", x=image, y=label)


if __name__ == "__main__":
    main()
