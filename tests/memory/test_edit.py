"""Edited memories: what is left renormalises, what is added takes its share, and the memory itself stays as it was."""

from __future__ import annotations

import copy

import pytest
import torch

from memogen.memory import VMFMemory
from memogen.memory.edit import added, weighted, without
from memogen.memory.functional import unit
from memogen.memory.inspect import prior, written


def filled(policy: str = "robust", num_slots: int = 24) -> VMFMemory:
    memory = VMFMemory(num_slots, 6, concentration=8.0, top_k=8, policy=policy)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        memory.write(torch.randn(24, 6, generator=generator), (torch.arange(24) % 2).float())
    return memory


def queries(num: int = 50) -> torch.Tensor:
    return torch.randn(num, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("policy", ["robust", "paper", "code"])
def test_what_is_left_of_a_class_renormalises(policy: str) -> None:
    memory = filled(policy)
    real = memory.values > 0.5
    gone = real.nonzero()[:3, 0]
    edited, left = without(memory, gone), real.clone()
    left[gone] = False
    torch.testing.assert_close(prior(edited)[left], prior(memory)[left] / prior(memory)[left].sum())
    before, after = memory.posterior(queries()), edited.posterior(queries())
    torch.testing.assert_close(after[:, left] / after[:, left].sum(1, keepdim=True), before[:, left] / before[:, left].sum(1, keepdim=True))
    assert float(after[:, gone].max()) < 1e-6 < float(before[:, gone].max())


def test_the_joint_posterior_renormalises_over_both_classes() -> None:
    memory = filled("paper")
    gone = [int(memory.values.argmax()), int(memory.values.argmin())]
    left = [slot for slot in range(memory.num_slots) if slot not in gone]
    before, after = memory.posterior(queries()), without(memory, gone).posterior(queries())
    torch.testing.assert_close(after[:, left], before[:, left] / before[:, left].sum(1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_an_emptied_slot_is_never_drawn_nor_found() -> None:
    memory = filled()
    heaviest = int(prior(memory).argmax())
    edited = without(memory, [heaviest])
    drawn = edited.sample(5000, generator=torch.Generator().manual_seed(0))[1]
    assert heaviest in memory.sample(5000, generator=torch.Generator().manual_seed(0))[1] and heaviest not in drawn
    assert not (edited(memory.keys[heaviest][None]).weights[edited(memory.keys[heaviest][None]).slots == heaviest] > 1e-6).any()


def test_training_fills_an_emptied_slot_first() -> None:
    memory = without(filled(), [0, 1])
    memory.write(queries(2), 1)
    assert written(memory).all()
    torch.testing.assert_close(memory.keys[:2].sort(dim=0).values, unit(queries(2)).sort(dim=0).values)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_added_slots_hold_their_share_and_leave_the_others_their_ratios(share: float) -> None:
    memory = filled()
    edited, slots = added(memory, queries(3), share=share)
    probability = prior(edited)
    assert float(probability[slots].sum()) == pytest.approx(share, rel=1e-5)
    torch.testing.assert_close(edited.keys[slots], unit(queries(3)))
    stays = (memory.values > 0.5).clone()
    stays[slots] = False
    torch.testing.assert_close(probability[stays] / probability[stays].sum(), prior(memory)[stays] / prior(memory)[stays].sum())
    assert torch.equal(edited.keys[stays], memory.keys[stays])


def test_added_slots_take_the_empty_places_then_the_lightest() -> None:
    memory = without(filled(), [4])
    memory.mass[:12] = torch.arange(12.0) + 2
    memory.mass[4] = 0
    edited, slots = added(memory, queries(3))
    assert slots.tolist() == [4, 0, 1]
    torch.testing.assert_close(edited.mass[slots], memory.mass[[2, 3, *range(5, 12)]].mean().expand(3))
    assert not edited.age[slots].any()


def test_a_query_of_an_added_key_belongs_to_it() -> None:
    edited, slots = added(filled(), queries(2), share=0.3)
    assert edited.posterior(queries(2)).argmax(1).tolist() == slots.tolist()


def test_the_memory_itself_stays_as_it_was() -> None:
    memory = filled()
    before = copy.deepcopy(memory.state_dict())
    without(memory, [0, 3])
    added(memory, queries(2))
    assert all(torch.equal(memory.state_dict()[name], tensor) for name, tensor in before.items())


def test_what_cannot_be_edited_is_refused() -> None:
    memory = filled()
    for slots in ([24], [-1], list(range(12)), list(range(12, 24))):
        with pytest.raises(ValueError, match="slots"):
            without(memory, slots)
    bad = (torch.zeros(1, 6), torch.full((1, 6), torch.nan), torch.ones(1, 5), torch.ones(13, 6), torch.ones(0, 6))
    for keys in bad:
        with pytest.raises(ValueError, match="keys"):
            added(memory, keys)
    for share in (0.0, 1.0, -1.0, 1e-300):
        with pytest.raises(ValueError, match="share"):
            added(memory, queries(1), share=share)
    with pytest.raises(ValueError, match="factor"):
        weighted(memory, torch.ones(3))
