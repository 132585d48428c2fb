"""What is answered about a mixture memory: its slots as pictures, what a slot draws, which slots a picture belongs to, the square of four slots."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memogen import noise
from memogen.memory import MixtureMemory, inspect
from memogen.report.order import by_meaning
from memogen.types import Latents

from . import draw
from .asked import Refused
from .pictures import as_json
from .session import Session

NEAREST = 6


def table(session: Session) -> dict[str, Any]:
    """Every real slot in columns: number, mass, age, share of the prior, class (-1 unknown), share of the class, state, and 1 where it is frozen.

    State: 0 in use, 1 turned off, 2 forgotten and free, 3 added from a picture.
    """
    with session.held():
        memory, now, names = session.written, session.effective, session.names
        real = (memory.values > 0.5).nonzero()[:, 0].tolist()
        free, held, prior = ~inspect.written(memory), inspect.frozen(memory), inspect.prior(now)
        label, share = (names.label, names.share) if names is not None else ([-1] * memory.num_slots, [0.0] * memory.num_slots)
        mine, off = session.mine, session.off
        state = [2 if bool(free[slot]) else 1 if slot in off else 3 if slot in mine else 0 for slot in real]
        known = [slot not in mine and not bool(free[slot]) and label[slot] >= 0 for slot in real]
        return {
            "version": session.version,
            "slot": real,
            "mass": [round(float(memory.mass[slot]), 4) for slot in real],
            "age": [int(memory.age[slot]) for slot in real],
            "prior": [float(prior[slot]) for slot in real],
            "label": [int(label[slot]) if there else -1 for slot, there in zip(real, known, strict=True)],
            "share": [round(float(share[slot]), 3) if there else 0.0 for slot, there in zip(real, known, strict=True)],
            "state": state,
            "frozen": [int(held[slot]) for slot in real],
            "classes": list(names.classes) if names is not None else [],
            "steps": [edit.description for edit in session.edits],
        }


def likeness(session: Session) -> list[int]:
    """The real slots that hold something, in an order in which neighbours are alike, class after class where classes are known."""
    memory = session.written
    slots = ((memory.values > 0.5) & inspect.written(memory)).nonzero()[:, 0].cpu()
    label = torch.zeros_like(slots) if session.names is None else torch.tensor(session.names.label)[slots]
    return [int(slot) for slot in slots[by_meaning(memory.keys.cpu()[slots], label)]]


def wall(session: Session, slots: list[int], *, seed: int) -> UInt8[Tensor, "b c h w"]:
    """One image from the key of each slot, all with the same noise; black for a free slot."""
    _check(session, slots)
    with session.held() as model:
        memory, chosen = session.written, torch.tensor(slots, dtype=torch.long)
        base = model.latents(1, seed=seed).noise
        images = draw.draw(model, Latents(base.expand(len(slots), -1), memory.keys[chosen], chosen))
        return images * inspect.written(memory)[chosen].cpu()[:, None, None, None]


def slot_images(session: Session, slot: int, num: int, *, seed: int) -> UInt8[Tensor, "b c h w"]:
    """``num`` draws of the generator from one slot, whether it is turned off or not."""
    _check(session, [slot])
    with session.held() as model, session.remembering(session.written):
        latents_at: Any = model.latents_at  # type: ignore[attr-defined]  # a model with a mixture
        return draw.draw(model, latents_at(torch.arange(num), seed=seed, slot=slot))


def neighbours(session: Session, slot: int, num: int = NEAREST) -> list[tuple[int, float]]:
    """The real slots whose keys are nearest to that of ``slot``, with their cosines."""
    _check(session, [slot])
    memory = session.written
    cosine = (memory.keys @ memory.keys[slot]).masked_fill(~((memory.values > 0.5) & inspect.written(memory)), -2.0)
    cosine[slot] = -2.0
    found = cosine.topk(min(num, memory.num_slots - 1))
    return [(int(near), float(value)) for near, value in zip(found.indices, found.values, strict=True) if value > -2]


def nearest(session: Session, query: Float[Tensor, "1 d"], num: int = NEAREST) -> dict[str, Any] | None:
    """The images of the data whose queries have the largest cosine with this one; None where no data are at hand (yet)."""
    looked = session.look()
    if looked is None or looked.query is None:
        return None
    found = (looked.query @ query[0].cpu().to(looked.query)).topk(min(num, len(looked.query)))
    rows = found.indices.numpy()
    label = [] if looked.label is None else [int(looked.label[row]) for row in rows]
    named = [looked.classes[each] if each < len(looked.classes) else str(each) for each in label]
    return {"images": as_json(np.asarray(looked.image[rows])), "cosine": [float(value) for value in found.values], "label": named, "of": looked.name}


def belongs(session: Session, image: UInt8[Tensor, "1 c h w"], num: int) -> tuple[dict[str, Any], Float[Tensor, "1 d"]]:
    """The real slots with the largest posterior, what others and fake ones hold, and whether the memory takes the picture for real; the query."""
    with session.held() as model:
        encode: Any = model.encode  # type: ignore[attr-defined]  # a model with a mixture
        query: Tensor = encode(image)
        memory = session.effective
        found = inspect.slot_posterior(memory, query, num)
        answer = {
            "slot": list(found.slots),
            "share": list(found.probability),
            "other": max(0.0, found.other_real),
            "fake": found.fake,
            "real": float(memory(query).value[0]),
        }
        return answer, query


def like(session: Session, query: Float[Tensor, "1 d"], num: int, *, seed: int) -> tuple[UInt8[Tensor, "b c h w"], list[int]]:
    """``num`` images of slots drawn from p(c | picture, real), and the slots."""
    with session.held() as model:
        memory = session.effective
        share = memory.posterior(query)[0].double() * (memory.values > 0.5) * inspect.written(memory)
        slots = _drawn(share, num, seed=seed)
        latents_at: Any = model.latents_at  # type: ignore[attr-defined]  # a model with a mixture
        return draw.draw(model, latents_at(torch.arange(num), seed=seed, slot=slots)), [int(slot) for slot in slots]


def _drawn(share: Float[Tensor, " k"], num: int, *, seed: int) -> Int[Tensor, " n"]:
    """Slots in proportion to ``share``, by the inverse distribution function."""
    cumulative = share.cumsum(0)
    point = noise.uniform(torch.arange(num), 1, seed=seed, stream=noise.Stream.LIKE, dtype=torch.float64)[:, 0] * cumulative[-1]
    return torch.searchsorted(cumulative, point, right=True).clamp_max(int(share.nonzero()[-1]))


def own_picture(session: Session, query: Float[Tensor, "1 d"], num: int, *, seed: int) -> UInt8[Tensor, "b c h w"]:
    """What the generator makes of a picture's own query, with several noises."""
    with session.held() as model:
        return draw.draw(model, Latents(model.latents(num, seed=seed).noise, query.expand(num, -1)))


def square(session: Session, slots: list[int], *, seed: int) -> Latents:
    """Four slots as the corners of a square, all with the same noise."""
    _check(session, slots)
    with session.held() as model:
        chosen = torch.tensor(slots, dtype=torch.long)
        return Latents(model.latents(1, seed=seed).noise.expand(len(slots), -1), session.written.keys[chosen], chosen)


def _check(session: Session, slots: list[int]) -> None:
    memory: MixtureMemory = session.written
    for slot in slots:
        if not 0 <= slot < memory.num_slots or not bool(memory.values[slot] > 0.5):
            raise Refused(f"slot {slot}: is not a real slot of this memory", 404)
