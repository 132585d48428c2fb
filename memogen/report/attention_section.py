"""What the page shows of a model that reconstructs images and asks a memory of trainable slots."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from memogen.metrics.imputation import Reconstructs, shown
from memogen.metrics.slot_contents import Preferences, slot_preferences
from memogen.metrics.stream import labels_for, part_of
from memogen.types import ImageData, InputError, to_uint8

from . import attention, grid
from .attention import ShowsSlots
from .html import Html, element, escape, join, paragraph, section, table
from .sections import picture
from .theme import CLEAR

RECONSTRUCTED = 16  # held-out images shown beside their reconstructions
PREFERRING = 2000  # labelled held-out images whose preferences are drawn
TOP = 3


def reconstruction_section(model: object, data: ImageData | None) -> Html:
    """Held-out images, and what the model makes of one latent drawn for each; nothing for a model that reconstructs none."""
    if not isinstance(model, Reconstructs):
        return Html("")
    if data is None:
        return section("Reconstructions", paragraph("This page was made without the data; memogen impute draws what belongs here.", "soft"))

    def draw() -> Image.Image:
        image = shown(model, torch.from_numpy(np.array(data.image[:RECONSTRUCTED])))
        reconstruct: Callable[..., Tensor] = model.reconstruct
        made = reconstruct(image, seed=0, step=0, start=0, **labels_for(model, data, slice(0, RECONSTRUCTED)))
        return grid.sheet([to_uint8(each, model.image_range) for each in (image, made)], ["held-out images", "reconstructed"], theme=CLEAR)

    caption = f"The first images of {data.name}, {data.split}, and the means that the decoder gives from one latent of each."
    return section("Reconstructions", picture(draw, "Held-out images and their reconstructions", caption, scrolls=True))


def attention_section(model: ShowsSlots, data: ImageData | None) -> Html:
    """The memory of every layer: who asks for which slot, what slots look like, what is lost without them."""
    if not model.slot_counts:
        return section("Memory", paragraph("This model has no memory: the baseline."))
    told = ", ".join(f"{slots} slots in layer {layer}" for layer, slots in enumerate(model.slot_counts))
    parts = [paragraph(f"{told}; layer 0 is next to the data. They are trainable, and every image asks for all of them in its own measure.")]
    parts += [_preferences(model, data) if data is not None and data.label is not None else _unlabelled()]
    without = "Each column one sample: with all memories, then with ones in the place of what the memories answer, from the data up."
    parts += [
        element("h3", escape("Without the memory")),
        picture(lambda: attention.disabled_sheet(model, 12, theme=CLEAR), "Samples with memories taken away", without, scrolls=True),
    ]
    return section("Memory", *parts)


def _unlabelled() -> Html:
    return paragraph("Which classes ask for which slots is not shown: there are no labelled held-out images here.", "soft")


def _preferences(model: ShowsSlots, data: ImageData) -> Html:
    try:
        found = slot_preferences(model, part_of(data, PREFERRING))
    except InputError as error:
        return paragraph(f"Not drawn: {error}", "soft")
    maps = [_map(found, layer) for layer in reversed(range(len(found.by_layer)))]
    return join(
        [
            element("h3", escape("Which slots a class asks for")),
            *maps,
            element("h3", escape("What slots look like by themselves")),
            picture(
                lambda: attention.slot_sheet(model, found, num=TOP, theme=CLEAR),
                "Slots decoded alone",
                "Layer 0: the slots that each class wants most, decoded with nothing else; under each its mean share.",
                scrolls=True,
            ),
        ]
    )


def _map(found: Preferences, layer: int) -> Html:
    """The map of a layer beside its most wanted slots."""
    caption = f"Layer {layer}: each row a class, each column a slot; dark is a large mean share. {found.unused(layer)} slots get less than 0.001."
    rows = [[escape(text) for text in (name, *(f"{slot} ({share:.2f})" for slot, share in best))] for name, best in _named(found, layer)]
    head = ["Class", *(f"Slot {rank}" for rank in range(1, 1 + min(TOP, found.layer(layer).shape[1])))]
    drawn = picture(lambda: attention.preference_map(found.layer(layer), found.classes, theme=CLEAR), f"Layer {layer}", caption, scrolls=True)
    return element("div", drawn, table(head, rows), style="pair")


def _named(found: Preferences, layer: int) -> list[tuple[str, list[tuple[int, float]]]]:
    return list(zip(found.classes, found.top(layer, TOP), strict=True))
