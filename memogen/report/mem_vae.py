"""The page of a MEM-VAE's run, and its memories in pictures, which leave the model unchanged.

Of Li, Zhu and Zhang (ICML 2016): Fig. 3a-b :func:`preference_map`, Fig. 3c-d :func:`class_graph`, Fig. 6 :func:`disabled_sheet`, Fig. 7
:func:`slot_sheet`, Fig. 8 :func:`imputation_sheet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from memogen.metrics.imputation import Completed, Reconstructs, shown
from memogen.metrics.log_likelihood import observable
from memogen.metrics.memory_use import ReplacesAnswers, memory_use
from memogen.metrics.samples import labels_for, part_of
from memogen.metrics.slot_contents import Preferences, ShowsPrior, ShowsSlots, slot_preferences
from memogen.types import ImageData, InputError, folded, to_uint8

from . import grid
from .grid import CLEAR, LIGHT, Colour, Theme
from .history import series
from .parts import Figure, Group, Heading, Part, Section, Sign, Table, Text
from .sections import FamilyPart, PageContext, not_drawn, picture

RECONSTRUCTED = 16  # held-out images shown beside their reconstructions
PSEUDO_INPUTS = 16  # of a learned prior that are shown
USED = 500  # held-out images by which the use of the memory is measured
PREFERRING = 2000  # labelled held-out images whose preferences are drawn
TOP = 3  # slots shown for each class
CELL = (9, 22)  # pixels of a slot's share, width and height
NODE = 13  # pixels of the radius of a class in a graph
SIDE = 420  # pixels of a graph
WIDEST = 9  # pixels of the strongest edge
PALE: Colour = (226, 234, 246)  # of the least share and the weakest edge; both colours show on white and on black
DEEP: Colour = (20, 60, 130)


def sections(page: PageContext) -> FamilyPart:
    """Reconstructions, and the memory of every layer."""
    model, data = page.model, page.held_out
    commands = [("fill in missing pixels", f"memogen impute {page.folder} --data {page.source} --mask half --out imputed.png")]
    name, shown = "MEM-VAE", list[Section]()
    if isinstance(model, Reconstructs) and data is not None:
        caption = f"The first images of {data.name}, {data.split}, and the means that the decoder gives from one latent of each."
        drawn = picture(lambda: _reconstructions(model, data), "Held-out images and their reconstructions", caption, scrolls=True)
        shown.append(Section("Reconstructions", (drawn,)))
    if isinstance(model, ShowsPrior) and model.prior_slots:
        shown.append(_prior(model))
    if isinstance(model, ShowsSlots):
        shown.append(_memory(model, data))
        commands += [("look into the memory", f"memogen memory usage {page.folder}")] if model.slot_counts else []
        name = name if model.slot_counts else "VAE without memory"
    _, bound = series(page.run.metrics, "bound/bound")
    sign = None
    if len(bound) >= 2:
        rose = bound[-1] > bound[0]
        sign = Sign(rose, f"its bound {'rose' if rose else 'did not rise, but went'} from {bound[0]:,.1f} to {bound[-1]:,.1f} nats an image")
    return FamilyPart(name, tuple(shown), sign=sign, commands=tuple(commands))


def _reconstructions(model: Reconstructs, data: ImageData) -> Image.Image:
    image = shown(model, torch.from_numpy(np.array(data.image[:RECONSTRUCTED])))
    reconstruct: Callable[..., Tensor] = model.reconstruct
    made = reconstruct(image, seed=0, step=0, start=0, **labels_for(model, data, slice(0, RECONSTRUCTED)))
    return grid.sheet([to_uint8(each, model.image_range) for each in (image, made)], ["held-out images", "reconstructed"], theme=CLEAR)


def _prior(model: ShowsPrior) -> Section:
    """The pseudo-inputs of a learned prior."""
    told = f"The prior is learned: the mean of the posteriors of {model.prior_slots:,} pseudo-inputs, images that the encoder reads."
    caption = "The first pseudo-inputs, and the means of their posteriors decoded. A sample chooses one of them all and is drawn from its posterior."
    return Section("Prior", (Text(told), picture(lambda: prior_sheet(model, theme=CLEAR), "Pseudo-inputs of the prior", caption, scrolls=True)))


def _memory(model: ShowsSlots, data: ImageData | None) -> Section:
    """The slots that classes ask for, the slots by themselves, and samples without the memory."""
    if not model.slot_counts:
        return Section("Memory", (Text("This model has no memory: the baseline."),))
    told = ", ".join(f"{slots} slots in layer {layer}" for layer, slots in enumerate(model.slot_counts))
    without = "Each column one sample: with all memories, then with ones in the place of what the memories answer, from the data up."
    return Section(
        "Memory",
        (
            Text(f"{told}; layer 0 is next to the data. They are trainable. Every image reads all of them, each with its own weight."),
            *_use(model, data),
            *_preferences(model, data),
            Heading("Without the memory"),
            picture(lambda: disabled_sheet(model, 12, theme=CLEAR), "Samples with memories taken away", without, scrolls=True),
        ),
    )


def _use(model: ShowsSlots, data: ImageData | None) -> tuple[Part, ...]:
    if data is None or not isinstance(model, ReplacesAnswers):
        return ()
    try:
        images, _ = observable(model, part_of(data, USED), seed=0)
        return (Text(f"For {len(images):,} held-out images, {memory_use(model, images)}."),)
    except InputError:  # the next part says why
        return ()


def _preferences(model: ShowsSlots, data: ImageData | None) -> tuple[Part, ...]:
    if data is None or data.label is None:
        return (Text("Which classes ask for which slots is not shown: there are no labelled held-out images here.", soft=True),)
    try:
        found = slot_preferences(model, part_of(data, PREFERRING))
    except InputError as error:
        return (not_drawn(error),)
    alone = picture(
        lambda: slot_sheet(model, found, num=TOP, theme=CLEAR),
        "Slots decoded alone",
        "Layer 0: the slots that each class wants most, decoded with nothing else; under each its mean share.",
        scrolls=True,
    )
    maps = [_map(found, layer) for layer in reversed(range(len(found.by_layer)))]
    return Heading("Which slots a class asks for"), *maps, Heading("What slots look like by themselves"), alone


def _map(found: Preferences, layer: int) -> Group:
    """The map of a layer beside the slots that each class asks for most."""
    caption = f"Layer {layer}: each row a class, each column a slot; dark is a large mean share. {found.unused(layer)} slots get less than 0.001."
    named = zip(found.classes, found.top(layer, TOP), strict=True)
    rows = [[name, *(f"{slot} ({share:.2f})" for slot, share in best)] for name, best in named]
    head = ["Class", *(f"Slot {rank}" for rank in range(1, 1 + min(TOP, found.layer(layer).shape[1])))]
    drawn: Figure | Text = picture(lambda: preference_map(found.layer(layer), found.classes, theme=CLEAR), f"Layer {layer}", caption, scrolls=True)
    return Group([drawn, Table(head, rows)], "pair")


def preference_map(table: Float[np.ndarray, "classes slots"], classes: Sequence[str], *, theme: Theme = LIGHT) -> Image.Image:
    """Each row a class, each column a slot, the darker the larger its share, from the least to the largest of the table (Fig. 3a-b)."""
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
            draw.rectangle((*at, at[0] + wide - 2, at[1] + tall - 2), fill=_mixed(PALE, DEEP, float(value)))
    return picture


def preference_maps(found: Preferences, *, theme: Theme = LIGHT) -> Image.Image:
    """The maps of all layers below each other, the one next to the data last, as in the paper."""
    layers = list(reversed(range(len(found.by_layer))))
    maps = [preference_map(found.layer(layer), found.classes, theme=theme) for layer in layers]
    heads = [f"layer {layer}, {found.layer(layer).shape[1]} slots" for layer in layers]
    wide = max(*(each.width for each in maps), *(grid.text_width(words) for words in heads))
    whole, top = grid.blank(wide, sum(each.height + 2 * grid.CAPTION for each in maps) - grid.CAPTION, theme), 0
    for words, each in zip(heads, maps, strict=True):
        grid.text(whole, (0, top), words, theme.ink)
        whole.paste(each, (0, top + grid.CAPTION))
        top += each.height + 2 * grid.CAPTION
    return whole


def class_graph(correlation: Float[np.ndarray, "classes classes"], classes: Sequence[str], *, theme: Theme = LIGHT) -> Image.Image:
    """Each node a class, each edge the wider and darker the more two classes correlate, from the least to the largest pair (Fig. 3c-d)."""
    place = layout(correlation)
    pairs = [(correlation[i, j], i, j) for i in range(len(classes)) for j in range(i)]
    low, high = (min(pairs)[0], max(pairs)[0]) if pairs else (0.0, 1.0)
    picture = grid.blank(SIDE, SIDE, theme)
    draw = ImageDraw.Draw(picture)
    at = NODE + 4 + place * (SIDE - 2 * NODE - 8)
    for value, i, j in sorted(pairs):  # the strongest on top
        share = float((value - low) / (high - low)) if high > low else 0.0
        draw.line((*at[i], *at[j]), fill=_mixed(PALE, DEEP, share), width=max(1, round(WIDEST * share)))
    for (x, y), name in zip(at, classes, strict=True):
        draw.ellipse((x - NODE, y - NODE, x + NODE, y + NODE), fill=theme.ground or theme.faint, outline=theme.ink, width=2)
        grid.text(picture, (float(x), float(y)), name if len(name) < 4 else name[:3], theme.ink, anchor="mm")
    return picture


def layout(correlation: Float[np.ndarray, "classes classes"]) -> Float[np.ndarray, "classes 2"]:
    """Points in the unit square, the nearer the more two classes correlate, but 0.08 apart: classical scaling of sqrt(2 (1 - correlation)).

    departs: the authors use a spring layout, which depends on a random start; this one is unique up to its orientation, which is fixed here.
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
        push = (0.08 * 1.1 - far).clip(0) / 2
        if not push.any():
            break
        point = point + (gap / far[..., None] * push[..., None]).sum(1)
    return _in_square(point)


def _in_square(point: Float[np.ndarray, "classes 2"]) -> Float[np.ndarray, "classes 2"]:
    """Centred in the unit square, and as large as it allows."""
    centred = point - (point.max(0) + point.min(0)) / 2
    reach = 2 * np.abs(centred).max()
    return np.asarray(0.5 + centred / reach if reach > 0 else np.full_like(point, 0.5))


def slot_grid(model: ShowsSlots, slots: Sequence[int] | None = None, *, layer: int = 0, stretched: bool = False, theme: Theme = LIGHT) -> Image.Image:
    """Slots of a layer, all by default, decoded by themselves with h_g = 0; ``stretched`` gives each picture the full range of brightness."""
    return grid.grid(_slot_images(model, slots, layer, stretched), 10, theme=theme)


def prior_sheet(model: ShowsPrior, num: int = PSEUDO_INPUTS, *, theme: Theme = LIGHT) -> Image.Image:
    """The first pseudo-inputs of a learned prior, and what the decoder makes of the means of their posteriors."""
    rows = [to_uint8(model.prior_picture(decoded=decoded)[:num], model.image_range) for decoded in (False, True)]
    return grid.sheet(rows, ["pseudo-inputs", "decoded"], theme=theme)


def slot_sheet(
    model: ShowsSlots, preferences: Preferences, *, layer: int = 0, num: int = 3, stretched: bool = False, theme: Theme = LIGHT
) -> Image.Image:
    """The ``num`` slots that each class asks for most, as in :func:`slot_grid`: a column for each class, each slot over its share (Fig. 7)."""
    _check_layer(model, layer)
    heads, best = preferences.classes, preferences.top(layer, num)
    ranks = range(len(best[0]))
    rows = [folded(_slot_images(model, [column[rank][0] for column in best], layer, stretched)) for rank in ranks]
    scale = grid.scale_for(*rows[0].shape[-2:])
    wide, tall = rows[0].shape[-1] * scale, rows[0].shape[-2] * scale
    across, down = max(wide, *(grid.text_width(words) for words in heads)) + 6, tall + grid.CAPTION + 4
    picture = grid.blank(len(heads) * across, grid.CAPTION + len(rows) * down, theme)
    for place, (head, column) in enumerate(zip(heads, best, strict=True)):
        middle = place * across + across // 2
        grid.text(picture, (middle, 0), head, theme.ink, anchor="ma")
        for rank in ranks:
            top = grid.CAPTION + rank * down
            picture.paste(grid.tile(rows[rank][place], scale), (middle - wide // 2, top))
            grid.text(picture, (middle, top + tall), f"{column[rank][1]:.2f}", theme.ink, anchor="ma")
    return picture


def _slot_images(model: ShowsSlots, slots: Sequence[int] | None, layer: int, stretched: bool) -> UInt8[Tensor, "b c h w"]:
    _check_layer(model, layer)
    image = model.slot_picture(slots, layer=layer)
    if not stretched:
        return to_uint8(image, model.image_range)
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    return to_uint8((image - low) / (high - low).clamp_min(1e-12), (0.0, 1.0))


def disabled_sheet(model: ShowsSlots, num: int = 20, *, seed: int = 0, theme: Theme = LIGHT) -> Image.Image:
    """The same samples with all memories, and with the answers of those of layer 0, layers 0 and 1, ... replaced by ones (Fig. 6)."""
    layers = range(len(model.slot_counts))
    if not layers:
        raise InputError("memory: this model was built without a memory, so none can be taken away: choose a model with memory")
    latents = model.latents(num, seed=seed)
    rows = [to_uint8(model.decode(latents, without_memory=tuple(range(taken))), model.image_range) for taken in range(len(layers) + 1)]
    without = [f"without the memory of layer{'s' * (taken > 0)} {' and '.join(str(layer) for layer in range(taken + 1))}" for taken in layers]
    return grid.sheet(rows, ["as trained", *without], theme=theme)


def imputation_sheet(found: Completed, image_range: tuple[float, float], *, theme: Theme = LIGHT) -> Image.Image:
    """Images as given, with noise in the missing pixels, and after some steps of imputation (Fig. 8)."""
    rows = [to_uint8(each, image_range) for each in (found.image, *(filled for _, filled in found.stages))]
    named = ["noise in the missing pixels" if step == 0 else f"after {step} step{'s' * (step > 1)}" for step, _ in found.stages]
    share = float(found.missing.float().mean())
    return grid.sheet(rows, [f"as given; {share:.0%} of the pixels go missing", *named], theme=theme)


def _mixed(first: Colour, last: Colour, share: float) -> Colour:
    red, green, blue = (round(one + (other - one) * share) for one, other in zip(first, last, strict=True))
    return red, green, blue


def _check_layer(model: ShowsSlots, layer: int) -> None:
    if not model.slot_counts:
        raise InputError("memory: this model was built without a memory, so there are no slots to show: choose a model with memory")
    if not 0 <= layer < len(model.slot_counts):
        raise InputError(f"layer: {layer}: memories are in layers 0 (next to the data) to {len(model.slot_counts) - 1}")
