"""What a model can do is asked by isinstance, which must say the same on every version of Python."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pytest

import memogen
from memogen import types
from memogen.memory.protocol import Mixes
from memogen.metrics.forgetting import Discriminates
from memogen.metrics.imputation import Reconstructs
from memogen.metrics.log_likelihood import AddressedWeights
from memogen.metrics.slot_contents import AddressesSlots
from memogen.training.ema import AveragedModel

PROTOCOLS = (
    *(found for found in vars(types).values() if getattr(found, "_is_runtime_protocol", False) and found.__module__ == types.__name__),
    *(
        each
        for each in (Discriminates, Reconstructs, AddressedWeights, AddressesSlots, AveragedModel)
        if getattr(each, "_is_runtime_protocol", False)
    ),
)


def members(protocol: Any) -> set[str]:
    """The names that isinstance looks for."""
    found: set[str] = getattr(protocol, "__protocol_attrs__", None) or typing._get_protocol_attrs(protocol)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("name", ["digits", "digits-vae", "mnist-replay"])
def test_python_3_12_finds_what_3_11_finds(name: str) -> None:
    """From 3.12 on, isinstance looks at classes and instance dictionaries alone, where a module keeps neither its parts nor its buffers."""
    model = memogen.from_pretrained(name)
    held = [(model, protocol) for protocol in PROTOCOLS if isinstance(model, protocol)]
    assert any(protocol is types.GenerativeModel for _, protocol in held) and len(held) > 1
    memory = getattr(model, "memory", None)
    held += [(memory, Mixes)] if isinstance(memory, Mixes) else []
    for owner, protocol in held:
        for member in members(protocol):
            inspect.getattr_static(owner, member)  # raises AttributeError


def test_each_family_can_what_it_says() -> None:
    digits, vae, replay = (memogen.from_pretrained(name) for name in ("digits", "digits-vae", "mnist-replay"))
    assert [isinstance(model, types.SlotModel) for model in (digits, vae, replay)] == [True, False, False]
    assert [isinstance(model, types.LikelihoodModel) for model in (digits, vae, replay)] == [False, True, False]
    assert [isinstance(model, types.ClassModel) for model in (digits, vae, replay)] == [False, False, True]
