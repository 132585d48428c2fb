"""The commands that draw: sample, interpolate, neighbours."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from memogen.cli.data import KINDS, Folder
from memogen.cli.files import (
    DataChoice,
    as_picture,
    check_picture,
    choose_data,
    class_names,
    class_number,
    look_at_slots,
    open_model,
    open_slots,
    write_folder,
    write_picture,
)
from memogen.cli.options import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from memogen.types import GenerativeModel, SlotModel

RARE = "draw from the rarest slots that held-out images confirm: those that hold this share, such as 0.3, of the confirmed slots' mass"
Model = Annotated[str, "a model that comes with memogen (memogen models), a run folder, a saved model's folder, or a hub id"]


def sample(
    model: Model,
    *,
    num: Annotated[int, "number of images", 1] = 64,
    slot: Annotated[int | None, "draw from this memory slot"] = None,
    label: Annotated[str | None, "draw this class, by its number or name, where the model knows classes"] = None,
    temper: Annotated[float | None, "draw slots by their mass to this power: 1 is the prior, 0 makes all slots alike", 0] = None,
    temper_density: Annotated[float | None, "draw queries by their density to this power, crowded slots less: 1 is the prior", 0] = None,
    rare: Annotated[float | None, RARE, 0] = None,
    data: Annotated[str | None, f"with --rare, the data whose held-out images confirm slots: {KINDS}; without it the run's own"] = None,
    folder: Folder = None,
    seed: Annotated[int, "image i depends on the seed and i alone"] = 0,
    out: Annotated[Path, "a picture (a grid; with --num 1 the image itself), or a folder for one PNG per image"] = Path("samples.png"),
) -> None:
    """Draw images from a model; needs no data set, but for --rare."""
    if out.suffix:
        check_picture(out)
    opened = open_model(model)
    from memogen.report import figures

    look_at_slots(opened, () if slot is None else (slot,))
    wanted = class_number(label, class_names(opened))
    asked = {"--slot": slot, "--label": wanted, "--temper": temper, "--temper-density": temper_density, "--rare": rare}
    weight = _weight(opened, model, {name: value for name, value in asked.items() if value is not None}, data, folder)
    if out.suffix and num > 1:
        return write_picture(figures.sample_grid(opened, num, seed=seed, slot=slot, label=wanted, weight=weight), out)
    images = figures.draw_samples(opened, num, seed=seed, slot=slot, label=wanted, weight=weight)
    if out.suffix:
        return write_picture(as_picture(images[0]), out)
    return write_folder(images, out)


def _weight(opened: GenerativeModel, model: str, asked: Mapping[str, float], data: str | None, folder: Path | None) -> Tensor | None:
    """What slots are drawn by in place of their mass; None for the prior itself, a slot and a class."""
    if data is not None and "--rare" not in asked:
        raise UsageError(f"--data {data}: only --rare asks data; leave it out")
    if len(asked) > 1 and not set(asked) <= {"--slot", "--label"}:
        raise UsageError(f"{', '.join(asked)}: each says what is drawn; give one of them")
    name, value = next(iter(asked.items()), ("", 0.0))
    if name in ("", "--slot", "--label"):
        return None
    from memogen.memory import inspect
    from memogen.types import SlotModel

    if not isinstance(opened, SlotModel) or opened.memory is None:
        raise UsageError(f"{name} {value}: {model} has no memory of slots to draw from; leave it out, or name a memoryGAN")
    if name == "--rare":
        return _rare(opened, value, choose_data(data, model=model, folder=folder))
    try:
        return (inspect.tempered if name == "--temper" else inspect.density_tempered)(opened.memory, value)
    except ValueError as error:
        raise UsageError(f"{name} {value}: {error}") from error


def _rare(opened: SlotModel, share: float, choice: DataChoice) -> Tensor:
    """The weight of the rarest slots that the held-out images of the data confirm; a line says how many they are."""
    if not 0 < share <= 1:
        raise UsageError(f"--rare {share}: not a share; give a number above 0, and 1 at most")
    from memogen.memory import inspect
    from memogen.metrics.slots import placed
    from memogen.report.figures import memory_of

    found = inspect.rare(memory_of(opened), placed(opened, choice.load_held_out()).slot, share=share)
    if not bool(found.any()):
        raise UsageError(f"--rare {share}: no slot is the best one of two held-out images; name more data")
    print(f"from the {int(found.sum())} rarest slots that held-out images confirm", file=sys.stderr)
    return found


def interpolate(
    model: Model,
    *,
    in_: Annotated[Literal["keys", "noise"], "between four memory keys, or between noises inside one slot"] = "keys",
    slot: Annotated[int | None, "the slot whose noises are drawn, with --in noise"] = None,
    seed: Annotated[int, "seed of the four corners"] = 0,
    out: Annotated[Path, "a picture with the corners framed, or a .gif that moves around them"] = Path("interpolation.png"),
) -> None:
    """Draw the way between images: in key space, or inside one memory slot."""
    check_picture(out)
    opened = open_slots(model)
    look_at_slots(opened, () if slot is None else (slot,))
    from memogen.report import figures, grid

    if out.suffix.lower() != ".gif":
        return write_picture(figures.interpolation(opened, where=in_, slot=slot, seed=seed), out)
    frames = figures.interpolation_frames(opened, where=in_, slot=slot, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    grid.save_gif(frames, out)
    print(out)


def neighbours(
    model: Model,
    *,
    data: Annotated[str | None, f"the training data: {KINDS}; without it the run's own"] = None,
    folder: Folder = None,
    num: Annotated[int, "number of samples", 1] = 8,
    nearest: Annotated[int, "number of training images beside each", 1] = 7,
    seed: Annotated[int, "seed of the samples"] = 0,
    out: Annotated[Path, "the picture"] = Path("neighbours.png"),
) -> None:
    """Draw samples beside their nearest training images: does the model copy?"""
    check_picture(out)
    opened = open_model(model)
    images = choose_data(data, model=model, folder=folder).load("train")
    from memogen.report import figures

    write_picture(figures.neighbours(opened, images, num=num, nearest=nearest, seed=seed), out)
