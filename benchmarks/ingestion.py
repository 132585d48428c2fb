"""What it costs to read JPEG files into a cache, beside a torch ``DataLoader`` of two workers that decodes and scales the same files with Pillow.

Both are measured in processor time, children included, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from memogen.data import DataOptions, load


class Pictures(Dataset[np.ndarray]):
    """The files of a folder, scaled."""

    def __init__(self, folder: Path, size: int) -> None:
        self.files, self.size = sorted(folder.glob("*.jpg")), size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> np.ndarray:
        with Image.open(self.files[row]) as image:
            return np.array(image.convert("RGB").resize((self.size, self.size), Image.Resampling.LANCZOS)).transpose(2, 0, 1).copy()


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.ingestion", description="The cost of reading JPEG files.", allow_abbrev=False)
    options.add_argument("--count", type=int, default=1000, help="files of 160 x 128; a hundredth as many of 3000 x 2000")
    options.add_argument("--size", type=int, default=64, help="the side they are scaled to")
    asked = options.parse_args()
    print(f"{'pictures':<14}{'memogen':>10}{'DataLoader':>12}   processor ms each")
    for width, height, count in ((160, 128, asked.count), (3000, 2000, max(2, asked.count // 100))):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "pictures"
            make(folder, width, height, count)
            ours = cached(folder, asked.size, Path(place) / "cache")
            print(f"{f'{width} x {height}':<14}{ours / count * 1e3:>10.2f}{loaded(folder, asked.size) / count * 1e3:>12.2f}")


def make(folder: Path, width: int, height: int, count: int) -> None:
    """Soft shapes with grain."""
    folder.mkdir()
    random = np.random.default_rng(0)
    soft = Image.fromarray(random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    grain = np.asarray(soft).astype(np.int16) + random.integers(-12, 13, (height, width, 3))
    image = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
    for number in range(count):
        image.save(folder / f"{number:06d}.jpg", quality=85 + number % 10)


def cached(folder: Path, size: int, cache: Path) -> float:
    """Processor seconds of a cache."""
    begun = spent()
    load(str(folder), options=DataOptions(size, "resize"), cache=cache, progress=False)
    return spent() - begun


def loaded(folder: Path, size: int) -> float:
    """Processor seconds of a DataLoader."""
    begun = spent()
    for _ in DataLoader(Pictures(folder, size), batch_size=64, num_workers=2):
        pass
    return spent() - begun


def spent() -> float:
    """This process's processor seconds and those of its children that have ended."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
