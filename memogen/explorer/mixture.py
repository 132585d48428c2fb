"""Answers about a mixture memory: the table of its slots, their pictures, one slot, and the slots of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from memogen import noise
from memogen.memory import inspect
from memogen.report.figures import by_meaning
from memogen.types import Latents

from . import draw
from .pictures import as_json
from .session import Session

NEAREST = 6


def table(session: Session) -> dict[str, Any]:
    """Every real slot in columns: number, mass, age, share of the prior, class (-1 unknown), share of the class, state, and 1 if it is frozen.

    State: 0 in use, 1 turned off, 2 forgotten and free, 3 added from a picture.
    """
    with session.held():
        memory, names, mine = session.written, session.names, session.mine
        real = (memory.values > 0.5).nonzero()[:, 0].tolist()
        free, held, prior = ~inspect.written(memory), inspect.frozen(memory), inspect.prior(session.effective)
        label, share = (names.label, names.share) if names is not None else ([-1] * memory.num_slots, [0.0] * memory.num_slots)
        known = [slot not in mine and not bool(free[slot]) and label[slot] >= 0 for slot in real]
        return {
            "version": session.version,
            "slot": real,
            "mass": [round(float(memory.mass[slot]), 4) for slot in real],
            "age": [int(memory.age[slot]) for slot in real],
            "prior": [float(prior[slot]) for slot in real],
            "label": [int(label[slot]) if there else -1 for slot, there in zip(real, known, strict=True)],
            "share": [round(float(share[slot]), 3) if there else 0.0 for slot, there in zip(real, known, strict=True)],
            "state": [2 if bool(free[slot]) else 1 if slot in session.off else 3 if slot in mine else 0 for slot in real],
            "frozen": [int(held[slot]) for slot in real],
            "classes": list(names.classes) if names is not None else [],
            "steps": [edit.description for edit in session.edits],
        }


def likeness(session: Session) -> list[int]:
    """The written real slots in an order in which neighbours are alike, class after class if classes are known."""
    memory = session.written
    slots = ((memory.values > 0.5) & inspect.written(memory)).nonzero()[:, 0].cpu()
    label = torch.zeros_like(slots) if session.names is None else torch.tensor(session.names.label)[slots]
    return [int(slot) for slot in slots[by_meaning(memory.keys.cpu()[slots], label)]]


def latents(session: Session, slots: list[int], *, seed: int) -> Latents:
    """The keys of some slots, all with the same noise. Raises Refused for a slot that is not real."""
    session.check(slots)
    with session.held() as model:
        chosen = torch.tensor(slots, dtype=torch.long)
        return Latents(model.latents(1, seed=seed).noise.expand(len(slots), -1), session.written.keys[chosen], chosen)


def wall(session: Session, slots: list[int], *, seed: int) -> UInt8[Tensor, "b c h w"]:
    """One image from the key of each slot, all with the same noise; black for a free slot."""
    with session.held() as model:
        found = latents(session, slots, seed=seed)
        return draw.draw(model, found) * inspect.written(session.written)[found.slot].cpu()[:, None, None, None]


def slot(session: Session, number: int, num: int, *, seed: int, wall_seed: int) -> dict[str, Any]:
    """``num`` images of a slot, turned off or not, black for a free one; the real slots with the nearest keys; the nearest images of the data."""
    session.check([number])
    with session.held() as model, session.remembering(session.written):
        found = model.latents_at(torch.arange(num), seed=seed, slot=torch.full((num,), number))
        images = draw.draw(model, found) * inspect.written(session.written)[number].cpu()
    memory = session.written
    cosine = (memory.keys @ memory.keys[number]).masked_fill(~((memory.values > 0.5) & inspect.written(memory)), -2.0)
    cosine[number] = -2.0
    best = cosine.topk(min(NEAREST, memory.num_slots - 1))
    near = [int(each) for each in best.indices[best.values > -2]]
    pictures = as_json(wall(session, near, seed=wall_seed))
    return {
        "images": as_json(images),
        "neighbours": {"slot": near, "cosine": [float(value) for value in best.values[: len(near)]], "images": pictures},
        "nearest": nearest(session, memory.keys[number]),
        "looking": session.looking,
    }


def nearest(session: Session, query: Float[Tensor, " d"], num: int = NEAREST) -> dict[str, Any] | None:
    """The images of the data whose queries have the largest cosine with this one; None without data."""
    looked = session.look()
    if looked is None or looked.query is None:
        return None
    found = (looked.query @ query.cpu().to(looked.query)).topk(min(num, len(looked.query)))
    rows = found.indices.numpy()
    label = [] if looked.label is None else [int(looked.label[row]) for row in rows]
    named = [looked.classes[each] if each < len(looked.classes) else str(each) for each in label]
    return {"images": as_json(np.asarray(looked.image[rows])), "cosine": [float(value) for value in found.values], "label": named, "of": looked.name}


def picture(session: Session, image: UInt8[Tensor, "1 c h w"], num: int, *, seed: int) -> dict[str, Any]:
    """What the memory makes of a picture.

    ``belongs``: the ``num`` real slots with the largest posterior, the shares of the other real and of the fake slots, and p(real). ``like``: images
    of slots drawn from p(c | picture, real), the slots in ``drawn``. ``own``: images of the picture's own query. ``nearest``: images of the data.
    """
    with session.held() as model:
        memory, query = session.effective, model.encode(image)
        found = inspect.slot_posterior(memory, query, num)
        belongs = {
            "slot": list(found.slots),
            "share": list(found.probability),
            "other": max(0.0, found.other_real),
            "fake": found.fake,
            "real": float(memory(query).value[0]),
        }
        share = memory.posterior(query)[0].double() * (memory.values > 0.5) * inspect.written(memory)
        cumulative = share.cumsum(0)
        index = torch.arange(24)
        point = noise.uniform(index, 1, seed=seed, stream=noise.Stream.LIKE, dtype=torch.float64)[:, 0] * cumulative[-1]
        slots = torch.searchsorted(cumulative, point, right=True).clamp_max(int(share.nonzero()[-1]))
        like = draw.draw(model, model.latents_at(index, seed=seed, slot=slots))
        own = draw.draw(model, Latents(model.latents(8, seed=seed).noise, query.expand(8, -1)))
    return {
        "belongs": belongs,
        "like": as_json(like),
        "drawn": [int(each) for each in slots],
        "own": as_json(own),
        "nearest": nearest(session, query[0], 8),
        "looking": session.looking,
    }
