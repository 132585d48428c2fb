"""Unlearning: the old keys draw something else, every other query what it drew, and the model that was given stays as it was."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

import memogen
from memogen.data import load
from memogen.memory.inspect import written
from memogen.metrics.extractors import extractor
from memogen.metrics.slot_choice import slots_of_classes
from memogen.metrics.slots import placed
from memogen.training.unlearning import Unlearning, unlearned
from memogen.types import InputError, to_uint8
from tests.metrics.toys import small_gan


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in one.items() if torch.equal(tensor, other[name])}


def test_only_the_copys_generator_moves_and_no_statistics() -> None:
    model = memogen.from_pretrained("digits")
    before, calls = state(model), []
    after = state(unlearned(model, torch.tensor([3, 17]), steps=2, told=lambda: calls.append(1)))
    assert same(state(model), before) == set(before) and len(calls) == 2
    weights = {f"generator.{name}" for name, _ in model.generator.named_parameters()}
    assert weights and same(after, before) == set(before) - weights


def test_the_same_steps_give_the_same_bits() -> None:
    model = memogen.from_pretrained("digits")
    one, other = (state(unlearned(model, torch.tensor([3]), steps=3)) for _ in range(2))
    assert same(one, other) == set(one)


def test_queries_of_the_forgotten_region_move_to_the_best_slot_that_stays() -> None:
    """By their posterior, written out: log p(c) + kappa K_c . q over the real slots; all other queries keep their bits."""
    model = memogen.from_pretrained("digits")
    memory, gone = model.memory, torch.tensor([3, 17, 40])
    task = Unlearning(model, gone)
    asked = task.latents(5)
    moved = task.instead(asked, 5)
    real = (memory.values > 0.5) & written(memory)
    score = (memory.log_prior() + memory.concentration * asked.key @ memory.keys.T).masked_fill(~real, -torch.inf)
    region = torch.isin(score.argmax(1), gone)
    assert 20 < int(region.sum()) < 64
    assert torch.equal(moved.key[~region], asked.key[~region]) and torch.equal(moved.noise, asked.noise)
    best = score.index_fill(1, gone, -torch.inf).argmax(1)
    assert torch.equal(moved.slot[region], best[region])
    around = (moved.key[region] * memory.keys[best[region]]).sum(1)
    assert float(around.mean()) > 0.8, "drawn around that slot's key"
    assert set(asked.slot[:32].tolist()) <= set(gone.tolist()) and not set(asked.slot[32:].tolist()) & set(gone.tolist())


def test_old_keys_no_longer_draw_the_class_and_the_others_stay() -> None:
    model = memogen.from_pretrained("digits")
    judge = extractor("digits", device="cpu", image_shape=(1, 8, 8))
    gone = slots_of_classes(model.memory, placed(model, load("digits", split="train"), num=1437), [0])
    after = unlearned(model, gone, steps=150)
    task = Unlearning(model, gone)
    index = torch.arange(400)
    old, kept = (model.latents_at(index, seed=9, weight=model.memory.mass * part) for part in (task.gone, task.stays))

    def found(drawing: Any, latents: Any) -> torch.Tensor:
        return judge(to_uint8(drawing.decode(latents), drawing.image_range)).argmax(1)

    assert float((found(model, old) == 0).double().mean()) > 0.8
    assert float((found(after, old) == 0).double().mean()) < 0.2
    assert float((found(model, kept) == found(after, kept)).double().mean()) > 0.9


def test_what_cannot_be_unlearned_is_refused() -> None:
    model = small_gan()
    with pytest.raises(InputError, match="name real slots"):
        Unlearning(model, torch.empty(0, dtype=torch.long))
    with pytest.raises(InputError, match="leave some"):
        Unlearning(model, torch.arange(model.memory.num_slots))
    bare = deepcopy(model)
    bare.memory = None
    with pytest.raises(InputError, match="draws from no slots"):
        Unlearning(bare, torch.tensor([0]))
