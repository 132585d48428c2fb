"""Frozen slots: no write of any policy changes or replaces them, and everything else goes on as if they were slots like others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import memogen
from memogen.memory import Policy, VMFMemory
from memogen.memory.edit import added, frozen, thawed, without
from memogen.memory.inspect import usage, written
from memogen.models import MemoryConfig, MemoryGANConfig

PRESETS = ("robust", "paper", "code")
NAMES = ("keys", "values", "mass", "age")


def filled(policy: str | Policy = "robust", *, num_slots: int = 24, top_k: int = 8, em_steps: int = 1) -> VMFMemory:
    memory = VMFMemory(num_slots, 6, concentration=8.0, top_k=top_k, em_steps=em_steps, policy=policy)  # type: ignore[arg-type]
    write(memory, 12, seed=0)
    return memory


def write(memory: VMFMemory, times: int, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(times):
        query = torch.randn(16, 6, generator=generator)
        memory.write(query, (torch.rand(16, generator=generator) < 0.5).float())


def held(memory: VMFMemory, slots: list[int]) -> list[torch.Tensor]:
    return [getattr(memory, name)[slots].clone() for name in NAMES]


@pytest.mark.parametrize("policy", [*PRESETS, replace(Policy.preset("robust"), rule="kaiser")], ids=[*PRESETS, "kaiser"])
@pytest.mark.parametrize("num_slots", [24, 512], ids=["dense", "by rows"])
def test_a_frozen_slot_is_bit_equal_after_a_thousand_writes(policy: str | Policy, num_slots: int) -> None:
    memory = filled(policy, num_slots=num_slots, top_k=4)
    slots = written(memory).nonzero()[:, 0][::3].tolist()
    memory = frozen(memory, slots)
    before, others = held(memory, slots), memory.keys.clone()
    write(memory, 1000, seed=1)
    assert all(torch.equal(one, other) for one, other in zip(before, held(memory, slots), strict=True))
    assert not torch.equal(memory.keys, others)


@pytest.mark.parametrize("em_steps", [2, 3])
def test_so_it_is_with_several_steps_of_em(em_steps: int) -> None:
    memory = frozen(filled(em_steps=em_steps), [0, 5, 20])
    before = held(memory, [0, 5, 20])
    write(memory, 50, seed=1)
    assert all(torch.equal(one, other) for one, other in zip(before, held(memory, [0, 5, 20]), strict=True))


@pytest.mark.parametrize("policy", PRESETS)
def test_the_other_slots_learn_what_they_would_have_learned(policy: str) -> None:
    """A frozen slot takes its part of a query: in one write without replacements the others move as if nothing were frozen."""
    plain = filled(replace(Policy.preset(policy), oldest="of_class"))  # type: ignore[arg-type]
    held_back = frozen(plain, [0, 1])
    query = plain.keys[plain.values > 0.5][:4]
    done, again = plain.write(query, 1), held_back.write(query, 1)
    same = ~(done.replaced | again.replaced)
    same[:2] = False
    assert same.sum() > 15
    for name in ("keys", "mass"):
        torch.testing.assert_close(getattr(held_back, name)[same], getattr(plain, name)[same], rtol=0, atol=0)


def test_queries_that_find_every_slot_frozen_are_dropped() -> None:
    memory = frozen(filled(), list(range(24)))
    before = {name: tensor.clone() for name, tensor in memory.named_buffers() if name != "cosine"}
    opposite = memory.write(memory.keys[:8], 1 - memory.values[:8])
    assert opposite.dropped.any() and not opposite.replaced.any() and not opposite.touched.any()
    assert all(torch.equal(memory.get_buffer(name), tensor) for name, tensor in before.items())


def test_a_thawed_slot_learns_as_if_it_had_never_been_frozen() -> None:
    plain = filled()
    memory = thawed(frozen(plain, [0, 3]), [0, 3])
    assert memory.frozen is None and "frozen" not in memory.state_dict()
    write(memory, 5, seed=2)
    write(plain, 5, seed=2)
    assert all(torch.equal(memory.get_buffer(name), tensor) for name, tensor in plain.named_buffers())


def test_edits_know_frozen_slots() -> None:
    memory = frozen(filled(), list(range(10)))
    edited, slots = added(memory, torch.randn(2, 6))
    assert set(slots.tolist()) == {10, 11} and edited.frozen is not None and int(edited.frozen.sum()) == 10
    with pytest.raises(ValueError, match="frozen"):
        added(memory, torch.randn(3, 6))
    emptied = without(memory, [4])
    assert emptied.frozen is not None and not emptied.frozen[4] and not written(emptied)[4]
    for slots_given, said in (([24], "holds slots"), ([4], "empty")):
        with pytest.raises(ValueError, match=said):
            frozen(emptied, slots_given)


def test_a_saved_model_keeps_what_is_frozen_and_one_without_has_no_trace_of_it(tmp_path: Path) -> None:
    model = MemoryGANConfig(image_shape=(1, 8, 8), width=8, memory=MemoryConfig(24, 6, top_k=8)).build()
    write(model.memory, 12, seed=0)  # type: ignore[arg-type]
    memogen.save_pretrained(model, tmp_path / "plain")
    assert "memory.frozen" not in load_file(tmp_path / "plain" / "model.safetensors")
    assert memogen.from_pretrained(tmp_path / "plain").memory.frozen is None
    model.memory = frozen(model.memory, [2, 7])  # type: ignore[type-var]
    memogen.save_pretrained(model, tmp_path / "held")
    again = memogen.from_pretrained(tmp_path / "held").memory
    assert again.frozen.nonzero()[:, 0].tolist() == [2, 7] and usage(again).frozen == 2
    again.load_state_dict(memogen.from_pretrained(tmp_path / "plain").memory.state_dict())
    assert again.frozen is None
