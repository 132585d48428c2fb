"""Pictures of attention memories: who asks for which slot, what a slot looks like, what is lost without the memory; and of missing pixels filled in.

Of Li, Zhu and Zhang (ICML 2016): Fig. 3a-b :func:`preference_map`, Fig. 3c-d :func:`class_graph`, Fig. 6 :func:`disabled_sheet`, Fig. 7
:func:`slot_sheet`, Fig. 8 :func:`imputation_sheet`. Every function leaves the model as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from memogen.metrics.imputation import Completed
from memogen.metrics.slot_contents import AddressesSlots, Preferences
from memogen.training.grid import folded
from memogen.types import InputError, Latents, to_uint8

from . import grid
from .theme import LIGHT, Colour, Theme

CELL = (9, 22)  # pixels of a slot's share, width and height
NODE = 13  # radius of a class in a graph
SIDE = 420  # pixels of a graph
WIDEST = 9  # pixels of the strongest edge
PALE: Colour = (226, 234, 246)  # of the least share, and the weakest edge; both read on white and on black
DEEP: Colour = (20, 60, 130)


@runtime_checkable
class ShowsSlots(AddressesSlots, Protocol):
    """A model whose slots can be seen, and whose memories can be taken away layer by layer; layers count from the data up."""

    image_range: tuple[float, float]

    @property
    def slot_counts(self) -> tuple[int, ...]: ...
    def slot_picture(self, slots: Sequence[int] | None = None, *, layer: int = 0) -> Float[Tensor, "b c h w"]: ...
    def latents(self, num: int, *, seed: int = 0) -> Latents: ...
    def decode(self, latents: Latents, *, without_memory: Collection[int] = ()) -> Float[Tensor, "b c h w"]: ...


def preference_map(table: Float[np.ndarray, "classes slots"], classes: Sequence[str], *, theme: Theme = LIGHT) -> Image.Image:
    """Each row a class, each column a slot, dark where much is asked for: from the least share of the whole table to the greatest (Fig. 3a-b)."""
    low, high = float(table.min()), float(table.max())
    shade = (table - low) / (high - low) if high > low else np.zeros_like(table)
    wide, tall = CELL
    left = max(map(grid.text_width, classes)) + 8
    picture = grid.blank(left + table.shape[1] * wide, len(classes) * tall, theme)
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(classes):
        grid.text(picture, (left - 6, row * tall + tall // 2), name, theme.ink, anchor="rm")
        for column, value in enumerate(shade[row]):
            at = left + column * wide, row * tall
            draw.rectangle((*at, at[0] + wide - 2, at[1] + tall - 2), fill=_between(PALE, DEEP, float(value)))
    return picture


def class_graph(correlation: Float[np.ndarray, "classes classes"], classes: Sequence[str], *, theme: Theme = LIGHT) -> Image.Image:
    """Each node a class; an edge is the wider and darker the more two classes correlate, from the least pair to the greatest (Fig. 3c-d)."""
    place = layout(correlation)
    pairs = [(correlation[i, j], i, j) for i in range(len(classes)) for j in range(i)]
    low, high = (min(pairs)[0], max(pairs)[0]) if pairs else (0.0, 1.0)
    picture = grid.blank(SIDE, SIDE, theme)
    draw = ImageDraw.Draw(picture)
    at = NODE + 4 + place * (SIDE - 2 * NODE - 8)
    for value, i, j in sorted(pairs):  # the strongest on top
        share = float((value - low) / (high - low)) if high > low else 0.0
        draw.line((*at[i], *at[j]), fill=_between(PALE, DEEP, share), width=max(1, round(WIDEST * share)))
    for (x, y), name in zip(at, classes, strict=True):
        draw.ellipse((x - NODE, y - NODE, x + NODE, y + NODE), fill=theme.ground or theme.faint, outline=theme.ink, width=2)
        grid.text(picture, (float(x), float(y)), name if len(name) < 4 else name[:3], theme.ink, anchor="mm")
    return picture


def layout(correlation: Float[np.ndarray, "classes classes"], *, apart: float = 0.08) -> Float[np.ndarray, "classes 2"]:
    """Points in the unit square, near where two classes correlate, but ``apart`` at least: classical scaling of sqrt(2 (1 - correlation)).

    departs: the authors draw with springs, whose end depends on a random start; this has one solution, but for its orientation, which is fixed.
    """
    count = len(correlation)
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(centre @ correlation @ centre)  # of these distances, the doubly centred correlation is the Gram matrix
    point = vectors[:, ::-1][:, :2] * np.sqrt(values[::-1][:2].clip(0))
    point = np.pad(point, ((0, 0), (0, 2 - point.shape[1])))
    point = point * np.where(point[np.abs(point).argmax(0), [0, 1]] < 0, -1, 1)
    point = _in_square(point + 1e-9 * np.stack([np.cos(np.arange(count)), np.sin(np.arange(count))], 1))  # so that equal points can part
    for _ in range(100):
        gap = point[:, None] - point[None]
        far = np.linalg.norm(gap, axis=2) + np.eye(count)
        push = (apart * 1.1 - far).clip(0) / 2
        if not push.any():
            break
        point = point + (gap / far[..., None] * push[..., None]).sum(1)
    return _in_square(point)


def _in_square(point: Float[np.ndarray, "classes 2"]) -> Float[np.ndarray, "classes 2"]:
    """Centred, and as large as the unit square allows."""
    centred = point - (point.max(0) + point.min(0)) / 2
    reach = 2 * np.abs(centred).max()
    return np.asarray(0.5 + centred / reach if reach > 0 else np.full_like(point, 0.5))


def slot_grid(model: ShowsSlots, slots: Sequence[int] | None = None, *, layer: int = 0, stretched: bool = False, theme: Theme = LIGHT) -> Image.Image:
    """What slots of a layer, all by default, look like by themselves, decoded with h_g = 0; ``stretched`` brings each from black to white."""
    _check_layer(model, layer)
    return grid.grid(_slot_images(model, slots, layer, stretched), 10, theme=theme)


def slot_sheet(
    model: ShowsSlots, preferences: Preferences, *, layer: int = 0, num: int = 3, stretched: bool = False, theme: Theme = LIGHT
) -> Image.Image:
    """The ``num`` slots that each class wants most, as :func:`slot_grid` shows them: a column a class, under their shares (Fig. 7)."""
    _check_layer(model, layer)
    top = preferences.top(layer, num)
    rows = [_slot_images(model, [best[rank][0] for best in top], layer, stretched) for rank in range(len(top[0]))]
    return _columns(rows, preferences.classes, [[f"{best[rank][1]:.2f}" for best in top] for rank in range(len(top[0]))], theme)


def _columns(rows: Sequence[UInt8[Tensor, "b c h w"]], heads: Sequence[str], captions: Sequence[Sequence[str]], theme: Theme) -> Image.Image:
    """Images under the heads of their columns, each over a caption of its own."""
    rows = [folded(row) for row in rows]
    scale = grid.scale_for(*rows[0].shape[-2:])
    wide, tall = rows[0].shape[-1] * scale, rows[0].shape[-2] * scale
    across, down = max(wide, *(grid.text_width(words) for words in heads)) + 6, tall + grid.CAPTION + 4
    picture = grid.blank(len(heads) * across, grid.CAPTION + len(rows) * down, theme)
    for column, head in enumerate(heads):
        middle = column * across + across // 2
        grid.text(picture, (middle, 0), head, theme.ink, anchor="ma")
        for place, (row, words) in enumerate(zip(rows, captions, strict=True)):
            top = grid.CAPTION + place * down
            picture.paste(grid.tile(row[column], scale), (middle - wide // 2, top))
            grid.text(picture, (middle, top + tall), words[column], theme.ink, anchor="ma")
    return picture


def _slot_images(model: ShowsSlots, slots: Sequence[int] | None, layer: int, stretched: bool) -> UInt8[Tensor, "b c h w"]:
    image = model.slot_picture(slots, layer=layer)
    if not stretched:
        return to_uint8(image, model.image_range)
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    return to_uint8((image - low) / (high - low).clamp_min(1e-12), (0.0, 1.0))


def disabled_sheet(model: ShowsSlots, num: int = 20, *, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """The same samples with all memories, and with ones in the place of those of more and more layers, from the data up (Fig. 6)."""
    layers = range(len(model.slot_counts))
    if not layers:
        raise InputError("memory: this model was built without a memory, so there is none to take away: choose a model with memory")
    latents = model.latents(num, seed=seed)
    rows = [to_uint8(model.decode(latents, without_memory=tuple(range(taken))), model.image_range) for taken in range(len(layers) + 1)]
    without = [f"without the memory of layer{'s' * (taken > 0)} {' and '.join(str(layer) for layer in range(taken + 1))}" for taken in layers]
    return grid.sheet(rows, ["as trained", *without], theme=theme)


def imputation_sheet(found: Completed, image_range: tuple[float, float], *, theme: Theme = LIGHT) -> Image.Image:
    """Images as they are, with noise in the place of what is missing, and as the model fills it in (Fig. 8)."""
    rows = [to_uint8(each, image_range) for each in (found.image, *(filled for _, filled in found.stages))]
    named = ["noise in the missing pixels" if step == 0 else f"after {step} step{'s' * (step > 1)}" for step, _ in found.stages]
    share = float(found.missing.float().mean())
    return grid.sheet(rows, [f"as given; {share:.0%} of the pixels go missing", *named], theme=theme)


def _between(first: Colour, last: Colour, share: float) -> Colour:
    red, green, blue = (round(one + (other - one) * share) for one, other in zip(first, last, strict=True))
    return red, green, blue


def _check_layer(model: ShowsSlots, layer: int) -> None:
    if not model.slot_counts:
        raise InputError("memory: this model was built without a memory, so there are no slots to show: choose a model with memory")
    if not 0 <= layer < len(model.slot_counts):
        raise InputError(f"layer: {layer}: memories are in layers 0 (next to the data) to {len(model.slot_counts) - 1}")
