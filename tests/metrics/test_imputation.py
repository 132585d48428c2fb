"""Masks of the right sizes, observed pixels untouched, and the error over the missing ones alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from memogen.metrics.imputation import BATCH, Refinement, block, complete, imputation_error, missing_pixels, refine
from memogen.metrics.samples import Work
from memogen.processes import Processes, Share
from memogen.types import ImageData, InputError


class Halfway:
    """Reconstructs an image halfway between itself and a constant: after t steps a fraction 1 / 2^t of the error is left."""

    image_range = (0.0, 1.0)

    def __init__(self, constant: float) -> None:
        self.constant = constant

    def reconstruct(self, image: Tensor, *, seed: int, step: int, start: int) -> Tensor:
        return (image + self.constant) / 2


def test_sizes_and_places_of_the_paper_s_masks() -> None:
    rectangle, half = (missing_pixels(name, (28, 28), 3) for name in ("rect-12", "half"))
    assert rectangle.shape == half.shape == (3, 1, 28, 28)
    assert rectangle[0].sum() == 144 and rectangle[0, 0, 8:20, 8:20].all()
    assert half[0].sum() == 392 and half[0, 0, :, :14].all()
    share = missing_pixels("rand-0.6", (28, 28), 500).double().mean()
    assert abs(float(share) - 0.6) < 4 * (0.24 / (500 * 784)) ** 0.5


def test_a_random_mask_belongs_to_its_image() -> None:
    whole, later = missing_pixels("rand-0.5", (8, 8), 10, seed=3), missing_pixels("rand-0.5", (8, 8), 4, seed=3, start=6)
    assert torch.equal(whole[6:], later) and not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, missing_pixels("rand-0.5", (8, 8), 10, seed=4))


def test_a_mask_from_a_file(tmp_path: Path) -> None:
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1, 2:5] = 255
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    assert torch.equal(missing_pixels(str(tmp_path / "mask.png"), (4, 6), 2)[1, 0], torch.from_numpy(drawn > 0))
    with pytest.raises(InputError, match="it is 4 x 6, the images 8 x 8"):
        missing_pixels(str(tmp_path / "mask.png"), (8, 8), 1)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be read as an image"):
        missing_pixels(str(tmp_path / "text.png"), (8, 8), 1)


@pytest.mark.parametrize("name", ["rect-0", "rect-9", "rand-1.5", "whole"])
def test_unknown_masks_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="choose"):
        missing_pixels(name, (8, 8), 1)


def test_observed_pixels_stay_bit_by_bit() -> None:
    image = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    missing = missing_pixels("rand-0.4", (8, 8), 5)
    for filled in refine(Halfway(0.2), image, missing, Refinement(4)):
        assert torch.equal(filled[~missing], image[~missing]) and not torch.equal(filled[missing], image[missing])


def test_the_error_falls_as_the_model_says() -> None:
    data = ImageData(np.full((7, 1, 8, 8), 51, np.uint8))  # 51 / 255 is 0.2
    found = imputation_error(Halfway(0.2), data, "half", Refinement(6, seed=1))
    np.testing.assert_allclose(np.array(found.errors) / found.errors[0], 0.25 ** np.arange(7), rtol=1e-4)
    expected = 1 / 12 + (0.5 - 0.2) ** 2  # a uniform number against 0.2
    assert found.errors[0] == pytest.approx(expected, rel=0.2) and found.value == found.errors[-1]
    assert found.missing == 7 * 32 and found.protocol["mask"] == "half" and found.protocol["steps"] == 6


class ByBatch(Halfway):
    """Knows whether it is to normalise by the batch."""

    def __init__(self) -> None:
        super().__init__(0.2)
        self.asked: list[bool] = []

    def reconstruct(self, image: Tensor, *, seed: int, step: int, start: int, batch_statistics: bool = False) -> Tensor:
        self.asked.append(batch_statistics)
        return super().reconstruct(image, seed=seed, step=step, start=start)


def test_statistics_of_the_batch_are_asked_for_and_told() -> None:
    data, model = ImageData(np.full((7, 1, 8, 8), 51, np.uint8)), ByBatch()
    by_batch, stored = (imputation_error(model, data, "half", Refinement(3, by_batch=asked)) for asked in (True, False))
    assert model.asked == [True] * 3 + [False] * 3 and by_batch.errors == stored.errors
    assert (by_batch.protocol["statistics"], stored.protocol["statistics"]) == ("batch", "training data")
    with pytest.raises(InputError, match="give 1 or more"):
        Refinement(0)


def test_real_vectors_are_taken_as_they_are() -> None:
    data = ImageData(np.full((9, 1, 1, 6), 0.2, np.float32))
    assert imputation_error(Halfway(0.2), data, "half", Refinement(30)).value < 1e-12


def test_the_way_of_completed_images() -> None:
    data = ImageData(np.full((BATCH + 3, 1, 2, 2), 51, np.uint8))
    found, error = complete(Halfway(0.2), data, "half", Refinement(12)), imputation_error(Halfway(0.2), data, "half", Refinement(12))
    assert [step for step, _ in found.stages] == [0, 1, 10, 12] and len(found.images) == BATCH + 3
    assert [value for _, value in found.errors] == pytest.approx([error.errors[step] for step in (0, 1, 10, 12)], rel=1e-5)
    assert all(torch.equal(filled[~found.missing], found.image[~found.missing]) for _, filled in found.stages)
    assert [step for step, _ in complete(Halfway(0.2), data, "half", Refinement(1)).stages] == [0, 1]


class Counting(Halfway):
    """Refuses to normalise one image by itself, as batch norm does."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.rows: list[int] = []

    def reconstruct(self, image: Tensor, *, seed: int, step: int, start: int, batch_statistics: bool = False) -> Tensor:
        self.rows.append(len(image))
        return super().reconstruct(image, seed=seed, step=step, start=start)


@pytest.mark.parametrize(("num", "rows"), [(2, [2]), (BATCH, [BATCH]), (BATCH + 1, [BATCH - 1, 2]), (999 * BATCH + 1, None)])
def test_no_image_is_a_batch_by_itself(num: int, rows: list[int] | None) -> None:
    if rows is None:
        assert num % block(num, by_batch=True) != 1 and num % BATCH == num % (BATCH - 1) == 1
        return
    data, model = ImageData(np.full((num, 1, 2, 2), 51, np.uint8)), Counting()
    found = imputation_error(model, data, "half", Refinement(1, by_batch=True))
    assert model.rows == rows and found.num_images == num and found.protocol["batch"] == block(num, by_batch=True)
    assert found.missing == 2 * num
    for call in (imputation_error, complete):
        with pytest.raises(InputError, match="a single image has no batch statistics"):
            call(model, ImageData(data.image[:1]), "half", Refinement(1, by_batch=True))


class Idle(Processes):
    """The second of two processes, whose part of the last round is empty."""

    def gather(self, rows: Tensor, turn: Share) -> Tensor:
        assert turn.counts[self.rank] == 0
        return rows

    def any(self, flag: bool) -> bool:
        return flag


def test_a_process_without_images_keeps_up() -> None:
    data, model = ImageData(np.full((5, 1, 2, 2), 51, np.uint8)), Counting()
    imputation_error(model, data, "half", Refinement(2, by_batch=True), work=Work(Idle(1, 2)))
    assert model.rows == [2, 2]


class Broken(Halfway):
    """Gives no number any more after the first step."""

    def reconstruct(self, image: Tensor, *, seed: int, step: int, start: int) -> Tensor:
        return super().reconstruct(image, seed=seed, step=step, start=start) * (torch.nan if step else 1)


def test_a_broken_model_is_told_and_scores_nothing() -> None:
    for call in (imputation_error, complete):
        with pytest.raises(InputError, match="has diverged"):
            call(Broken(0.5), ImageData(np.zeros((3, 1, 2, 2), np.uint8)), "half", Refinement(3))


def test_pooled_over_images_and_batches() -> None:
    image = np.random.default_rng(0).integers(0, 256, (BATCH + 5, 1, 2, 2)).astype(np.uint8)
    found = imputation_error(Halfway(0.5), ImageData(image), "rand-0.5", Refinement(40))
    missing = missing_pixels("rand-0.5", (2, 2), BATCH + 5).numpy()
    assert found.value == pytest.approx(float(np.mean((image[missing] / 255 - 0.5) ** 2)), rel=1e-5)


def test_a_mask_without_missing_pixels_has_no_error(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "none.png")
    for call in (imputation_error, complete):
        with pytest.raises(InputError, match="no pixel is missing"):
            call(Halfway(0.5), ImageData(np.zeros((3, 1, 2, 2), np.uint8)), str(tmp_path / "none.png"), Refinement(1))
