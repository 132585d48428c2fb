"""The picture of runs over tasks: a row of each, of fixed latents, in the order of the classes where there are classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.task_pictures import main, row
from memogen import from_pretrained, shipped
from memogen.types import to_uint8


def test_a_row_is_what_the_model_draws() -> None:
    model = from_pretrained("digits")
    assert torch.equal(row(shipped.place("digits"), columns=6)[1], to_uint8(model.sample(6), model.image_range))


def test_a_model_with_classes_draws_as_many_of_each() -> None:
    model = from_pretrained("mnist-replay")
    images = row(shipped.place("mnist-replay"), columns=20)[1]
    assert len(images) == 20
    for label in (0, 9):
        assert torch.equal(images[2 * label : 2 * label + 2], to_uint8(model.sample(2, label=label), model.image_range))


def test_rows_stand_below_one_another(tmp_path: Path) -> None:
    heights = []
    for runs in (1, 2):
        main([str(shipped.place("digits"))] * runs + ["--out", str(tmp_path / "rows.png")])
        heights.append(Image.open(tmp_path / "rows.png").height)
    assert heights[1] == 2 * heights[0]


def test_a_folder_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run folder"):
        row(tmp_path)
