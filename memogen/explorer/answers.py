"""The questions that the page asks, one function each: checked fields in, plain values out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from memogen.types import Latents

from . import attention, draw, mixture
from .asked import Asked, Refused
from .pictures import as_json
from .session import Session

SEED = 2**31 - 1
MOST_SLOTS = 1 << 24
AT_ONCE = 256  # images of one answer
MOST_ADDED = 16  # pictures


def about(session: Session, asked: Asked) -> dict[str, Any]:
    """What the model is and can do, and what is at hand beside it."""
    loaded = session.loaded
    memory = session.original if session.edits else None
    return {
        "name": loaded.name,
        "kind": loaded.kind,
        "shape": list(loaded.shape),
        "mixture": memory is not None,
        "real": 0 if memory is None else int((memory.values > 0.5).sum()),
        "layers": list(loaded.layers),
        "fills": loaded.fills,
        "pictures": loaded.shape[1] > 1,
        "classes": [{"label": label, "name": name} for label, name in loaded.classes],
        "sheets": [{"task": sheet.task, "step": sheet.step} for sheet in loaded.sheets],
        "tasks": len(loaded.tasks),
        "save": str(loaded.out) if loaded.out is not None else None,
        "directions": _num_directions(session),
        **state(session, asked),
    }


def state(session: Session, asked: Asked) -> dict[str, Any]:
    """What may change: a number that grows with every change, and whether data are being read."""
    looked = session.looked
    answer = None if looked is None else {"name": looked.name, "num": len(looked.image)}
    return {"version": session.version, "looking": session.looking, "looked": answer, "trouble": session.trouble}


def samples(session: Session, asked: Asked) -> dict[str, Any]:
    """Samples of a seed, if asked of a class, of a task's model, or without layers of memory."""
    num, label = asked.whole("num", 1, AT_ONCE, 36), _label(session, asked)
    without, task = asked.wholes("without", 0, 63, longest=64, default=()), asked.optional("task", 0, 10_000)
    with session.held():
        model = session.model_of(task)
        images = draw.samples(model, num, seed=_seed(asked), start=asked.whole("start", 0, SEED, 0), label=label, without=without)
    return {"images": as_json(images), "version": session.version}


def classes(session: Session, asked: Asked) -> dict[str, Any]:
    """A row of samples of each class that the model, or a task's model, knows."""
    num, task = asked.whole("num", 1, 32, 10), asked.optional("task", 0, 10_000)
    with session.held():
        model: Any = session.model_of(task)
        named = dict(session.loaded.classes)
        known = [int(label) for label in getattr(model, "known", tuple(named))]
        rows = [draw.samples(model, num, seed=_seed(asked), label=label) for label in known]
    if not rows:
        raise Refused("this model knows no classes", 404)
    return {"label": known, "name": [named.get(label, str(label)) for label in known], "images": as_json(torch.cat(rows)), "columns": num}


def slots(session: Session, asked: Asked) -> dict[str, Any]:
    """The table of slots, of a mixture or of a layer."""
    if not session.edits:
        return attention.slots(session, asked.whole("layer", 0, 63, 0))
    if session.names is None:
        session.look()
    return mixture.table(session)


def likeness(session: Session, asked: Asked) -> dict[str, Any]:
    """The order of slots in which neighbours are alike."""
    with session.held():
        if session.cache.get("likeness", (-1, []))[0] != session.version:
            session.cache["likeness"] = (session.version, mixture.likeness(session))
        return {"slot": session.cache["likeness"][1]}


def wall(session: Session, asked: Asked) -> dict[str, Any]:
    """A picture of each of some slots."""
    chosen = asked.wholes("slots", 0, MOST_SLOTS, longest=AT_ONCE)
    if not chosen:
        raise Refused("slots: name one at least")
    if session.edits:
        return {"images": as_json(mixture.wall(session, chosen, seed=_seed(asked)))}
    apart = bool(asked.whole("apart", 0, 1, 0))
    return {"images": as_json(attention.slot_pictures(session, asked.whole("layer", 0, 63, 0), chosen, apart=apart))}


def slot(session: Session, asked: Asked) -> dict[str, Any]:
    """One slot: of a mixture its images, neighbours and nearest data, of a layer the pictures that ask for it most."""
    number, seed = asked.whole("slot", 0, MOST_SLOTS), _seed(asked)
    if not session.edits:
        return {"askers": attention.askers(session, asked.whole("layer", 0, 63, 0), number), "looking": session.looking}
    return mixture.slot(session, number, asked.whole("num", 1, 64, 12), seed=seed, wall_seed=asked.whole("wall", 0, SEED, 0))


def examples(session: Session, asked: Asked) -> dict[str, Any]:
    """Pictures to try, by number."""
    found = session.examples()
    if not found:
        return {"pictures": [], "images": None, "looking": session.looking}
    return {"pictures": list(range(len(found))), "images": as_json(torch.stack([torch.from_numpy(each) for each in found])), "looking": False}


def sample_picture(session: Session, asked: Asked) -> dict[str, Any]:
    """A sample of the model as a picture to try."""
    with session.held() as model:
        image = draw.samples(model, 1, seed=_seed(asked), label=_label(session, asked))[0].numpy()
        number = session.pictures.keep(image)
    return {"picture": number, "images": as_json(image[None])}


def picture(session: Session, asked: Asked) -> dict[str, Any]:
    """A picture: the slots it belongs to or asks for, the model's own version of it, and more like it."""
    image = session.pictures.take([asked.whole("picture", 0, SEED)])
    num, seed = asked.whole("num", 1, 32, 9), _seed(asked)
    answer = {"picture": as_json(image), "version": session.version}
    if session.edits:
        return answer | mixture.picture(session, image, num, seed=seed)
    return answer | attention.picture(session, image, _label(session, asked), num, seed=seed)


def fill(session: Session, asked: Asked) -> dict[str, Any]:
    """A picture with its painted pixels filled in."""
    image = session.pictures.take([asked.whole("picture", 0, SEED)])
    height, width = image.shape[2:]
    missing = torch.tensor(asked.bits("mask", height * width)).view(1, 1, height, width)
    return attention.filled(session, image, missing, _label(session, asked), steps=asked.whole("steps", 1, 200, 60), seed=_seed(asked))


def square(session: Session, asked: Asked) -> dict[str, Any]:
    """Pictures at points between four corners, slots or seeds of noise, moved along directions of noise."""
    points = asked.points("points", longest=AT_ONCE)
    amounts = asked.reals("amounts", -4, 4, longest=_num_directions(session), default=())
    if not points:
        raise Refused("points: give one at least")
    name, most = ("slots", MOST_SLOTS) if session.edits else ("seeds", SEED)
    chosen = asked.wholes(name, 0, most, longest=4)
    if len(chosen) != 4:
        raise Refused(f"{name}: a square has four corners")
    with session.held() as model:
        if session.edits:
            corners = mixture.latents(session, chosen, seed=_seed(asked))
        else:
            label = _label(session, asked)
            parts = [model.latents(1, label=label, seed=seed) for seed in chosen]
            labels = [part.label for part in parts if part.label is not None]
            corners = Latents(torch.cat([part.noise for part in parts]), label=torch.cat(labels) if labels else None)
        if any(amounts):
            if "directions" not in session.cache:
                session.cache["directions"] = draw.Directions(model)
            moved = draw.varied(corners.noise, session.cache["directions"], amounts)
            corners = Latents(moved, corners.key, corners.slot, corners.label)
        return {"images": as_json(draw.draw(model, draw.between(model, corners, points)))}


def edit(session: Session, asked: Asked) -> dict[str, Any]:
    """Turn slots off or on, forget, unlearn, freeze or thaw them, add pictures, undo the last step, or reset the memory."""
    session.original  # noqa: B018  refuses a model without mixture memory
    what = asked.choice("what", ("off", "on", "forget", "unlearn", "freeze", "thaw", "add", "undo", "reset"))
    answer: dict[str, Any] = {}
    if what == "add":
        images = session.pictures.take(asked.wholes("pictures", 0, SEED, longest=MOST_ADDED))
        answer["slots"] = session.add(images, share=asked.real("share", 0.001, 0.99, 0.1))
    elif what == "undo":
        answer["undone"] = session.undo()
    elif what == "reset":
        session.reset()
    else:
        slots = asked.wholes("slots", 0, MOST_SLOTS, longest=100_000)
        if what == "unlearn":
            session.unlearn(slots)
        else:
            session.change(what, slots)
    return {**mixture.table(session), **answer}


def compare(session: Session, asked: Asked) -> dict[str, Any]:
    """The same samples before and after the edits."""
    num, seed = asked.whole("num", 1, 64, 24), _seed(asked)
    with session.held() as model:
        with session.as_trained():
            before = draw.samples(model, num, seed=seed)
        after = draw.samples(model, num, seed=seed)
    return {"before": as_json(before), "after": as_json(after), "version": session.version}


def save(session: Session, asked: Asked) -> dict[str, Any]:
    """Save the edited model."""
    return {"saved": session.save()}


def upload(session: Session, body: bytes) -> dict[str, Any]:
    """Keep a picture's file."""
    number = session.pictures.upload(body)
    return {"picture": number, "images": as_json(session.pictures.take([number]))}


def _num_directions(session: Session) -> int:
    """How many directions of noise there are."""
    with session.held() as model:
        label = next((label for label, _ in session.loaded.classes), None)
        return min(draw.DIRECTIONS, model.latents(1, label=label).noise.shape[1])


def _seed(asked: Asked) -> int:
    return asked.whole("seed", 0, SEED, 0)


def _label(session: Session, asked: Asked) -> int | None:
    """The class that is asked for. Raises Refused for one that the model does not know."""
    label = asked.optional("label", 0, 1 << 20)
    if label is not None and label not in dict(session.loaded.classes) and asked.fields.get("task") is None:
        raise Refused(f"label {label}: this model does not know this class", 404)
    return label


ANSWERS: dict[str, Callable[[Session, Asked], dict[str, Any]]] = {
    "about": about,
    "state": state,
    "samples": samples,
    "classes": classes,
    "slots": slots,
    "likeness": likeness,
    "wall": wall,
    "slot": slot,
    "examples": examples,
    "sample": sample_picture,
    "picture": picture,
    "fill": fill,
    "square": square,
    "edit": edit,
    "compare": compare,
    "save": save,
}
