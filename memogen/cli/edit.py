"""The commands that edit a memory, each into a new folder: forget, freeze, add. (`memory disable` only draws; it edits nothing.)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from memogen.cli.files import check_new_folder, choose_data, class_number, open_slots, read_picture
from memogen.cli.options import KINDS, Folder, Model, whole_numbers
from memogen.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Slots = Annotated[str, "slots by their numbers, as 0,17,250"]
Classes = Annotated[str, "slots that hold one of these classes, by name or number, as sneaker,bag"]
Pictures = Annotated[str, "slots that these picture files belong to, as a.png,b.png; with --cosine, all slots near their queries"]
Near = Annotated[str, "real slots near these ones, as 17,250: --cosine says how near"]
Cosine = Annotated[float | None, "the smallest cosine that counts as near; default: 0.8 for --near"]
Data = Annotated[str | None, f"with --classes, labelled images that tell which slots hold a class: {KINDS}; default: the run's own data"]
Out = Annotated[Path, "the folder of the edited model, new or empty"]


@dataclass(frozen=True)
class Chosen:
    """The slots that the options name; and if some were named by class, these ``classes`` and the labelled images that tell (``known``)."""

    slots: Tensor
    classes: tuple[int, ...] = ()
    known: Any = None


def forget(
    model: Model,
    *,
    slots: Slots = "",
    classes: Classes = "",
    pictures: Pictures = "",
    near: Near = "",
    cosine: Cosine = None,
    data: Data = None,
    folder: Folder = None,
    unlearn: Annotated[
        int, "steps of training, such as 300, after which the generator cannot draw what the slots held, even from their keys; 0: no training", 0
    ] = 0,
    out: Out,
) -> None:
    """Empty slots of a memoryGAN's memory: nothing is drawn from them any more, and no image belongs to them.

    Nothing is trained unless --unlearn asks for it. The classes that are kept keep their shares relative to each other.
    """
    opened = _opened(model, out)
    from memogen.memory.edit import without
    from memogen.memory.inspect import prior
    from memogen.metrics.slot_choice import without_classes
    from memogen.progress import Bar
    from memogen.training.unlearning import unlearned

    memory = opened.memory
    chosen = _choose(model, opened, slots=slots, classes=classes, pictures=pictures, near=near, cosine=cosine, data=data, folder=folder)
    held = float(prior(memory)[chosen.slots].sum())
    if unlearn:
        with Bar() as bar:
            bar.stage("unlearning", unlearn, unit="steps")
            opened = unlearned(opened, chosen.slots, steps=unlearn, told=lambda: bar.advance(1))
    if chosen.classes:
        memory = without_classes(memory, chosen.known, chosen.classes)[0]
    with _refusing():
        opened.memory = without(memory, chosen.slots)
    _save(model, opened, out, gone=chosen.slots)
    learned = f", and unlearned in {unlearn:,} steps" if unlearn else ""
    print(f"{_slots(chosen.slots)} forgotten, {held:.1%} of the prior{learned}\n{out}: the edited model")


def freeze(
    model: Model,
    *,
    slots: Slots = "",
    classes: Classes = "",
    pictures: Pictures = "",
    near: Near = "",
    cosine: Cosine = None,
    data: Data = None,
    folder: Folder = None,
    thaw: Annotated[bool, "let the slots learn again instead"] = False,
    out: Out,
) -> None:
    """Freeze slots of a memoryGAN's memory: a training that goes on from the model neither changes nor replaces them."""
    opened = _opened(model, out)
    from memogen.memory.edit import frozen, thawed
    from memogen.memory.inspect import frozen as frozen_slots

    chosen = _choose(model, opened, slots=slots, classes=classes, pictures=pictures, near=near, cosine=cosine, data=data, folder=folder).slots
    done = frozen_slots(opened.memory)[chosen] == thaw
    if not bool(done.any()):
        raise InputError(f"{_slots(chosen)}: {'none is frozen' if thaw else 'frozen already'}; name others")
    with _refusing():
        opened.memory = (thawed if thaw else frozen)(opened.memory, chosen)
    _save(model, opened, out)
    left = int(frozen_slots(opened.memory).sum())
    print(f"{_slots(chosen[done])} {'thawed' if thaw else 'frozen'}, {left} are frozen now\n{out}: the edited model")


def add(
    model: Model,
    *pictures: Annotated[Path, "picture files, converted to the model's size and colours as in its run"],
    share: Annotated[float, "the part of the prior that the new slots hold together"] = 0.1,
    out: Out,
) -> None:
    """Write pictures into a memoryGAN's memory, each as a slot in place of an empty or the lightest one. Nothing is trained."""
    if twice := [path for place, path in enumerate(pictures) if path in pictures[:place]]:
        raise InputError(f"{twice[0]}: is named twice; name it once, and --share says how much is drawn of it")
    opened = _opened(model, out)
    import torch

    from memogen.memory.edit import added

    image = torch.stack([read_picture(path, opened.config.image_shape, model=model) for path in pictures])
    with _refusing():
        opened.memory, found = added(opened.memory, opened.encode(image), share=share)
    _save(model, opened, out, gone=found)
    print(f"{_slots(found)} added, {share:.1%} of the prior\n{out}: the edited model")


def _opened(model: str, out: Path) -> Any:
    """A model with a mixture memory."""
    check_new_folder(out)
    opened = open_slots(model)
    from memogen.report.figures import memory_of

    memory_of(opened)  # refuses a model without one
    return opened


def _choose(
    model: str, opened: Any, *, slots: str, classes: str, pictures: str, near: str, cosine: float | None, data: str | None, folder: Path | None
) -> Chosen:
    """All slots that the options name together."""
    if not (slots or classes or pictures or near):
        raise InputError("no slots are named: give --slots, --classes, --pictures or --near")
    if cosine is not None and not (pictures or near):
        raise InputError(f"--cosine {cosine}: says how near; give --near or --pictures with it")
    if cosine is not None and not -1 <= cosine <= 1:
        raise InputError(f"--cosine {cosine}: not a cosine; give a number from -1 to 1")
    if data is not None and not classes:
        raise InputError(f"--data {data}: tells which slots hold a class; give --classes with it")
    import torch

    from memogen.memory.inspect import near as around
    from memogen.metrics.slot_choice import ENOUGH, HELD, drawn, slots_of_classes, slots_of_pictures
    from memogen.metrics.slots import placed

    memory, chosen = opened.memory, Chosen(torch.empty(0))
    found = [torch.tensor(_filled("--slots", slots, memory), dtype=torch.long)]
    if near:
        found.append(around(memory, memory.keys[_filled("--near", near, memory)], 0.8 if cosine is None else cosine))
    if pictures:
        image = torch.stack([read_picture(Path(path), opened.config.image_shape, model=model) for path in pictures.split(",")])
        query = opened.encode(image)
        found.append(slots_of_pictures(memory, query) if cosine is None else around(memory, query, cosine))
    if classes:
        choice = choose_data(data, model=model, folder=folder)
        known = drawn(opened, placed(opened, choice.load("train" if "train" in choice.known else None), num=ENOUGH))
        names = known.images.classes
        spelled = {name.casefold(): name for name in names}
        words = [word.strip() for word in classes.split(",")]
        asked = {class_number(spelled.get(word.casefold(), word), names, option="--classes"): word for word in words}
        numbers = tuple(number for number in asked if number is not None)
        chosen = Chosen(slots_of_classes(memory, known, numbers), numbers, known)
        if unseen := [asked[number] for number in numbers if not len(slots_of_classes(memory, known, [number]))]:
            told = f"no slot shows {' or '.join(unseen)} in {HELD:.0%} or more of its samples"
            raise InputError(f"--classes {classes}: {told}; name others, or slots by --slots")
        found.append(chosen.slots)
    joined = torch.cat(found).unique()
    if not len(joined):
        raise InputError("no slot is so; widen --cosine, or name others")
    return replace(chosen, slots=joined)


def _filled(option: str, text: str, memory: Any) -> list[int]:
    """The numbers of slots that were written and not forgotten."""
    from memogen.memory.inspect import written

    found, last, filled = whole_numbers(option, text), memory.num_slots - 1, written(memory)
    for slot in found:
        if not 0 <= slot <= last:
            raise InputError(f"{option} {text}: slot {slot} is not in the memory, which holds slots 0 to {last}")
    for slot in found:
        if not filled[slot]:
            raise InputError(f"{option} {text}: slot {slot} is empty: forgotten, or never written; leave it out")
    return found


@contextmanager
def _refusing() -> Iterator[None]:
    """An edit that the memory refuses is the user's error."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def _save(model: str, opened: Any, out: Path, *, gone: Tensor | None = None) -> None:
    """Save the model, and beside it what is known of its slots, without those that are ``gone`` or new."""
    from memogen import shipped
    from memogen.pretrained import save_pretrained

    place = shipped.place(model)
    names = shipped.stored_names(place) or shipped.stored_names(place.parent)
    save_pretrained(opened, out)
    if names is not None and len(names.label) == opened.memory.num_slots:
        shipped.store_names(out, names if gone is None else names.but(gone.tolist()))


def _slots(slots: Tensor) -> str:
    """The slots in words, the first twelve by number."""
    shown = ", ".join(str(int(slot)) for slot in slots[:12])
    more = f" and {len(slots) - 12} more" if len(slots) > 12 else ""
    return f"slot{'s' * (len(slots) > 1)} {shown}{more}"
