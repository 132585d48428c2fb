"""What slots know of classes, in worked cases and in memories that know something or nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from memogen.metrics.life_signs import knowing
from memogen.metrics.slots import (
    Placed,
    Sorting,
    agreement,
    kmeans,
    knowledge,
    lead,
    name_slots,
    placed,
    slot_names,
    slots_beside_pixels,
    told_by_neighbours,
    untrained,
)
from memogen.types import ImageData, InputError
from tests.metrics.patterns import CLASSES, model, patterns
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
    assert means.told.value == 1
    assert lead(slots, pixels).value == pytest.approx(1 - pixels.told.value)
    assert [name_slots(known, 8)[each] for each in range(5)] == [*(f"{name} 1.00" for name in CLASSES), ""]
    assert set(found.neighbours) == {"queries", "pixels", "an untrained critic's queries"} and found.neighbours["queries"].all()


def test_every_mark_sorts_its_own_rows() -> None:
    built = model(knows=False)
    known, asked = placed(built, patterns(200, seed=1)), placed(built, patterns(120, seed=2))
    found = knowledge(built, known, asked, seed=3, fresh_seed=4)
    slots, pixels, fresh, random, means = found.sortings
    assert torch.equal(slots.known[0], known.slot) and torch.equal(slots.asked[0], asked.slot) and len(slots.known) == 1
    torch.manual_seed(4)
    first = [built.config.build().encode(torch.from_numpy(known.images.image))]
    torch.manual_seed(4)
    first.append(built.config.build().encode(torch.from_numpy(asked.images.image)))
    for start in (0, 9):
        for mark, rows, queries in ((pixels, known.pixels, asked.pixels), (means, known.query, asked.query)):
            cluster, fallen = kmeans(rows, queries, slots.clusters, seed=3 + start)
            assert torch.equal(mark.known[start], cluster) and torch.equal(mark.asked[start], fallen)
        chosen = np.random.default_rng(3 + start).permutation(200)[: slots.clusters]
        for mark, (bank, query) in ((fresh, first), (random, [known.query, asked.query])):
            for sorted_by, rows in ((mark.known, bank), (mark.asked, query)):
                cosine = rows @ bank[chosen].T
                torch.testing.assert_close(cosine.gather(1, sorted_by[start][:, None])[:, 0], cosine.amax(1), atol=1e-6, rtol=0)
    near = told_by_neighbours(known.pixels, known.label, asked.pixels, asked.label)
    assert torch.equal(found.neighbours["pixels"], near)


def test_right_is_a_share_of_starts() -> None:
    """Four test images; the second start sorts the last one otherwise."""
    label, asked_label = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1, 0])
    known, asked = torch.tensor([[0, 0, 1], [0, 0, 1]]), torch.tensor([[0, 0, 1, 0], [0, 0, 1, 1]])
    found = Sorting("by hand", known, asked, label, asked_label)
    assert found.right.tolist() == [1, 0, 1, 0.5] and found.told.value == 0.625 and found.clusters == 2
    assert found.agreement.value == pytest.approx((agreement(asked[0], asked_label) + agreement(asked[1], asked_label)) / 2)


def test_an_untrained_model_starts_as_its_run_did_and_disturbs_nobody() -> None:
    model = toy.model()
    torch.manual_seed(7)
    start, state = model.config.build(), torch.get_rng_state()
    fresh = untrained(model, 7)
    assert all(torch.equal(one, other) for one, other in zip(start.parameters(), fresh.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


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
