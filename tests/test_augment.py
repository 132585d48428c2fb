"""Views of images: what is left alone, where pixels go, that a view is its own image's, that gradients pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from memogen import noise
from memogen.augment import CLOTHES, COLOUR, DIGITS, STILL, AugmentConfig, augment

KINDS = {"digits": (DIGITS, (1, 8, 8)), "clothes": (CLOTHES, (1, 28, 28)), "colour": (COLOUR, (3, 32, 32)), "oblong": (COLOUR, (3, 12, 20))}


def images(
    shape: tuple[int, int, int], num: int = 16, image_range: tuple[float, float] = (0.0, 1.0), dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    low, high = image_range
    return low + (high - low) * torch.rand(num, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def index(num: int) -> torch.Tensor:
    return torch.arange(1000, 1000 + num)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20)])
@pytest.mark.parametrize("image_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_no_strength_gives_the_image_back(shape: tuple[int, int, int], image_range: tuple[float, float]) -> None:
    image = images(shape, image_range=image_range)
    torch.testing.assert_close(augment(image, index(16), seed=1, stream=2, config=STILL, image_range=image_range), image, rtol=0, atol=1e-6)
    moved = augment(image, index(16), seed=1, stream=2, config=replace(STILL, rotation=1e-7), image_range=image_range)
    torch.testing.assert_close(moved, image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_its_own_images_whatever_the_batch(kind: str) -> None:
    config, shape = KINDS[kind]
    image = images(shape)
    whole = augment(image, index(16), seed=5, stream=3, config=config)
    order = torch.tensor([7, 2, 11])
    torch.testing.assert_close(augment(image[order], index(16)[order], seed=5, stream=3, config=config), whole[order], rtol=0, atol=1e-6)
    for seed, stream in ((6, 3), (5, 4)):
        other = augment(image, index(16), seed=seed, stream=stream, config=config)
        assert bool(((other - whole).flatten(1).abs().amax(1) > 0.05).all())


@pytest.mark.parametrize("kind", KINDS)
def test_views_stay_in_range_and_keep_shape_and_type(kind: str) -> None:
    config, shape = KINDS[kind]
    for image_range, dtype in (((0.0, 1.0), torch.float32), ((-1.0, 1.0), torch.float64), ((-1.0, 1.0), torch.bfloat16)):
        image = images(shape, image_range=image_range).to(dtype)
        view = augment(image, index(16), seed=0, stream=0, config=config, image_range=image_range)
        assert view.shape == image.shape
        assert view.dtype == dtype
        assert image_range[0] <= float(view.min()) < float(view.max()) <= image_range[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_commutes_with_the_range(kind: str) -> None:
    config, shape = KINDS[kind]
    image = images(shape)
    view = augment(image, index(16), seed=0, stream=0, config=config)
    signed = augment(2 * image - 1, index(16), seed=0, stream=0, config=config, image_range=(-1.0, 1.0))
    torch.testing.assert_close((signed + 1) / 2, view, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [DIGITS, COLOUR])
def test_gradients_reach_the_image(config: AugmentConfig) -> None:
    image = (0.2 + 0.3 * images((3, 6, 6), 2, dtype=torch.float64)).requires_grad_()  # below where brightness would clamp it
    mild = replace(config, brightness=0.1, saturation=0.1)
    torch.autograd.gradcheck(lambda x: augment(x, index(2), seed=0, stream=0, config=mild), (image,))
    (slope,) = torch.autograd.grad(augment(image, index(2), seed=0, stream=0, config=mild).sum(), image)
    assert bool((slope.flatten(1) != 0).any(1).all())


@pytest.mark.parametrize("image_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_the_cut_is_a_square_of_the_lowest_value_everywhere_alike(image_range: tuple[float, float]) -> None:
    image = torch.full((4000, 1, 8, 8), image_range[1])
    view = augment(image, index(4000), seed=0, stream=0, config=replace(STILL, cutout=0.4), image_range=image_range)
    hole = view[:, 0] == image_range[0]
    assert bool((view[:, 0][~hole] == image_range[1]).all())
    assert bool((hole.sum((1, 2)) == 9).all())
    assert bool((hole.any(1).sum(1) == 3).all() and (hole.any(2).sum(1) == 3).all())
    tops, lefts = hole.any(2).float().argmax(1), hole.any(1).float().argmax(1)
    counts = torch.bincount(6 * tops + lefts, minlength=36).double()
    assert float(((counts - 4000 / 36) ** 2 / (4000 / 36)).sum()) < 70  # chi squared with 35 degrees of freedom, p about 4e-4


def centre(image: torch.Tensor) -> torch.Tensor:
    """Centre of mass (b, 2), across and down, in pixels from the middle."""
    height, width = image.shape[2:]
    across, down = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
    mass = image.sum((1, 2, 3))
    return torch.stack([(image * across).sum((1, 2, 3)) / mass, (image * down[:, None]).sum((1, 2, 3)) / mass], 1)


def spot(height: int, width: int, *, at: tuple[float, float], num: int = 400) -> torch.Tensor:
    """A smooth spot, ``at`` pixels across and down from the middle."""
    across, down = torch.arange(width) - (width - 1) / 2 - at[0], torch.arange(height) - (height - 1) / 2 - at[1]
    return torch.exp(-(across**2 + down[:, None] ** 2) / 8).expand(num, 1, height, width)


def test_turns_keep_distances_in_pixels_even_where_the_image_is_oblong() -> None:
    moved = centre(augment(spot(41, 61, at=(9, 0)), index(400), seed=0, stream=0, config=replace(STILL, rotation=1.0)))
    torch.testing.assert_close(moved.norm(dim=1), torch.full((400,), 9.0), rtol=0.01, atol=0)
    angle = torch.atan2(moved[:, 1], moved[:, 0])
    assert 0.9 < float(angle.max()) <= 1.01
    assert -1.01 <= float(angle.min()) < -0.9
    assert abs(float(angle.mean())) < 4 * 2 / math.sqrt(12 * 400)


def test_shifts_reach_the_share_of_the_side_and_at_least_a_pixel() -> None:
    for side, reach in ((28, 2), (8, 1)):
        moved = centre(augment(spot(side, side, at=(0, 0)) ** 4, index(400), seed=0, stream=0, config=replace(STILL, shift=0.1)))
        assert bool((moved.abs() < reach + 0.05).all())
        assert bool((moved.abs().amax(0) > 0.9 * reach).all())


def test_scaling_and_flipping() -> None:
    far = spot(41, 41, at=(10, 0))
    across = centre(augment(far, index(400), seed=0, stream=0, config=replace(STILL, scale=0.2)))[:, 0]
    assert 10 / 1.2 - 0.1 < float(across.min()) < 8.6
    assert 12 < float(across.max()) < 10 / 0.8 + 0.1
    view = augment(far, index(400), seed=0, stream=0, config=replace(STILL, flip=True))
    turned = centre(view)[:, 0] < 0
    assert 150 < int(turned.sum()) < 250
    torch.testing.assert_close(view[turned], far[turned].flip(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(view[~turned], far[~turned], rtol=0, atol=1e-5)


def test_a_crop_lies_inside_the_image_and_keeps_its_share_of_the_area() -> None:
    """On a ramp across and a ramp down, a crop's values tell its box."""
    ramp = (torch.arange(64) + 0.5) / 64
    image = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)]).expand(300, 2, 64, 64)
    view = augment(image, index(300), seed=0, stream=0, config=replace(STILL, crop=0.25))
    inner = view[:, :, 8:56, 8:56]  # away from the border, where padding shows
    across = (inner[:, 0, 0, -1] - inner[:, 0, 0, 0]) * 64 / 47
    down = (inner[:, 1, -1, 0] - inner[:, 1, 0, 0]) * 64 / 47
    middle = torch.stack([view[:, 0, :, 31:33].mean((1, 2)), view[:, 1, 31:33].mean((1, 2))], 1)
    for side, at in ((across, middle[:, 0]), (down, middle[:, 1])):
        assert bool((at - side / 2 > -0.01).all() and (at + side / 2 < 1.01).all())
    area = across * down
    assert 0.24 < float(area.min()) < 0.32
    assert float(area.max()) > 0.85
    aspect = torch.log(across / down).abs()
    assert 0.2 < float(aspect.max()) < math.log(4 / 3) + 0.01


def test_colour_changes_keep_what_they_say() -> None:
    image = 0.3 + 0.2 * images((3, 4, 4))
    bright = augment(image, index(16), seed=0, stream=0, config=replace(STILL, brightness=0.4)) / image
    torch.testing.assert_close(bright, bright[:, :1, :1, :1].expand_as(bright))
    assert 0.6 <= float(bright.min()) < 0.8
    assert 1.2 < float(bright.max()) <= 1.4
    gain = augment(image, index(16), seed=0, stream=0, config=replace(STILL, gain=0.2)) / image
    torch.testing.assert_close(gain, gain[:, :, :1, :1].expand_as(gain))
    assert float((gain[:, 0] - gain[:, 1]).abs().max()) > 0.1
    faded = augment(image, index(16), seed=0, stream=0, config=replace(STILL, saturation=0.8))
    torch.testing.assert_close(faded.mean(1), image.mean(1))
    ratio = (faded - faded.mean(1, keepdim=True)).flatten(1).norm(dim=1) / (image - image.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    assert 0.2 <= float(ratio.min()) < 0.7
    assert 1.3 < float(ratio.max()) <= 1.801
    grey = images((1, 4, 4))
    assert torch.equal(augment(grey, index(16), seed=0, stream=0, config=replace(STILL, gain=0.2, saturation=0.8)), grey)


@pytest.mark.parametrize("image_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_offset_and_contrast_are_their_closed_forms(image_range: tuple[float, float]) -> None:
    """x + a, then m + f (x + a - m) with m the mean of a channel, then cut to the range: as of TensorFlow's random brightness and contrast."""
    low, high = image_range
    image, config = images((3, 6, 5), 400, image_range, torch.float64), replace(STILL, offset=16 / 255, contrast=0.2)
    view = augment(image, index(400), seed=3, stream=4, config=config, image_range=image_range)
    drawn = 2 * noise.uniform(index(400), 18, seed=3, stream=4, dtype=torch.float32).double()[:, 16:] - 1  # 13 and 3 of other parts
    added, factor = (16 / 255 * (high - low) * drawn[:, 0])[:, None, None, None], (1 + 0.2 * drawn[:, 1])[:, None, None, None]
    bright = image + added
    mean = bright.mean((2, 3), keepdim=True)
    torch.testing.assert_close(view, (mean + factor * (bright - mean)).clamp(low, high))
    for reach, seen in ((16 / 255 * (high - low), added), (0.2, factor - 1)):
        assert 0.95 * reach < float(seen.max()) <= reach
        assert -reach <= float(seen.min()) < -0.95 * reach
    others = augment(image, index(400), seed=3, stream=4, config=COLOUR, image_range=image_range)
    beside = augment(image, index(400), seed=3, stream=4, config=replace(COLOUR, contrast=1e-9), image_range=image_range)
    torch.testing.assert_close(beside, others, rtol=0, atol=1e-8)


def test_strengths_out_of_range_are_refused() -> None:
    for name, wrong in {
        "rotation": -0.1,
        "scale": 1.0,
        "shift": 1.2,
        "crop": 0.0,
        "brightness": 2.0,
        "gain": -1.0,
        "saturation": 1.5,
        "cutout": -0.1,
        "offset": 1.1,
        "contrast": -0.1,
    }.items():
        with pytest.raises(ValueError, match=name):
            replace(DIGITS, **{name: wrong})
