"""What it costs to read JPEG files into a cache, beside a torch ``DataLoader`` of two workers that decodes and scales the same files with Pillow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.speed.timing import Aim, Case, Cases, Prepared, Setting, Title
from memogen.data import DataOptions, load

SIDE = 64  # that they are scaled to


def pictures(setting: Setting) -> Cases:
    """A folder of 1,000 JPEG files of 160x128, scaled to 64x64 and cached."""
    yield from read_beside_loader(160, 128, setting.size(1000, 6), setting)


def photographs(setting: Setting) -> Cases:
    """A folder of 20 JPEG files of 3000x2000, scaled to 64x64 and cached; Pillow's ``draft`` decodes large ones at a fraction of their size."""
    yield from read_beside_loader(setting.size(3000, 600), setting.size(2000, 400), setting.size(20, 3), setting)


ENTRIES = (pictures, photographs)


def read_beside_loader(width: int, height: int, num: int, setting: Setting) -> Cases:
    """A cache of the files, made anew in every round; the loader drafts as well."""
    with drawn(width, height, num) as place:
        numbers = count()

        def cached(folder: Path) -> None:
            load(str(place / "pictures"), options=DataOptions(SIDE, "resize"), cache=folder, progress=False)

        def emptied() -> Path:
            number = next(numbers)
            shutil.rmtree(place / f"cache-{number - 1}", ignore_errors=True)
            return place / f"cache-{number}"

        def loaded() -> None:
            for _ in DataLoader(Pictures(place / "pictures"), batch_size=64, num_workers=0 if setting.quick else 2):
                pass

        title = Title(f"{num:,} JPEGs of {width}x{height} to {SIDE}x{SIDE}", beside="DataLoader", aims=(Aim(1.0, "beside"),))
        yield Case(title, Prepared(emptied, cached), loaded)


@contextmanager
def drawn(width: int, height: int, num: int) -> Iterator[Path]:
    """A folder with ``pictures``: soft shapes with grain."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pictures").mkdir()
        random = np.random.default_rng(0)
        shapes = random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        soft = Image.fromarray(shapes).resize((width, height), Image.Resampling.BICUBIC)
        grain = np.asarray(soft).astype(np.int16) + random.integers(-12, 13, (height, width, 3))
        image = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
        for number in range(num):
            image.save(place / "pictures" / f"{number:06d}.jpg", quality=85 + number % 10)
        yield place


class Pictures(Dataset[np.ndarray]):
    """The files of a folder, scaled."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> np.ndarray:
        with Image.open(self.files[row]) as image:
            image.draft("RGB", (4 * SIDE, 4 * SIDE))
            return np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)).transpose(2, 0, 1).copy()
