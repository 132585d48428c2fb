"""Batches: addressed by image number, the same joint batch for any number of processes, every epoch a permutation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memogen.data.batches import Batches, epoch_order
from memogen.types import ImageData, InputError


def numbered(count: int) -> ImageData:
    """Image i has every pixel equal to i mod 256 and the label i."""
    image = np.broadcast_to((np.arange(count) % 256).astype(np.uint8)[:, None, None, None], (count, 1, 2, 2))
    return ImageData(np.ascontiguousarray(image), np.arange(count))


sizes = st.integers(1, 40)
seeds = st.integers(-(2**40), 2**40)
worlds = st.sampled_from([1, 2, 3, 4])


@given(count=sizes, seed=seeds, world=worlds, share=st.integers(1, 9), seen=st.integers(0, 200))
def test_shares_of_all_ranks_are_the_joint_batch(count: int, seed: int, world: int, share: int, seen: int) -> None:
    data, size = numbered(count), world * share
    joint = Batches(data, size, seed=seed).at(seen, step=3, stream=1)
    parts = [Batches(data, size, seed=seed, rank=rank, world_size=world).at(seen, step=3, stream=1) for rank in range(world)]
    for name in ("index", "image", "label"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(joint, name))
    assert (joint.step, joint.stream, joint.seed) == (3, 1, seed)
    assert torch.equal(joint.index, torch.arange(seen, seen + size))


@given(count=sizes, seed=seeds, size=st.integers(1, 30), start=st.integers(0, 7))
def test_starting_anywhere_equals_continuing(count: int, seed: int, size: int, start: int) -> None:
    data = numbered(count)
    running = Batches(data, size, seed=seed)
    passed = [running.at(step * size, step=step, stream=0).label for step in range(start + 3)]
    fresh = Batches(data, size, seed=seed)
    for step in (start + 2, start, start + 1):  # in any order, too
        assert torch.equal(fresh.at(step * size, step=step, stream=0).label, passed[step])


@given(count=sizes, seed=seeds, size=st.integers(1, 50))
def test_every_epoch_shows_every_image_once(count: int, seed: int, size: int) -> None:
    batches, epochs = Batches(numbered(count), size, seed=seed), 3
    steps = -(-epochs * count // size)
    seen = torch.cat([batches.at(step * size, step=step, stream=0).label for step in range(steps)])[: epochs * count]
    assert torch.equal(seen.view(epochs, count).sort(dim=1).values, torch.arange(count).expand(epochs, count))


def test_epochs_and_seeds_differ() -> None:
    orders = [epoch_order(1000, seed=seed, epoch=epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_the_order_is_pinned() -> None:
    assert epoch_order(10, seed=7, epoch=2).tolist() == PINNED


PINNED = [6, 7, 8, 4, 0, 1, 5, 3, 9, 2]


def test_pixels_belong_to_their_labels() -> None:
    batch = Batches(numbered(300), 64, seed=0).at(290, step=0, stream=0)
    assert batch.image is not None and batch.image.dtype == torch.uint8 and batch.label is not None
    assert torch.equal(batch.image[:, 0, 1, 1].long(), batch.label % 256)


def test_an_address_without_pixels() -> None:
    batch = Batches(numbered(5), 4, seed=9, rank=1, world_size=2).at(8, step=2, stream=5, pixels=False)
    assert batch.image is None and batch.label is None
    assert batch.index.tolist() == [10, 11] and (batch.seed, batch.step, batch.stream) == (9, 2, 5)


def test_data_without_labels() -> None:
    batch = Batches(ImageData(np.zeros((3, 3, 4, 2), np.uint8)), 5, seed=0).at(0, step=0, stream=0)
    assert batch.label is None and batch.image is not None and batch.image.shape == (5, 3, 4, 2)


def test_a_batch_is_the_callers_own(tmp_path) -> None:
    np.save(tmp_path / "x.npy", numbered(4).image)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = Batches(ImageData(mapped), 4, seed=0)
    first = batches.at(0, step=0, stream=0).image
    assert first is not None
    kept = first.clone()
    first.zero_()
    again = batches.at(0, step=0, stream=0).image
    assert again is not None and torch.equal(again, kept)


@pytest.mark.parametrize(("size", "rank", "world"), [(5, 0, 2), (0, 0, 1), (4, 2, 2), (4, -1, 2)])
def test_shares_that_do_not_fit_are_refused(size: int, rank: int, world: int) -> None:
    with pytest.raises(InputError, match=r"batch_size|rank"):
        Batches(numbered(4), size, seed=0, rank=rank, world_size=world)


def test_no_images_is_refused() -> None:
    with pytest.raises(InputError, match="has no images"):
        Batches(ImageData(np.zeros((0, 1, 2, 2), np.uint8)), 4, seed=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
def test_a_gpu_gets_the_same_batches(resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not resident:
        monkeypatch.setattr("memogen.data.batches.RESIDENT_BYTES", 0)
    here, there = (Batches(numbered(50), 16, seed=3, device=device) for device in ("cpu", "cuda"))
    for step in range(6):
        one, other = here.at(step * 16, step=step, stream=0), there.at(step * 16, step=step, stream=0)
        assert all(torch.equal(getattr(one, name), getattr(other, name).cpu()) for name in ("index", "image", "label"))
