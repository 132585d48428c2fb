"""More label slots for a model that is there: what it knows stays as it is, to the bit."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...types import InputError
from .model import ReplayGAN


def with_class(model: ReplayGAN, name: str, *, seed: int = 0) -> tuple[ReplayGAN, int]:
    """(a model, a slot of it for a new class called ``name``): an unused slot where there is one of that name or without a name, else one more.

    ``model`` itself is left alone. Raises InputError where the class is known already.
    """
    config, free = model.config, set(range(model.config.num_classes)) - set(model.known)
    slot = model.slot(name)
    if slot is not None and slot not in free:
        raise InputError(f"label: {name!r} is known to this model, as class {slot}: give the new category another name")
    if slot is None:
        slot = min((place for place in free if place >= len(config.classes)), default=config.num_classes)
    if slot < len(config.classes):
        return grown(model, config.num_classes, config.classes, seed=seed), slot
    names = (*(config.name(label) for label in range(slot)), name)
    return grown(model, max(config.num_classes, slot + 1), names, seed=seed), slot


def grown(model: ReplayGAN, num_classes: int, classes: tuple[str, ...], *, seed: int = 0) -> ReplayGAN:
    """A copy with ``num_classes`` slots: gains of 1 and shifts of 0 for the new ones, and fresh weights in the class head, drawn by ``seed``."""
    if num_classes < model.config.num_classes:
        raise InputError(f"num_classes: {num_classes} where the model has {model.config.num_classes}: a model does not lose slots")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = replace(model.config, num_classes=num_classes, classes=classes).build()
    state = fresh.state_dict()
    for name, value in model.state_dict().items():
        state[name][tuple(slice(0, side) for side in value.shape)] = value.cpu()  # new rows, and columns of a one-hot code, stand at the end
    fresh.load_state_dict(state)
    return fresh.to(model.device, model.dtype).train(model.training)
