"""What is answered about trainable memories: slots as pictures, who asks for them; and of any model that reconstructs: missing pixels filled in."""

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
from .session import Session

ASKING = 512  # pictures of the data whose wishes are looked at
_KEPT = (0, 1, 2, 3, 5, 8, 12, 20, 35, 60, 100)  # steps of a completion that are shown


def slots(session: Session, layer: int) -> dict[str, Any]:
    """The slots of a layer in columns: number, mean weight over pictures of the data, or of samples, and the class that asks for it most."""
    count = _count(session, layer)
    asking = _asking(session)
    weight = asking.weights[layer]
    label, share, classes = [-1] * count, [0.0] * count, list[str]()
    looked = session.looked
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
        "of": looked.name if looked is not None and asking.label is not None else "samples of the model" if looked is None else looked.name,
    }


def slot_pictures(session: Session, layer: int, numbers: list[int], *, apart: bool = False) -> UInt8[Tensor, "b c h w"]:
    """What slots look like by themselves; or ``apart``, what sets each apart: less the mean of its layer, grey where they agree, in the contrast that
    the most different pixel of the layer allows.
    """
    if not all(0 <= number < _count(session, layer) for number in numbers):
        raise Refused(f"slots: layer {layer} holds slots 0 to {_count(session, layer) - 1}", 404)
    with session.held() as model:
        picture: Any = model.slot_picture  # type: ignore[attr-defined]  # there are layers
        if not apart:
            return to_uint8(picture(numbers, layer=layer), model.image_range)
        every = picture(None, layer=layer)
        difference = every - every.mean(0)
        return to_uint8((difference / difference.abs().max().clamp_min(1e-12))[numbers], (-1.0, 1.0))


def askers(session: Session, layer: int, slot: int, num: int = 8) -> dict[str, Any]:
    """The pictures that ask for a slot most, with their weights."""
    if not 0 <= slot < _count(session, layer):
        raise Refused(f"slot {slot}: layer {layer} holds slots 0 to {_count(session, layer) - 1}", 404)
    asking = _asking(session)
    best = asking.weights[layer][:, slot].topk(min(num, len(asking.image)))
    return {"image": asking.image[best.indices.numpy()], "weight": [float(value) for value in best.values]}


def addresses(session: Session, image: UInt8[Tensor, "1 c h w"], label: int | None, num: int) -> list[dict[str, Any]]:
    """The slots that a picture asks for most, layer by layer."""
    with session.held() as model:
        ask: Any = model.addresses  # type: ignore[attr-defined]  # there are layers
        weights = ask(image, seed=0, start=0, **_label_option(session, label, 1))
    found = []
    for weight in weights:
        best = weight[0].topk(min(num, weight.shape[1]))
        total = float(weight[0].sum())
        found.append({"slot": best.indices.tolist(), "share": [float(value) / total if total else 0.0 for value in best.values]})
    return found


def reconstructed(session: Session, image: UInt8[Tensor, "1 c h w"], label: int | None, num: int, *, seed: int) -> UInt8[Tensor, "b c h w"]:
    """What the model makes of ``num`` latents of a picture."""
    with session.held() as model:
        reconstruct: Any = _reconstructs(model).reconstruct
        several = shown(_reconstructs(model), image.expand(num, -1, -1, -1))
        return to_uint8(reconstruct(several, seed=seed, step=0, start=0, **_label_option(session, label, num)), model.image_range)


def filled(
    session: Session, image: UInt8[Tensor, "1 c h w"], missing: Bool[Tensor, "1 1 h w"], label: int | None, *, steps: int, seed: int
) -> tuple[list[int], UInt8[Tensor, "s c h w"]]:
    """A picture with noise in its missing pixels, and after some of the steps of filling them in: the numbers of the steps, and the pictures."""
    if not bool(missing.any()):
        raise Refused("no pixel is missing: paint over some first")
    kept, stages = [], []
    with session.held() as model:
        whole = shown(_reconstructs(model), image)
        option = _label_option(session, label, 1)
        for step, stage in enumerate(refine(_reconstructs(model), whole, missing, Refinement(steps, seed), label=option.get("label"))):
            if step in _KEPT or step == steps:
                kept.append(step)
                stages.append(to_uint8(stage, model.image_range))
    return kept, torch.cat(stages)


# --- who asks ---


@dataclass(frozen=True)
class _Asking:
    """Pictures, their classes where known, and the weights of all slots that they ask for, layer by layer."""

    image: UInt8[np.ndarray, "n c h w"]
    label: Int[Tensor, " n"] | None
    weights: tuple[Float[Tensor, "n _"], ...]


def _asking(session: Session) -> _Asking:
    """Found once, and again when the data are there."""
    looked = session.look()
    kept: dict[bool, _Asking] = session.cache.setdefault("asking", {})
    if (looked is not None) not in kept:
        kept[looked is not None] = _looked_at(session)
    return kept[looked is not None]


def _looked_at(session: Session) -> _Asking:
    looked = session.looked
    with session.held() as model:
        if looked is None:
            latents = model.latents(ASKING // 2, seed=3)
            image, label = to_uint8(model.decode(latents), model.image_range), latents.label
        else:
            image = torch.from_numpy(np.array(looked.image[:ASKING]))
            label = None if looked.label is None else torch.from_numpy(np.array(looked.label[:ASKING]))
        ask: Any = model.addresses  # type: ignore[attr-defined]  # there are layers
        known = num_labels(model)
        option = {"label": torch.zeros(len(image), dtype=torch.long) if label is None else label.clamp(0, known - 1)} if known else {}
        return _Asking(image.numpy(), None if looked is None else label, tuple(ask(image, seed=0, start=0, **option)))


def _count(session: Session, layer: int) -> int:
    layers = session.loaded.layers
    if not 0 <= layer < len(layers):
        raise Refused(f"layer {layer}: this model has memories in {len(layers)} layers", 404)
    return layers[layer]


def _reconstructs(model: object) -> Reconstructs:
    if not isinstance(model, Reconstructs):
        raise Refused("this model cannot reconstruct pictures", 404)
    return model


def _label_option(session: Session, label: int | None, num: int) -> dict[str, Tensor]:
    """The label of all pictures, for a model that is told it."""
    known = num_labels(session.loaded.model)
    return {"label": torch.full((num,), label or 0)} if known else {}
