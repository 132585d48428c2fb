"""Slots of a class or of pictures, in memories whose slots hold what is known; and what is left of a class that is forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import memogen
from memogen.data import load
from memogen.memory import VMFMemory
from memogen.memory.inspect import near, prior, written
from memogen.metrics import evaluate
from memogen.metrics.slot_choice import class_shares, drawn, real_posterior, slots_of_classes, slots_of_pictures, without_classes
from memogen.metrics.slots import Placed, placed
from memogen.pretrained import save_pretrained
from memogen.types import ImageData, InputError
from tests.command import run


def memory_of_axes() -> VMFMemory:
    """Real slots 0 to 3 with the axes 0, 1, 2 and none as keys, fake slots with the axes 4 to 7; so sharp that an image has one slot."""
    memory = VMFMemory(8, 8, concentration=200.0, top_k=8)
    memory.keys.copy_(torch.eye(8))
    memory.keys[3] = 0
    memory.mass.copy_(torch.tensor([2.0, 3.0, 5.0, 0.0, 1.0, 1.0, 1.0, 1.0]))
    return memory


def known(slots: list[int], label: list[int]) -> Placed:
    """Images whose queries are the keys of slots."""
    images = ImageData(np.zeros((len(slots), 1, 2, 2), np.uint8), np.array(label), ("a", "b", "c"), name="axes")
    return Placed(images, torch.eye(8)[slots], torch.tensor(slots), len(slots))


MIXED = known([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2])  # slot 0: half a, half b; slot 1: b; slot 2: c


def test_the_parts_of_a_slot_are_those_of_its_images() -> None:
    shares = class_shares(memory_of_axes(), MIXED)
    wanted = torch.zeros(8, 3, dtype=torch.float64)
    wanted[:3] = torch.tensor([[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(shares[:3], wanted[:3], atol=1e-6, rtol=0)
    assert not shares[3:].any(), "an empty slot and fake ones have no images"
    share = real_posterior(memory_of_axes(), torch.randn(5, 8))
    torch.testing.assert_close(share.sum(1), torch.ones(5))
    assert not share[:, 3:].any()


@pytest.mark.parametrize(("classes", "held", "wanted"), [([0], 0.2, [0]), ([0], 0.6, []), ([1], 0.2, [0, 1]), ([1], 0.6, [1]), ([0, 1], 0.9, [0, 1])])
def test_a_slot_holds_the_classes_of_enough_of_its_images(classes: list[int], held: float, wanted: list[int]) -> None:
    assert slots_of_classes(memory_of_axes(), MIXED, classes, held=held).tolist() == wanted


def test_classes_beside_a_forgotten_one_keep_their_shares_of_each_other() -> None:
    memory = memory_of_axes()
    edited, gone = without_classes(memory, MIXED, [0])
    plain, _ = without_classes(memory, MIXED, [0], even=False)
    assert gone.tolist() == [0] and written(edited).tolist() == [False, True, True, False, *[True] * 4]
    before, after, bare = prior(memory), prior(edited), prior(plain)
    assert float(bare[1] / bare[2]) == pytest.approx(3 / 5)
    assert float(after[1] / after[2]) == pytest.approx(float((0.5 * before[0] + before[1]) / before[2])), "half of the mass of slot 0 was of class b"
    assert torch.equal(edited.mass[4:], memory.mass[4:])


def test_samples_have_the_classes_of_the_labelled_images_nearest_to_them() -> None:
    model, train = memogen.from_pretrained("digits"), load("digits", split="train")
    labelled = placed(model, train)  # type: ignore[arg-type]
    samples = drawn(model, labelled, num=40)  # type: ignore[arg-type]
    latents = model.latents(40, seed=0)
    torch.testing.assert_close(samples.query, latents.key.repeat_interleave(5, 0))  # type: ignore[union-attr]
    assert samples.slot.tolist() == latents.slot.repeat_interleave(5).tolist() and samples.of == 40  # type: ignore[union-attr]
    cosine = torch.nn.functional.cosine_similarity(model.encode(model.sample(40, seed=0))[:, None], labelled.query[None], dim=2)
    for sample, row in enumerate(cosine):
        assert sorted(samples.label[5 * sample : 5 * sample + 5].tolist()) == sorted(labelled.label[row.argsort(descending=True)[:5]].tolist())


def test_several_classes_on_shared_slots_keep_their_shares_too() -> None:
    """Slot 0, which goes, holds a quarter of b; of the slots that stay one holds b and c by half: one round of fitting is not enough."""
    memory = memory_of_axes()
    edited, _ = without_classes(memory, known([0] * 4 + [1, 1, 2, 2], [0, 0, 0, 1, 1, 2, 2, 2]), [0])
    shares = torch.tensor([[0.25, 0], [0.5, 0.5], [0, 1]], dtype=torch.float64)
    before, after = (prior(each)[:3] @ shares for each in (memory, edited))
    assert float(after[0] / after[1]) == pytest.approx(float(before[0] / before[1]), rel=0.03)


def test_slots_of_one_class_each_only_renormalise() -> None:
    memory, alone = memory_of_axes(), known([0, 1, 2], [0, 1, 2])
    edited, _ = without_classes(memory, alone, [2])
    torch.testing.assert_close(prior(edited)[:2], torch.tensor([0.4, 0.6], dtype=torch.float64), atol=1e-6, rtol=0)


def test_what_cannot_be_found_is_refused() -> None:
    with pytest.raises(InputError, match="no image of axes has class 2"):
        slots_of_classes(memory_of_axes(), known([0, 1], [0, 1]), [2])
    with pytest.raises(InputError, match="would be gone"):
        without_classes(memory_of_axes(), MIXED, [0, 1, 2])
    with pytest.raises(InputError, match="held"):
        slots_of_classes(memory_of_axes(), MIXED, [0], held=0.0)


def test_pictures_and_regions() -> None:
    memory = memory_of_axes()
    between = torch.nn.functional.normalize(torch.eye(8)[0] + torch.eye(8)[1], dim=0)[None]
    assert slots_of_pictures(memory, torch.eye(8)[[2]]).tolist() == [2]
    memory.mass[:2] = 3.0
    assert slots_of_pictures(memory, between).tolist() == [0, 1], "it belongs to both by half"
    assert near(memory, between, 0.7).tolist() == [0, 1] and near(memory, between, 0.8).tolist() == []
    assert near(memory, memory.keys[:1], 0.9).tolist() == [0] and near(memory, torch.eye(8)[[5]], 0.9, value=0).tolist() == [5]


def test_a_digit_that_is_forgotten_is_hardly_drawn_and_the_others_stay() -> None:
    """The shipped model; the promise of docs/howto/edit_a_memory.md, with room for the luck of a thousand samples."""
    model, test, train = memogen.from_pretrained("digits"), load("digits", split="test"), load("digits", split="train")
    before = model.memory
    rows = {row.metric: row for row in evaluate(model, test, metrics=["forgotten"], num_samples=1000, train=train, progress=False)}  # type: ignore[arg-type]
    assert model.memory is before
    by_class = rows["forgotten_left"].protocol["by_class"]  # type: ignore[index]
    assert list(by_class) == [str(digit) for digit in range(10)]
    assert sum(one["before"] for one in by_class.values()) == pytest.approx(1)
    assert all(one["before"] > 0.06 and 20 <= one["slots"] <= 40 for one in by_class.values())
    assert all(one["after"] - one["floor"] < 0.02 and one["distance_after"] < 1.1 * one["distance_before"] for one in by_class.values())
    assert rows["forgotten_left_most"].value == pytest.approx(max(one["after"] - one["floor"] for one in by_class.values()))


def test_a_class_that_is_never_drawn_leaves_the_memory_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, test, train = memogen.from_pretrained("digits"), load("digits", split="test"), load("digits", split="train")
    labelled = placed(model, train)  # type: ignore[arg-type]
    while 0 in (known := drawn(model, labelled)).label:  # type: ignore[arg-type]
        model.memory = without_classes(model.memory, known, [0], held=0.001)[0]  # type: ignore[arg-type]
    rows = {row.metric: row for row in evaluate(model, test, metrics=["forgotten"], num_samples=1000, train=train, progress=False)}  # type: ignore[arg-type]
    one = rows["forgotten_left"].protocol["by_class"]["0"]  # type: ignore[index]
    assert one["slots"] == one["prior"] == 0 and one["after"] == one["before"] and one["distance_after"] == pytest.approx(one["distance_before"])
    save_pretrained(model, tmp_path / "model")
    code, _, err = run(f"memory forget {tmp_path / 'model'} --classes 0 --data digits --out {tmp_path / 'edited'}", capsys)
    assert code == 2 and "class" in err.splitlines()[-1] and "--cosine" not in err
    assert not (tmp_path / "edited").exists()


def test_five_pictures_of_a_digit_are_drawn_and_found_again() -> None:
    """Of a model that knows the digit after all, so that the numbers are high; training images without it only say which class is new."""
    model, test, train = memogen.from_pretrained("digits"), load("digits-without-9", split="test"), load("digits-without-9", split="train")
    rows = {row.metric: row for row in evaluate(model, test, extractor="digits", metrics=["few"], train=train, progress=False)}  # type: ignore[arg-type]
    drawn = rows["few_drawn"].protocol["drawn_as"]  # type: ignore[index]
    assert list(drawn) == ["9"] and sum(drawn["9"].values()) == pytest.approx(1, abs=1e-3)
    assert rows["few_drawn"].value == pytest.approx(drawn["9"]["9"], abs=1e-4)
    assert float(rows["few_drawn"].value or 0) > 0.7 and float(rows["few_recalled"].value or 0) > 5 * float(rows["few_mistaken"].value or 1)


@pytest.mark.parametrize("metric", ["forgotten", "few"])
def test_edits_of_what_has_no_slots_or_nothing_new_are_refused(metric: str) -> None:
    test, train = load("digits", split="test"), load("digits", split="train")
    with pytest.raises(InputError, match="draws from no slots"):
        evaluate(memogen.from_pretrained("digits-vae"), test, metrics=[metric], train=train, progress=False)  # type: ignore[arg-type]
    if metric == "few":
        with pytest.raises(InputError, match="was trained on"):
            evaluate(memogen.from_pretrained("digits"), test, metrics=[metric], train=train, progress=False)  # type: ignore[arg-type]
