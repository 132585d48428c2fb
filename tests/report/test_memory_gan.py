"""The slots of a mixture memory: their order by meaning, the wall, and what they tell in tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memogen.memory.functional import unit
from memogen.memory.inspect import prior
from memogen.metrics.slot_contents import image_contents, sample_contents
from memogen.metrics.slots import Knowledge, Sorting, agreement, effective_rank, placed, slot_names, variance_between
from memogen.report import grid
from memogen.report.figures import by_likeness, by_meaning
from memogen.report.memory_gan import about, contents_table, knowledge_table, neighbours_table, slot_wall, spread
from memogen.types import InputError, Latents, to_uint8
from tests.report import toy


@given(seed=st.integers(0, 1000), num=st.integers(0, 20), copies=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_order_is_a_permutation_and_equal_keys_are_neighbours(seed: int, num: int, copies: int) -> None:
    random = torch.Generator().manual_seed(seed)
    which = torch.randperm(num * copies, generator=random) % max(num, 1)
    keys = unit(torch.randn(num, 5, generator=random))[which]
    order = by_likeness(keys)
    assert sorted(order.tolist()) == list(range(num * copies))
    if copies > 1:
        assert len(which[order].unique_consecutive()) == num


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_keys_along_an_arc_come_in_its_order(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    angle = torch.rand(12, generator=random) * 2
    order = by_likeness(torch.stack([angle.cos(), angle.sin()], 1))
    step = angle[order].diff()
    assert bool((step > 0).all() or (step < 0).all())


@given(seed=st.integers(0, 1000), classes=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_by_meaning_keeps_classes_together(seed: int, classes: int) -> None:
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(-1, classes, (17,), generator=random)
    order = by_meaning(unit(torch.randn(17, 4, generator=random)), label)
    assert sorted(order.tolist()) == list(range(17))
    assert len(label[order].unique_consecutive()) == len(label.unique())


def test_a_wall_has_a_row_of_the_heaviest_slots_of_each_class() -> None:
    model = toy.model()
    memory = model.memory
    assert memory is not None
    real = (memory.values > 0.5).nonzero()[:, 0]
    slot = real[:20]
    names = slot_names(slot, (torch.arange(20) >= 18).long(), ("many", "few"), 64)
    wall = np.asarray(slot_wall(model, names, seed=2))
    noise = model.latents(1, seed=2).noise
    pitch = 56 + grid.CAPTION + 6
    heaviest = slot[:18][prior(memory)[slot[:18]].sort(descending=True, stable=True).indices[:16]]
    rows = []
    for line in range(2):
        top = line * pitch + grid.CAPTION
        rows.append([wall[top : top + 56 : 7, left : left + 56 : 7, 0].tobytes() for left in range(0, 16 * 58 - 2, 58)])
    for members in (heaviest, slot[18:]):
        images = to_uint8(model.decode(Latents(noise.expand(len(members), -1), memory.keys[members], members)), model.image_range)
        shown = next(row for row in rows if images[0, 0].numpy().tobytes() in row)
        assert sorted(image[0].numpy().tobytes() for image in images) == sorted(shown[: len(members)])


def test_a_wall_without_names_holds_every_real_slot() -> None:
    model = toy.model()
    assert model.memory is not None
    num = int((model.memory.values > 0.5).sum())
    assert slot_wall(model).size == (16 * 58 - 2, -(-num // 16) * 58 - 2)
    model.memory.values.zero_()
    with pytest.raises(InputError, match="no real slot"):
        slot_wall(model)


RIGHT = torch.tensor([True, True, True, False])


def test_contents_stand_beside_each_other() -> None:
    model = toy.model()
    own, drawn = image_contents(placed(model, toy.images())), sample_contents(model, num=40)
    assert drawn is not None
    table = {row[0]: row[1:] for row in contents_table(own, drawn)}
    assert table[""] == ["images", "samples"] and table["number"] == ["40", "40"]
    assert table["different slots"] == [str(len(seen.slot.unique())) for seen in (own, drawn)]
    between = [variance_between(seen.views["pixels"], seen.slot) for seen in (own, drawn)]
    assert table["variance of pixels between slots"] == [f"{share:.3f}" for share in between]
    assert [row[0] for row in contents_table(own, None)] == list(table) and len(contents_table(own, None)[0]) == 2


def test_every_mark_says_how_far_the_slots_lead() -> None:
    """Slots tell three of four, the mark one, and at its second start two."""
    label, asked_label = torch.tensor([0, 1]), torch.tensor([0, 0, 1, 0])
    slots = Sorting("slots", torch.tensor([[4, 5]]), torch.tensor([[4, 4, 5, 5]]), label, asked_label)
    mark = Sorting("mark", torch.tensor([[0, 1], [0, 1]]), torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]]), label, asked_label)
    _, first, second = knowledge_table(Knowledge((slots, mark)))
    assert first[:-1] == ["slots", "2", "", "0.750 ± 0.250", ""]
    apart = (torch.tensor([1, 1, 1, 0]) - torch.tensor([0.5, 0, 1, 0])).std() / 2
    assert second[1:4] == ["2", "2", "0.375 ± 0.239"] and second[4] == f"+0.375 ± {apart:.3f}"
    assert first[-1].startswith(f"{agreement(slots.asked[0], asked_label):.3f}")
    assert second[-1].startswith(f"{(agreement(mark.asked[0], asked_label) + agreement(mark.asked[1], asked_label)) / 2:.3f}")
    assert neighbours_table(Knowledge((slots,), {"pixels": RIGHT}))[1] == ["pixels", "0.750 ± 0.250"]


def test_words_hold_the_numbers() -> None:
    asked, known = placed(toy.model(), toy.images(), num=30), placed(toy.model(), toy.images(50))
    assert "50 of 50 training images" in about(known, asked) and "30 of 40 test images" in about(known, asked)
    assert f"{effective_rank(asked.query):.1f} of 8" in spread(asked)
