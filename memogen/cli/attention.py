"""What the memory commands do for a model whose decoder asks a memory of trainable slots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from memogen.cli.files import DataChoice, check_picture, open_model, read_picture, write_picture
from memogen.cli.options import UsageError

if TYPE_CHECKING:
    from memogen.metrics.slot_contents import Preferences, ShowsSlots


def open_attentive(name: str) -> ShowsSlots | None:
    """The model of that name where its slots can be seen; None where it has none of that kind."""
    opened = open_model(name)
    from memogen.metrics.slot_contents import ShowsSlots

    if not isinstance(opened, ShowsSlots):
        return None
    if not opened.slot_counts:
        raise UsageError(f"{name}: this model was built without a memory; name one of a variant with memory, such as mem_vae")
    return opened


def need_attentive(name: str) -> ShowsSlots:
    """The same; any other model is refused."""
    opened = open_attentive(name)
    if opened is None:
        raise UsageError(f"{name}: this command looks into the memory that a decoder asks, as that of a MEM-VAE; this model has no such memory")
    return opened


def preferences_of(model: ShowsSlots, choice: DataChoice, *, by_class: bool = False) -> Preferences:
    """Which slots the classes of the test images ask for; of images without labels, unless it has to be ``by_class``, all of them together."""
    from dataclasses import replace

    import numpy as np

    from memogen.metrics.samples import Work, num_labels
    from memogen.metrics.slot_contents import slot_preferences
    from memogen.progress import Bar

    data = choice.load()
    if data.label is None and not by_class and not num_labels(model):
        data = replace(data, label=np.zeros(len(data), np.int64), classes=("all",))
    with Bar() as bar:
        return slot_preferences(model, data, work=Work(bar=bar))


def print_preferences(model: ShowsSlots, choice: DataChoice, *, top: int, out: Path | None) -> None:
    """A table for every memory: each class's most wanted slots with their mean shares (Table 4); ``out`` a picture of all shares."""
    if out is not None:
        check_picture(out)
    from memogen.report.text import in_columns

    found = preferences_of(model, choice)
    for layer, slots in enumerate(model.slot_counts):
        print(f"{'' if layer == 0 else chr(10)}layer {layer}{' (next to the data)' if layer == 0 else ''}: {slots} slots, {_in_use(found, layer)}")
        head = ["class", *(text for rank in range(1, min(top, slots) + 1) for text in (f"slot {rank}", "share"))]
        rows = [[name, *(text for slot, share in best for text in (str(slot), f"{share:.3f}"))] for name, best in _named(found, layer, top)]
        print(in_columns([head, *rows], right=1))
    if out is not None:
        write_picture(_maps(found), out)


def _in_use(found: Preferences, layer: int) -> str:
    """How many slots share what is asked for: exp of the entropy of the mean over classes."""
    import numpy as np

    share = found.layer(layer).mean(0)
    share = share[share > 0] / share.sum()
    effective = float(np.exp(-(share * np.log(share)).sum()))
    return f"{effective:.1f} share the weight (exp of the entropy), {found.unused(layer)} get less than 0.001 of it"


def _named(found: Preferences, layer: int, top: int) -> list[tuple[str, list[tuple[int, float]]]]:
    return list(zip(found.classes, found.top(layer, top), strict=True))


def _maps(found: Preferences) -> Any:
    """The maps of all layers under one another, the one next to the data last, as the paper has them."""
    from memogen.report import grid, mem_vae
    from memogen.report.grid import LIGHT

    layers = list(reversed(range(len(found.by_layer))))
    maps = [mem_vae.preference_map(found.layer(layer), found.classes) for layer in layers]
    heads = [f"layer {layer}, {found.layer(layer).shape[1]} slots" for layer in layers]
    wide = max(*(each.width for each in maps), *(grid.text_width(words) for words in heads))
    whole, top = grid.blank(wide, sum(each.height + 2 * grid.CAPTION for each in maps) - grid.CAPTION, LIGHT), 0
    for words, each in zip(heads, maps, strict=True):
        grid.text(whole, (0, top), words, LIGHT.ink)
        whole.paste(each, (0, top + grid.CAPTION))
        top += each.height + 2 * grid.CAPTION
    return whole


def draw_slots(model: ShowsSlots, slots: list[int] | None, choice: DataChoice | None, *, layer: int, num: int, stretched: bool, out: Path) -> None:
    """The named slots; or those that each class wants most (Fig. 7); or, without data, all."""
    from memogen.report import mem_vae

    if slots is not None or choice is None:
        return write_picture(mem_vae.slot_grid(model, slots, layer=layer, stretched=stretched), out)
    write_picture(mem_vae.slot_sheet(model, preferences_of(model, choice), layer=layer, num=num, stretched=stretched), out)


def print_addresses(model: Any, name: str, image: Path, num: int, label: int | None) -> None:
    """The slots that a picture asks for, layer by layer, the most wanted first.

    ``name`` is that of the model, ``label`` the picture's class, for a model that is told it.
    """
    import torch

    told = {} if label is None else {"label": torch.tensor([label])}
    weights = model.addresses(read_picture(image, model.config.image_shape, model=name)[None], seed=0, start=0, **told)
    for layer, weight in enumerate(weights):
        best = weight[0].topk(min(num, weight.shape[1]))
        print(f"{'' if layer == 0 else chr(10)}layer {layer}{' (next to the data)' if layer == 0 else ''}\n  slot  weight   share")
        for slot, value in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            print(f"{slot:>6}  {value:>6.4f}  {value / float(weight[0].sum()):>6.4f}")


def draw_graph(model: ShowsSlots, choice: DataChoice, of: str, out: Path) -> None:
    """The graph of a layer or of the pixels, and the pairs that correlate most."""
    if of != "pixels" and not (of.isdecimal() and int(of) < len(model.slot_counts)):
        raise UsageError(f"--of {of}: neither a layer nor pixels; write one of {', '.join(map(str, range(len(model.slot_counts))))}, pixels")
    from memogen.metrics.slot_contents import class_correlation, strongest
    from memogen.report import mem_vae

    found = preferences_of(model, choice, by_class=True)
    correlation = class_correlation(found.pixels if of == "pixels" else found.layer(int(of)))
    write_picture(mem_vae.class_graph(correlation, found.classes), out)
    for one, other, value in strongest(correlation):
        print(f"{found.classes[one]} and {found.classes[other]}: {value:.3f}")
