"""A JPEG that becomes much smaller is decoded at a reduced size: the pixels stay near those of a full decoding, and nothing else changes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from memogen.data import DataOptions
from memogen.data.images import UnusableImage, decode, shaped

HEIGHT, WIDTH = 480, 640


def photo(*, orientation: int = 1) -> bytes:
    """A JPEG of soft shapes with grain and a sharp edge, upright HEIGHT x WIDTH."""
    random = np.random.default_rng(0)
    soft = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = np.asarray(soft).astype(int) + random.integers(-10, 11, (HEIGHT, WIDTH, 3))
    grain[:, 300:340] = 255
    upright = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
    out, exif = io.BytesIO(), Image.Exif()
    exif[274] = orientation
    stored = upright.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else upright
    stored.save(out, "JPEG", quality=92, exif=exif)
    return out.getvalue()


def both(blob: bytes, options: DataOptions) -> tuple[np.ndarray, np.ndarray]:
    """The pixels as the options allow them to be read, and those of a full decoding."""
    near, full = (shaped(decode(io.BytesIO(blob), {"byte": 255}, given)[0], options, 3).astype(int) for given in (options, None))
    return near, full


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("options", [DataOptions(32, "resize"), DataOptions((20, 48), "crop"), DataOptions(64, "crop", filter="box")])
def test_pixels_are_near_those_of_a_full_decoding(options: DataOptions, orientation: int) -> None:
    blob = photo(orientation=orientation)
    read = decode(io.BytesIO(blob), {"byte": 255}, options)[0]
    assert options.target is not None
    assert 2 * options.target[0] <= read.height < HEIGHT and 2 * options.target[1] <= read.width < WIDTH
    assert (read.width > read.height) == (WIDTH > HEIGHT)
    near, full = both(blob, options)
    assert near.shape == full.shape == (3, *options.target)
    assert np.abs(near - full).mean() < 1 and np.abs(near - full).max() <= 12


@pytest.mark.parametrize(
    "options",
    [DataOptions(240, "resize"), DataOptions(32, "resize", filter="nearest"), DataOptions(32, "crop", centre=320), DataOptions(), DataOptions(32)],
)
def test_what_is_not_much_smaller_is_decoded_in_full(options: DataOptions) -> None:
    near, full = both(photo(), options)
    np.testing.assert_array_equal(near, full)


def test_other_formats_are_decoded_in_full() -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(photo())).save(out, "PNG")
    np.testing.assert_array_equal(*both(out.getvalue(), DataOptions(32, "resize")))


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_photograph_that_was_cut_off_is_still_refused(share: float) -> None:
    blob = photo()
    with pytest.raises(UnusableImage, match="truncated"):
        decode(io.BytesIO(blob[: int(share * len(blob))]), None, DataOptions(32, "resize"))
