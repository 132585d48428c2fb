"""Edits of a mixture memory: slots turned off, forgotten, frozen and added, steps taken back, samples before and after, the edited model saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from memogen.memory.edit import added, frozen, thawed, without
from memogen.memory.inspect import written
from memogen.pretrained import save_pretrained
from memogen.shipped import store_names
from memogen.types import InputError

from . import draw
from .asked import Refused
from .session import Edit, Session, copied

MOST_ADDED = 16


def turn(session: Session, slots: list[int], *, off: bool) -> None:
    """Turn slots off, or on again."""
    with session.held():
        _check(session, slots)
        session.turn_off(session.off | frozenset(slots) if off else session.off - frozenset(slots))


def forget(session: Session, slots: list[int]) -> None:
    """Empty slots: prior and posterior renormalise over what is left."""
    with session.held():
        _edit(session, "forgot", without, slots, session.mine - frozenset(slots))


def freeze(session: Session, slots: list[int], *, thaw: bool) -> None:
    """Freeze slots, or let them learn again: what counts for whoever trains on from the saved model."""
    with session.held():
        _edit(session, "thawed" if thaw else "froze", thawed if thaw else frozen, slots, session.mine)


def _edit(session: Session, done: str, change: Callable[[Any, list[int]], Any], slots: list[int], mine: frozenset[int]) -> None:
    """Take the step that ``change`` makes of the memory and ``slots``; its refusal is an answer."""
    _check(session, slots)
    if not slots:
        raise Refused("slots: choose one at least")
    try:
        memory = change(session.written, slots)
    except ValueError as error:
        raise Refused(str(error), 409) from error
    session.edit(Edit(f"{done} slot {slots[0]}" if len(slots) == 1 else f"{done} {len(slots)} slots", memory, mine))


def add(session: Session, images: UInt8[Tensor, "b c h w"], *, share: float) -> list[int]:
    """Write pictures as new slots in place of the lightest, which together hold that share of the prior; the slots' numbers."""
    with session.held() as model:
        encode: Any = model.encode  # type: ignore[attr-defined]  # a model with a mixture
        try:
            memory, slots = added(session.written, encode(images), share=share)
        except ValueError as error:
            raise Refused(str(error), 409) from error
        found = [int(slot) for slot in slots]
        named = "a picture" if len(found) == 1 else f"{len(found)} pictures"
        kept = session.off
        session.off = kept - frozenset(found)
        try:
            session.edit(Edit(f"added {named}", memory, session.mine | frozenset(found)))
        except Refused:
            session.off = kept
            raise
        return found


def compared(session: Session, num: int, *, seed: int) -> tuple[UInt8[Tensor, "b c h w"], UInt8[Tensor, "b c h w"]]:
    """The same samples from the memory as it was trained, and as it is now."""
    with session.held() as model:
        with session.remembering(session.original):
            before = draw.samples(model, num, seed=seed)
        return before, draw.samples(model, num, seed=seed)


def save(session: Session) -> str:
    """Write the model as it draws now to the place that was given at the start, and what is known of its slots beside it; the place."""
    out = session.loaded.out
    if out is None:
        raise Refused("there is no folder to save to: start the explorer again with --out FOLDER", 409)
    try:
        model = copied(session)
        save_pretrained(model, out)
        if session.names is not None:
            emptied = (~written(model.memory)).nonzero()[:, 0].tolist()
            store_names(out, session.names.but([*session.mine, *emptied]))
    except (InputError, OSError) as error:
        raise Refused(f"{out}: cannot be written ({error})", 409) from error
    return str(out)


def _check(session: Session, slots: list[int]) -> None:
    real = torch.nonzero(session.written.values > 0.5)[:, 0].tolist()
    if wrong := [slot for slot in slots if slot not in real]:
        raise Refused(f"slot {wrong[0]}: is not a real slot of this memory", 404)
