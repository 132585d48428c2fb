"""What slots know of classes, in worked cases and in memories that know something or nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from memogen.evaluation.clusters import agreement, kmeans, told_by_cluster, told_by_neighbours
from memogen.evaluation.life_signs import knowing
from memogen.evaluation.slot_knowledge import Placed, knowledge, lead, name_slots, placed, slot_names, slots_beside_pixels, untrained
from memogen.types import ImageData, InputError
from tests.evaluation.patterns import CLASSES, model, patterns
from tests.report import toy


def test_names_worked_by_hand() -> None:
    slot, label = torch.tensor([0, 0, 0, 2, 2, -1, 3]), torch.tensor([1, 1, 0, 2, 2, 0, 3])
    names = slot_names(slot, label, ("T-shirt", "Sneaker", "Bag"), 5)
    assert [names[each] for each in range(5)] == ["Sneaker 0.67", "", "Bag 1.00", "3 1.00", ""]
    assert names.label.tolist() == [1, -1, 2, 3, -1] and len(names) == 5


def test_images_are_placed_in_their_best_real_slots() -> None:
    built, data = toy.model(), toy.images(40)
    assert built.memory is not None
    found = placed(built, data, num=100)
    query = built.encode(torch.from_numpy(data.image))
    torch.testing.assert_close(found.query, query)
    assert torch.equal(found.slot, (built.memory.posterior(query) * (built.memory.values > 0.5)).argmax(1))
    part = placed(built, data, num=15)
    assert (len(part.slot), part.of) == (15, 40) and torch.equal(part.slot, placed(built, data, num=15).slot), "the same ones always"


def test_slots_that_hold_the_means_of_classes_know_them() -> None:
    known, asked = (placed(model(knows=True), patterns(num, seed=num)) for num in (200, 120))
    found = knowledge(model(knows=True), known, asked)
    slots, pixels, fresh, random, means = found.sortings
    assert slots.told.value == 1 and slots.agreement.value == pytest.approx(1) and slots.told.error == 0
    assert [each.clusters for each in (slots, pixels, means)] == [4, 4, 4] and max(fresh.clusters, random.clusters) <= 4
    assert means.told.value == 1 and pixels.told.value < 0.8, "brightness sorts pixels"
    assert lead(slots, pixels).value == pytest.approx(1 - pixels.told.value)
    assert [name_slots(known, 8)[each] for each in range(5)] == [*(f"{name} 1.00" for name in CLASSES), ""]
    assert set(found.neighbours) == {"queries", "pixels", "an untrained critic's queries"} and found.neighbours["queries"].all()


def test_every_mark_is_told_from_its_own_rows() -> None:
    built = model(knows=False)
    known, asked = placed(built, patterns(200, seed=1)), placed(built, patterns(120, seed=2))
    found = knowledge(built, known, asked, seed=3, fresh_seed=4)
    used, label, asked_label = len(known.slot.unique()), known.label, asked.label
    assert torch.equal(found.sortings[0].right, told_by_cluster(known.slot, label, asked.slot, asked_label))
    in_pixels = kmeans(known.pixels, asked.pixels, used, seed=3)
    assert torch.equal(found.sortings[1].right, told_by_cluster(in_pixels[0], label, in_pixels[1], asked_label))
    assert found.sortings[1].agreement.value == agreement(in_pixels[1], asked_label)
    chosen = np.random.default_rng(3).permutation(200)[:used]
    torch.manual_seed(4)
    fresh = built.config.build()
    for sorting, (bank, query) in (
        (found.sortings[2], [fresh.encode(torch.from_numpy(part.images.image)) for part in (known, asked)]),
        (found.sortings[3], [known.query, asked.query]),
    ):
        nearest = [(rows @ bank[chosen].T).argmax(1) for rows in (bank, query)]
        assert torch.equal(sorting.right, told_by_cluster(nearest[0], label, nearest[1], asked_label))
    near = told_by_neighbours(known.pixels, label, asked.pixels, asked_label)
    assert torch.equal(found.neighbours["pixels"], near)


def test_an_untrained_model_starts_as_its_run_did_and_disturbs_nobody() -> None:
    torch.manual_seed(7)
    start = toy.model().config.build()
    torch.manual_seed(8)
    fresh, after = untrained(toy.model(), 7), torch.rand(1)
    assert all(torch.equal(one, other) for one, other in zip(start.parameters(), fresh.parameters(), strict=True))
    torch.manual_seed(8)
    toy_again = toy.model()
    assert toy_again.memory is not None and torch.equal(after, torch.rand(1)), "both drew as if the other had not been"


def _sign(knows: bool, *, shuffled: bool = False) -> tuple[Placed, Placed]:
    built = model(knows=knows)
    return placed(built, patterns(200, seed=1, split="train", shuffled=shuffled)), placed(built, patterns(200, seed=2, shuffled=shuffled))


def test_the_sign_lives_where_slots_know_and_dies_where_they_do_not() -> None:
    well, ill = knowing(*_sign(True)), knowing(*_sign(False))
    assert well is not None and well.alive and well.last == 1 and well.earlier is None
    slots, pixels = slots_beside_pixels(*_sign(False))
    assert ill is not None and not ill.alive and ill.last == slots.told.value
    both = slots.right.double() - pixels.right.double()
    assert ill.limit == pytest.approx(pixels.told.value - 2 * float(both.std()) / math.sqrt(200))


def test_nobody_knows_what_labels_do_not_say() -> None:
    """Where labels are drawn at random, pixels know no more than slots, so nothing is held against these."""
    known, asked = _sign(True, shuffled=True)
    slots, _ = slots_beside_pixels(known, asked)
    assert abs(slots.told.value - 0.25) < 0.12 and abs(slots.agreement.value) < 0.05
    sign = knowing(known, asked)
    assert sign is not None and sign.alive


def test_without_labels_there_is_no_sign_and_there_are_no_names() -> None:
    built = toy.model()
    unlabelled = placed(built, toy.images())
    labelled = placed(built, ImageData(unlabelled.images.image, np.arange(40) % 3, name="toys"))
    assert knowing(labelled, unlabelled) is None and knowing(unlabelled, labelled) is None
    with pytest.raises(InputError, match="no labels"):
        name_slots(unlabelled, 64)


def test_what_has_no_slots_is_refused() -> None:
    with pytest.raises(InputError, match="without a memory"):
        placed(toy.model(memory=False), toy.images())
    with pytest.raises(InputError, match="of its shape"):
        placed(toy.model(), toy.images(channels=3))
    built = toy.model()
    assert built.memory is not None
    built.memory.values.zero_()
    with pytest.raises(InputError, match="no slot of the memory is real"):
        placed(built, toy.images())
