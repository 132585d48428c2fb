"""Answers about trainable memories, their slots and the pictures that ask for them; and about any model that reconstructs pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from memogen.metrics.imputation import Reconstructs, Refinement, refine, shown
from memogen.metrics.samples import num_labels
from memogen.types import to_uint8

from .asked import Refused
from .pictures import as_json
from .session import Session

ASKING = 512  # pictures of the data whose weights are computed
_KEPT = (0, 1, 2, 3, 5, 8, 12, 20, 35, 60, 100)  # steps of an imputation that are shown


def slots(session: Session, layer: int) -> dict[str, Any]:
    """The slots of a layer in columns: number, mean weight over pictures of the data, or of samples, and the class with the largest mean weight."""
    count = _count(session, layer)
    asking, looked = _asking(session), session.looked
    weight = asking.weights[layer]
    label, share, classes = [-1] * count, [0.0] * count, list[str]()
    if asking.label is not None and looked is not None:
        kinds = sorted(set(asking.label.tolist()))
        means = torch.stack([weight[asking.label == kind].mean(0) for kind in kinds])
        label = [kinds[place] for place in means.argmax(0).tolist()]
        share = (means.amax(0) / means.sum(0).clamp_min(1e-12)).tolist()
        classes = [looked.classes[kind] if kind < len(looked.classes) else str(kind) for kind in range(kinds[-1] + 1)]
    return {
        "version": session.version,
        "slot": list(range(count)),
        "weight": [round(value, 5) for value in weight.mean(0).tolist()],
        "label": label,
        "share": [round(value, 3) for value in share],
        "classes": classes,
        "of": "samples of the model" if looked is None else looked.name,
    }


def slot_pictures(session: Session, layer: int, numbers: list[int], *, apart: bool = False) -> UInt8[Tensor, "b c h w"]:
    """Slots decoded by themselves; with ``apart``, their difference to the mean of the layer, grey for none, scaled by the largest of the layer."""
    if not all(0 <= number < _count(session, layer) for number in numbers):
        raise Refused(f"slots: layer {layer} holds slots 0 to {_count(session, layer) - 1}", 404)
    with session.held() as model:
        if not apart:
            return to_uint8(model.slot_picture(numbers, layer=layer), model.image_range)
        every = model.slot_picture(None, layer=layer)
        difference = every - every.mean(0)
        return to_uint8((difference / difference.abs().max().clamp_min(1e-12))[numbers], (-1.0, 1.0))


def askers(session: Session, layer: int, slot: int) -> dict[str, Any]:
    """The eight pictures with the largest weights on a slot, and these weights."""
    if not 0 <= slot < _count(session, layer):
        raise Refused(f"slot {slot}: layer {layer} holds slots 0 to {_count(session, layer) - 1}", 404)
    asking = _asking(session)
    best = asking.weights[layer][:, slot].topk(min(8, len(asking.image)))
    return {"images": as_json(asking.image[best.indices.numpy()]), "weight": [float(value) for value in best.values]}


def picture(session: Session, image: UInt8[Tensor, "1 c h w"], label: int | None, num: int, *, seed: int) -> dict[str, Any]:
    """``asks``: the ``num`` slots of each layer with the largest weights for a picture; ``own``: its reconstructions from eight latents."""
    asks = []
    with session.held() as model:
        if session.loaded.layers:
            for weight in model.addresses(image, seed=0, start=0, **_told(model, label, 1)):
                best, total = weight[0].topk(min(num, weight.shape[1])), float(weight[0].sum())
                asks.append({"slot": best.indices.tolist(), "share": [float(value) / total if total else 0.0 for value in best.values]})
        several = shown(_need_reconstructs(model), image.expand(8, -1, -1, -1))
        own = model.reconstruct(several, seed=seed, step=0, start=0, **_told(model, label, 8))
        return {"asks": asks, "own": as_json(to_uint8(own, model.image_range))}


def filled(
    session: Session, image: UInt8[Tensor, "1 c h w"], missing: Bool[Tensor, "1 1 h w"], label: int | None, *, steps: int, seed: int
) -> dict[str, Any]:
    """A picture with noise in its missing pixels, and after some steps of imputation: the steps and the pictures."""
    if not bool(missing.any()):
        raise Refused("no pixel is missing: paint over some first")
    kept, stages = [], []
    with session.held() as model:
        whole = shown(_need_reconstructs(model), image)
        for step, stage in enumerate(refine(model, whole, missing, Refinement(steps, seed), label=_told(model, label, 1).get("label"))):
            if step in _KEPT or step == steps:
                kept.append(step)
                stages.append(to_uint8(stage, model.image_range))
    return {"step": kept, "images": as_json(torch.cat(stages))}


@dataclass(frozen=True)
class _Asking:
    """Pictures, their classes if known, and their weights on all slots, layer by layer."""

    image: UInt8[np.ndarray, "n c h w"]
    label: Int[Tensor, " n"] | None
    weights: tuple[Float[Tensor, "n _"], ...]


def _asking(session: Session) -> _Asking:
    """Of samples until the data are read, then of data; each is computed once."""
    looked = session.look()
    kept: dict[bool, _Asking] = session.cache.setdefault("asking", {})
    if (looked is not None) not in kept:
        with session.held() as model:
            if looked is None:
                latents = model.latents(ASKING // 2, seed=3)
                image, label = to_uint8(model.decode(latents), model.image_range), latents.label
            else:
                image = torch.from_numpy(np.array(looked.image[:ASKING]))
                label = None if looked.label is None else torch.from_numpy(np.array(looked.label[:ASKING]))
            known = num_labels(model)
            told = {"label": torch.zeros(len(image), dtype=torch.long) if label is None else label.clamp(0, known - 1)} if known else {}
            weights = tuple(model.addresses(image, seed=0, start=0, **told))
        kept[looked is not None] = _Asking(image.numpy(), None if looked is None else label, weights)
    return kept[looked is not None]


def _count(session: Session, layer: int) -> int:
    """The number of slots in a layer. Raises Refused."""
    layers = session.loaded.layers
    if not 0 <= layer < len(layers):
        raise Refused(f"layer {layer}: this model has memories in {len(layers)} layers", 404)
    return layers[layer]


def _need_reconstructs(model: object) -> Reconstructs:
    if not isinstance(model, Reconstructs):
        raise Refused("this model cannot reconstruct pictures", 404)
    return model


def _told(model: object, label: int | None, num: int) -> dict[str, Tensor]:
    """The label of ``num`` pictures for a conditional model, else nothing."""
    return {"label": torch.full((num,), label or 0)} if num_labels(model) else {}
