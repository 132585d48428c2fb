"""What slots tell, as texts: the numbers stand where their titles say."""

from __future__ import annotations

import torch

from memogen.evaluation.clusters import Estimate, effective_rank, variance_between
from memogen.evaluation.slot_contents import image_contents, sample_contents
from memogen.evaluation.slot_knowledge import Knowledge, Sorting, placed
from memogen.report.clusters import about, contents_table, knowledge_table, neighbours_table, spread
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
    slots, mark = Sorting("slots", 1200, RIGHT, Estimate(0.5, 0.01)), Sorting("mark", 7, ~RIGHT, Estimate(-0.25, 0.02))
    _, first, second = knowledge_table(Knowledge((slots, mark)))
    assert first == ["slots", "1,200", "0.750 ± 0.250", "", "0.500 ± 0.010"]
    assert second == ["mark", "7", "0.250 ± 0.250", "+0.500 ± 0.500", "-0.250 ± 0.020"]
    assert neighbours_table(Knowledge((slots,), {"pixels": RIGHT}))[1] == ["pixels", "0.750 ± 0.250"]


def test_words_hold_the_numbers() -> None:
    asked, known = placed(toy.model(), toy.images(), num=30), placed(toy.model(), toy.images(50))
    assert "50 of 50 training images" in about(known, asked) and "30 of 40 test images" in about(known, asked)
    assert f"{effective_rank(asked.query):.1f} of 8" in spread(asked)
