"""The commands that edit a memory without training, each into a new folder: forget, freeze, add. `memory disable` only draws; it edits nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from memogen.cli.data import KINDS, Folder
from memogen.cli.files import choose_data, class_number, open_slots, read_picture
from memogen.cli.options import UsageError
from memogen.cli.pictures import Model

if TYPE_CHECKING:
    from torch import Tensor

    from memogen.memory import MixtureMemory

Slots = Annotated[str, "slots by their numbers, as 0,17,250"]
Classes = Annotated[str, "slots that hold one of these classes, by name or number, as sneaker,bag"]
Pictures = Annotated[str, "slots that these picture files belong to, as a.png,b.png; with --cosine, those near their queries"]
Near = Annotated[str, "real slots near these ones, as 17,250: --cosine says how near"]
Cosine = Annotated[float | None, "the least cosine between keys that are near each other, 0.8 for --near"]
Data = Annotated[str | None, f"labelled images that tell which slots hold a class: {KINDS}; without it the run's own"]
Out = Annotated[Path, "the folder of the edited model, new or empty"]


@dataclass(frozen=True)
class Chosen:
    """The slots that options name, and those classes among them whose other classes are to keep their shares."""

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
    unlearn: Annotated[int, "steps of training, such as 300, after which the generator cannot draw what the slots held, even from their keys", 0] = 0,
    out: Out,
) -> None:
    """Empty slots of a memoryGAN's memory: nothing is drawn from them any more, and no image belongs to them.

    Nothing is trained unless --unlearn asks for it. The classes beside a forgotten class keep their shares of each other.
    """
    opened = _opened(model, out)
    from memogen.memory.edit import without
    from memogen.memory.inspect import prior
    from memogen.metrics.slot_choice import without_classes

    memory: MixtureMemory = opened.memory
    chosen = _choose(model, opened, slots=slots, classes=classes, pictures=pictures, near=near, cosine=cosine, data=data, folder=folder)
    held = float(prior(memory)[chosen.slots].sum())
    if unlearn:
        opened = _unlearned(opened, chosen.slots, unlearn)
    edited = without_classes(memory, chosen.known, chosen.classes)[0] if chosen.classes else memory
    opened.memory = _edited(without, edited, chosen.slots)
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
        raise UsageError(f"{_slots(chosen)}: {'none is frozen' if thaw else 'frozen already'}; name others")
    opened.memory = _edited(thawed if thaw else frozen, opened.memory, chosen)
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
        raise UsageError(f"{twice[0]}: is named twice; name it once, and --share says how much is drawn of it")
    opened = _opened(model, out)
    import torch

    from memogen.memory.edit import added

    image = torch.stack([read_picture(path, opened.config.image_shape, model=model) for path in pictures])
    opened.memory, found = _edited(added, opened.memory, opened.encode(image), share=share)
    _save(model, opened, out, gone=found)
    print(f"{_slots(found)} added, {share:.1%} of the prior\n{out}: the edited model")


def _opened(model: str, out: Path) -> Any:
    """The model, with a mixture memory whose slots can be edited; the place it goes to is looked at first."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"--out {out}: is a file or holds files; name a new or an empty folder")
    opened = open_slots(model)
    from memogen.report.figures import memory_of

    memory_of(opened)  # refuses a model without one
    return opened


def _choose(
    model: str, opened: Any, *, slots: str, classes: str, pictures: str, near: str, cosine: float | None, data: str | None, folder: Path | None
) -> Chosen:
    """All slots that the options name together."""
    if not (slots or classes or pictures or near):
        raise UsageError("no slots are named: give --slots, --classes, --pictures or --near")
    if cosine is not None and not (pictures or near):
        raise UsageError(f"--cosine {cosine}: says how near; give --near or --pictures with it")
    if cosine is not None and not -1 <= cosine <= 1:
        raise UsageError(f"--cosine {cosine}: no cosine is so; give a number from -1 to 1")
    if data is not None and not classes:
        raise UsageError(f"--data {data}: tells which slots hold a class; give --classes with it")
    import torch

    from memogen.memory.inspect import near as around
    from memogen.metrics.slot_choice import slots_of_pictures

    memory, found, chosen = opened.memory, [torch.tensor(_numbers("--slots", slots, opened), dtype=torch.long)], Chosen(torch.empty(0))
    if near:
        found.append(around(memory, memory.keys[_numbers("--near", near, opened)], 0.8 if cosine is None else cosine))
    if pictures:
        image = torch.stack([read_picture(Path(path), opened.config.image_shape, model=model) for path in pictures.split(",")])
        query = opened.encode(image)
        found.append(slots_of_pictures(memory, query) if cosine is None else around(memory, query, cosine))
    if classes:
        chosen = _of_classes(model, opened, classes, data, folder)
        found.append(chosen.slots)
    joined = torch.cat(found).unique()
    if not len(joined):
        raise UsageError("no slot is so; widen --cosine, or name others")
    return replace(chosen, slots=joined)


def _of_classes(model: str, opened: Any, classes: str, data: str | None, folder: Path | None) -> Chosen:
    """The slots that hold one of the classes, as labelled images tell."""
    from memogen.metrics.slot_choice import ENOUGH, slots_of_classes
    from memogen.metrics.slots import placed

    choice = choose_data(data, model=model, folder=folder)
    known = placed(opened, choice.load("train" if "train" in choice.known else None), num=ENOUGH)
    names = known.images.classes
    spelled = {name.casefold(): name for name in names}
    found = [class_number(spelled.get(word.strip().casefold(), word.strip()), names, option="--classes") for word in classes.split(",")]
    numbers = tuple(dict.fromkeys(number for number in found if number is not None))
    return Chosen(slots_of_classes(opened.memory, known, numbers), numbers, known)


def _numbers(option: str, text: str, opened: Any) -> list[int]:
    """Slot numbers, of slots that are there."""
    try:
        found = [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(f"{option} {text}: not a list of whole numbers; write it as 0,17,250") from error
    from memogen.memory.inspect import written

    last = opened.memory.num_slots - 1
    if wrong := [slot for slot in found if not 0 <= slot <= last]:
        raise UsageError(f"{option} {text}: slot {wrong[0]} is not in the memory, which holds slots 0 to {last}")
    filled = written(opened.memory)
    if empty := [slot for slot in found if not filled[slot]]:
        raise UsageError(f"{option} {text}: slot {empty[0]} is empty: forgotten, or never written; leave it out")
    return found


def _unlearned(opened: Any, slots: Tensor, steps: int) -> Any:
    """The model whose generator no longer draws what the slots hold."""
    from memogen.progress import Bar
    from memogen.training.unlearning import unlearned

    with Bar() as bar:
        bar.stage("unlearning", steps, unit="steps")
        return unlearned(opened, slots, steps=steps, told=lambda: bar.advance(1))


def _edited(edit: Any, *given: Any, **options: Any) -> Any:
    """What an edit gives; its refusal as a line."""
    from memogen.types import InputError

    try:
        return edit(*given, **options)
    except ValueError as error:
        raise InputError(str(error)) from error


def _save(model: str, opened: Any, out: Path, *, gone: Tensor | None = None) -> None:
    """The model in its folder, and what is known of its slots beside it, but of those that are ``gone`` or new."""
    from memogen import shipped
    from memogen.pretrained import save_pretrained

    place = shipped.place(model)
    names = next((found for folder in (place, place.parent) if (found := shipped.stored_names(folder)) is not None), None)
    save_pretrained(opened, out)
    if names is not None and len(names.label) == opened.memory.num_slots:
        shipped.store_names(out, names if gone is None else names.but(gone.tolist()))


def _slots(slots: Tensor) -> str:
    """The slots in words, the first twelve by number."""
    shown = ", ".join(str(int(slot)) for slot in slots[:12])
    more = f" and {len(slots) - 12} more" if len(slots) > 12 else ""
    return f"slot{'s' * (len(slots) > 1)} {shown}{more}"
