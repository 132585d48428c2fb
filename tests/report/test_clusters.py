"""What slots tell, as texts: the numbers stand where their titles say."""

from __future__ import annotations

import torch

from memogen.metrics.slot_contents import image_contents, sample_contents
from memogen.metrics.slots import Knowledge, Sorting, agreement, effective_rank, placed, variance_between
from memogen.report.memory_gan import about, contents_table, knowledge_table, neighbours_table, spread
from tests.report import toy

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
