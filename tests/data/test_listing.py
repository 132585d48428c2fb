"""A folder of pictures is searched once while a training looks at it, and anew afterwards."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from memogen.data.listing import listing_once
from memogen.data.own import holds_images, picture_sizes


def test_a_folder_is_listed_once_and_anew_outside(tmp_path: Path) -> None:
    def add(name: str) -> None:
        Image.new("L", (8, 8)).save(tmp_path / name)

    add("a.png")
    with listing_once():
        assert len(picture_sizes(tmp_path)[0]) == 1
        add("b.png")
        assert len(picture_sizes(tmp_path)[0]) == 1 and holds_images(tmp_path)
    assert len(picture_sizes(tmp_path)[0]) == 2
    with listing_once():
        assert len(picture_sizes(tmp_path)[0]) == 2
