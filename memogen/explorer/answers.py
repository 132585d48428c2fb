"""The questions that a page asks, one function each: checked fields in, plain values out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from memogen.types import Latents

from . import attention, draw, editing, mixture
from .asked import Asked, Refused
from .pictures import as_json
from .session import Session

SEED = 2**31 - 1
MOST_SLOTS = 1 << 24
AT_ONCE = 256  # images of one answer


def about(session: Session, asked: Asked) -> dict[str, Any]:
    """What the model is and can do, and what is at hand beside it."""
    loaded = session.loaded
    memory = loaded.mixture if not session.edits else session.original
    sheets = [{"task": sheet.task, "step": sheet.step} for sheet in loaded.sheets]
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
        "sheets": sheets,
        "tasks": len(loaded.tasks),
        "save": str(loaded.out) if loaded.out is not None else None,
        "directions": min(draw.DIRECTIONS, _noise(session)),
        **state(session, asked),
    }


def _noise(session: Session) -> int:
    """How many numbers of noise the model draws from."""
    with session.held() as model:
        label = next((label for label, _ in session.loaded.classes), None)
        return model.latents(1, label=label).noise.shape[1]


def state(session: Session, asked: Asked) -> dict[str, Any]:
    """What changes while one looks: a number that grows with every change, and whether data are being read."""
    looked = session.looked
    answer = None if looked is None else {"name": looked.name, "num": len(looked.image)}
    return {"version": session.version, "looking": session.looking, "looked": answer, "trouble": session.trouble}


def samples(session: Session, asked: Asked) -> dict[str, Any]:
    """Samples of a seed, of a class where one is named, of a task's model, without layers of memory."""
    num, label = asked.whole("num", 1, AT_ONCE, 36), _label(session, asked)
    without, task = asked.wholes("without", 0, 63, longest=64, default=()), asked.whole("task", 0, 10_000) if asked.has("task") else None
    with session.held():
        model = session.model_of(task)
        images = draw.samples(model, num, seed=_seed(asked), start=asked.whole("start", 0, SEED, 0), label=label, without=without)
    return {"images": as_json(images), "version": session.version}


def classes(session: Session, asked: Asked) -> dict[str, Any]:
    """A row of samples of each class that a model, or a task's, knows."""
    num, task = asked.whole("num", 1, 32, 10), asked.whole("task", 0, 10_000) if asked.has("task") else None
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
    if session.edits:
        if session.names is None:
            session.look()
        return mixture.table(session)
    return attention.slots(session, asked.whole("layer", 0, 63, 0))


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
    """One slot: what it draws, its neighbours, and the images of the data that are nearest to it, or that ask for it most."""
    number, seed = asked.whole("slot", 0, MOST_SLOTS), _seed(asked)
    if not session.edits:
        found = attention.askers(session, asked.whole("layer", 0, 63, 0), number)
        return {"askers": {"images": as_json(found["image"]), "weight": found["weight"]}, "looking": session.looking}
    images = mixture.slot_images(session, number, asked.whole("num", 1, 64, 12), seed=seed)
    near = mixture.neighbours(session, number)
    pictures = mixture.wall(session, [each for each, _ in near], seed=asked.whole("wall", 0, SEED, 0))
    beside = mixture.nearest(session, session.written.keys[number][None])
    return {
        "images": as_json(images),
        "neighbours": {"slot": [each for each, _ in near], "cosine": [value for _, value in near], "images": as_json(pictures)},
        "nearest": beside,
        "looking": session.looking,
    }


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
    """A picture: the slots it belongs to or asks for, what the model makes of it, and more like it."""
    image = session.pictures.take([asked.whole("picture", 0, SEED)])
    num, seed = asked.whole("num", 1, 32, 9), _seed(asked)
    answer: dict[str, Any] = {"picture": as_json(image), "version": session.version}
    if session.edits:
        found, query = mixture.belongs(session, image, num)
        like, drawn = mixture.like(session, query, 24, seed=seed)
        own = mixture.own_picture(session, query, 8, seed=seed)
        near = mixture.nearest(session, query, 8)
        return {**answer, "belongs": found, "like": as_json(like), "drawn": drawn, "own": as_json(own), "nearest": near, "looking": session.looking}
    label = _label(session, asked)
    asks = attention.addresses(session, image, label, num) if session.loaded.layers else []
    return {**answer, "asks": asks, "own": as_json(attention.reconstructed(session, image, label, 8, seed=seed))}


def fill(session: Session, asked: Asked) -> dict[str, Any]:
    """A picture with its painted pixels filled in."""
    image = session.pictures.take([asked.whole("picture", 0, SEED)])
    height, width = image.shape[2:]
    missing = torch.tensor(asked.bits("mask", height * width)).view(1, 1, height, width)
    steps, stages = attention.filled(session, image, missing, _label(session, asked), steps=asked.whole("steps", 1, 200, 60), seed=_seed(asked))
    return {"step": steps, "images": as_json(stages)}


def square(session: Session, asked: Asked) -> dict[str, Any]:
    """Pictures at points between four corners, slots or seeds of noise, moved along directions of noise."""
    points = asked.points("points", longest=AT_ONCE)
    amounts = asked.reals("amounts", -4, 4, longest=min(draw.DIRECTIONS, _noise(session)), default=())
    if not points:
        raise Refused("points: give one at least")
    with session.held() as model:
        drawn = _corners(session, asked, model)
        if any(amounts):
            drawn = Latents(draw.varied(drawn.noise, _directions(session, model), amounts), drawn.key, drawn.slot, drawn.label)
        return {"images": as_json(draw.draw(model, draw.between(model, drawn, points)))}


def _corners(session: Session, asked: Asked, model: Any) -> Latents:
    if session.edits:
        chosen = asked.wholes("slots", 0, MOST_SLOTS, longest=4)
        if len(chosen) != 4:
            raise Refused("slots: a square has four corners")
        return mixture.square(session, chosen, seed=_seed(asked))
    seeds = asked.wholes("seeds", 0, SEED, longest=4)
    if len(seeds) != 4:
        raise Refused("seeds: a square has four corners")
    return draw.corners(model, seeds, label=_label(session, asked))


def _directions(session: Session, model: Any) -> draw.Directions:
    """Found once; to be asked for within ``held``."""
    if "directions" not in session.cache:
        session.cache["directions"] = draw.Directions(model)
    found: draw.Directions = session.cache["directions"]
    return found


# --- edits ---


def edit(session: Session, asked: Asked) -> dict[str, Any]:
    """Turn slots off or on, forget, freeze or thaw them, add pictures, take the last step back, or begin anew."""
    session.original  # noqa: B018  refuses a model that has none
    what = asked.choice("what", ("off", "on", "forget", "freeze", "thaw", "add", "undo", "reset"))
    answer: dict[str, Any] = {}
    if what in ("off", "on", "forget", "freeze", "thaw"):
        chosen = asked.wholes("slots", 0, MOST_SLOTS, longest=100_000)
        if what == "forget":
            editing.forget(session, chosen)
        elif what in ("freeze", "thaw"):
            editing.freeze(session, chosen, thaw=what == "thaw")
        else:
            editing.turn(session, chosen, off=what == "off")
    elif what == "add":
        images = session.pictures.take(asked.wholes("pictures", 0, SEED, longest=editing.MOST_ADDED))
        answer["slots"] = editing.add(session, images, share=asked.real("share", 0.001, 0.99, 0.1))
    else:
        with session.held():
            if what == "undo":
                answer["undone"] = session.undo()
            else:
                session.reset()
    return {**mixture.table(session), **answer}


def compare(session: Session, asked: Asked) -> dict[str, Any]:
    """Samples before and after the edits."""
    session.original  # noqa: B018  refuses a model that has none
    before, after = editing.compared(session, asked.whole("num", 1, 64, 24), seed=_seed(asked))
    return {"before": as_json(before), "after": as_json(after), "version": session.version}


def save(session: Session, asked: Asked) -> dict[str, Any]:
    """Save the edited model."""
    return {"saved": editing.save(session)}


def upload(session: Session, body: bytes) -> dict[str, Any]:
    """Remember a picture's file."""
    number = session.pictures.upload(body)
    return {"picture": number, "images": as_json(session.pictures.take([number]))}


def _seed(asked: Asked) -> int:
    return asked.whole("seed", 0, SEED, 0)


def _label(session: Session, asked: Asked) -> int | None:
    """The class that is asked for. Raises Refused for one that the model does not know."""
    if not asked.has("label"):
        return None
    label, known = asked.whole("label", 0, 1 << 20), [each for each, _ in session.loaded.classes]
    if label not in known and not asked.has("task"):
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
