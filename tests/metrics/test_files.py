"""A model's samples in a folder, a zip or an npz are scored exactly as the model."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memogen.data import load
from memogen.metrics import evaluate, score_images
from memogen.types import to_uint8
from tests.metrics.toys import EVERYTHING, noise, small_gan

NUM = 120
TEST, TRAIN = noise(80, "test", 0), noise(90, "train", 1)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    model = small_gan()
    return to_uint8(model.sample(NUM, seed=6).detach(), model.image_range).numpy()


def folder(image: np.ndarray, path: Path) -> Path:
    path.mkdir()
    for number, pixels in enumerate(image):
        Image.fromarray(pixels[0]).save(path / f"{number:05d}.png")
    return path


def zipped(image: np.ndarray, path: Path) -> Path:
    folder(image, path)
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for file in path.iterdir():
            archive.write(file, f"samples/{file.name}")
    return path.with_suffix(".zip")


def npz(image: np.ndarray, path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), images=image)
    return path.with_suffix(".npz")


def npz_channels_last(image: np.ndarray, path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), image.transpose(0, 2, 3, 1))  # NumPy calls it arr_0
    return path.with_suffix(".npz")


@pytest.mark.parametrize("write", [folder, zipped, npz, npz_channels_last])
def test_files_of_samples_are_scored_as_their_model(write: object, samples: np.ndarray, tmp_path: Path) -> None:
    images = load(str(write(samples, tmp_path / "drawn")), progress=False)  # type: ignore[operator]
    assert np.array_equal(images.image, samples)
    shared = {"extractor": "digits", "metrics": EVERYTHING, "train": TRAIN, "progress": False}
    ours = evaluate(small_gan(), TEST, num_samples=NUM, seed=6, **shared)  # type: ignore[arg-type]
    theirs = score_images(images, TEST, seed=6, variant="memory_gan", order="given", **shared)  # type: ignore[arg-type]
    for own, other in zip(ours, theirs, strict=True):
        assert (own["metric"], own["value"], own["spread"]) == (other["metric"], other["value"], other["spread"])
        assert other["variant"] == "memory_gan" and other["protocol"]["images"]["order"] == "given"  # type: ignore[index]


def test_by_default_the_order_is_drawn_so_that_splits_are_alike() -> None:
    images = noise(NUM, "samples", 3)
    drawn, given = (
        score_images(images, TEST, extractor="digits", num_samples=100, order=order, progress=False)  # type: ignore[arg-type]
        for order in ("drawn", "given")
    )
    assert drawn[0]["value"] != given[0]["value"] and "order" not in drawn[0]["protocol"]["images"]  # type: ignore[index]
