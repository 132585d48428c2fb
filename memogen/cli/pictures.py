"""The commands that draw: sample, interpolate, neighbours, impute."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from memogen.cli.files import (
    ARCHIVES,
    PICTURES,
    as_picture,
    check_picture,
    choose_data,
    class_names,
    class_number,
    look_at_slots,
    open_model,
    open_slots,
    read_picture,
    write_folder,
    write_picture,
)
from memogen.cli.options import KINDS, Folder, Model, Picture, SampleSeed, Word, one_of
from memogen.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from memogen.types import GenerativeModel, ImageData

IN_PICTURE = 16  # images in a picture, if no number is given


def sample(
    model: Model,
    *,
    num: Annotated[int, "number of images", 1] = 64,
    slot: Annotated[int | None, "draw from this memory slot"] = None,
    label: Annotated[str | None, "draw this class, by its number or name, if the model knows classes"] = None,
    temper: Annotated[float | None, "draw slots by their mass to this power: 1 is the prior, 0 makes all slots equally likely", 0] = None,
    temper_density: Annotated[
        float | None, "draw queries by their density to this power, so that slots in crowded places are drawn less: 1 is the prior", 0
    ] = None,
    rare: Annotated[
        float | None,
        "draw from the rarest slots that held-out images confirm: those that hold this share, such as 0.3, of the confirmed slots' mass",
        0,
    ] = None,
    data: Annotated[str | None, f"with --rare, the data whose held-out images confirm slots: {KINDS}; default: the run's own data"] = None,
    folder: Folder = None,
    seed: SampleSeed = 0,
    out: Annotated[Path, "a picture (a grid; with --num 1 the image itself), or a folder for one PNG per image"] = Path("samples.png"),
) -> None:
    """Draw images from a model; only --rare needs a data set."""
    if out.suffix:
        check_picture(out)
    opened = open_model(model)
    from memogen.report import figures

    look_at_slots(opened, () if slot is None else (slot,))
    wanted = class_number(label, class_names(opened))
    options = {"--slot": slot, "--label": wanted, "--temper": temper, "--temper-density": temper_density, "--rare": rare}
    given = {name: value for name, value in options.items() if value is not None}
    if data is not None and rare is None:
        raise InputError(f"--data {data}: only --rare asks data; leave it out")
    if len(given) > 1 and not set(given) <= {"--slot", "--label"}:
        raise InputError(f"{', '.join(given)}: each says what is drawn; give one of them")
    weight = None
    if given and not set(given) <= {"--slot", "--label"}:
        ((name, value),) = given.items()
        weight = _weight(opened, model, name, value, data, folder)
    if out.suffix and num > 1:
        return write_picture(figures.sample_grid(opened, num, seed=seed, slot=slot, label=wanted, weight=weight), out)
    images = figures.draw_samples(opened, num, seed=seed, slot=slot, label=wanted, weight=weight)
    if out.suffix:
        return write_picture(as_picture(images[0]), out)
    return write_folder(images, out)


def _weight(opened: GenerativeModel, model: str, name: str, value: float, data: str | None, folder: Path | None) -> Tensor:
    """What --temper, --temper-density or --rare draws slots by, in place of their mass."""
    from memogen.memory import inspect
    from memogen.metrics.slots import placed
    from memogen.types import SlotModel

    if not isinstance(opened, SlotModel) or opened.memory is None:
        raise InputError(f"{name} {value}: {model} has no memory of slots to draw from; leave it out, or name a memoryGAN")
    if name != "--rare":
        try:
            return (inspect.tempered if name == "--temper" else inspect.density_tempered)(opened.memory, value)
        except ValueError as error:
            raise InputError(f"{name} {value}: {error}") from error
    if not 0 < value <= 1:
        raise InputError(f"--rare {value}: not a share; give a number above 0, and 1 at most")
    held_out = choose_data(data, model=model, folder=folder).load_held_out()
    found = inspect.rare(opened.memory, placed(opened, held_out).slot, share=value)
    if not bool(found.any()):
        raise InputError(f"--rare {value}: no slot is the best one of two held-out images; name more data")
    print(f"from the {int(found.sum())} rarest slots that held-out images confirm", file=sys.stderr)
    return found


def interpolate(
    model: Model,
    *,
    in_: Annotated[Literal["keys", "noise"], "between four memory keys, or between noise vectors inside one slot"] = "keys",
    slot: Annotated[int | None, "with --in noise: the slot"] = None,
    seed: Annotated[int, "seed of the four corners", 0] = 0,
    out: Annotated[Path, "a picture with the corners framed, or a .gif that moves around them"] = Path("interpolation.png"),
) -> None:
    """Draw interpolations: in key space, or inside one memory slot."""
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
    data: Annotated[str | None, f"the training data: {KINDS}; default: the run's own data"] = None,
    folder: Folder = None,
    num: Annotated[int, "number of samples", 1] = 8,
    nearest: Annotated[int, "number of training images beside each sample", 1] = 7,
    seed: SampleSeed = 0,
    out: Picture = Path("neighbours.png"),
) -> None:
    """Draw samples beside their nearest training images: does the model copy?"""
    check_picture(out)
    opened = open_model(model)
    images = choose_data(data, model=model, folder=folder).load("train")
    from memogen.report import figures

    write_picture(figures.neighbours(opened, images, num=num, nearest=nearest, seed=seed), out)


def impute(
    model: Model,
    word: Word = None,
    *,
    data: Annotated[str | None, f"the incomplete images: a picture, {KINDS}; default: the run's own data"] = None,
    mask: Annotated[
        str,
        "rect-12 (a square in the middle), rand-0.6 (each pixel with that probability), half (the left half), or a picture whose white pixels are "
        "missing",
    ],
    folder: Folder = None,
    split: Annotated[str | None, "the split of the data; default: test, or the first one if there is no test split"] = None,
    num: Annotated[int | None, "number of images; default: 16 for a picture, else all", 1] = None,
    steps: Annotated[int, "number of times that the model fills in the missing pixels", 1] = 100,
    seed: Annotated[int, "seed of random masks and of the noise that the missing pixels start from", 0] = 0,
    label: Annotated[int | None, "the class of all these images, for a conditional model; default: the labels of the data", 0] = None,
    by_batch: Annotated[bool, "normalise by these images instead of the training data, as the authors' code does"] = False,
    out: Annotated[Path, "a picture of the steps, a folder for one PNG per completed image, or an .npz file"] = Path("imputed.png"),
) -> None:
    """Fill in the missing pixels of images.

    The printed error is over the pixels that the mask takes away, as if the given images were complete.
    """
    picture = out.suffix.lower() in PICTURES
    if out.suffix and not picture and out.suffix != ".npz":
        raise InputError(f"--out {out}: cannot write a file of this kind; end it with {', '.join(PICTURES)} or .npz, or name a folder")
    opened = open_model(model)
    import numpy as np

    from memogen.metrics.imputation import Reconstructs, Refinement, complete
    from memogen.metrics.samples import Work, num_labels
    from memogen.progress import Bar
    from memogen.training.runtime import choose_device
    from memogen.types import ImageData, to_uint8

    if not isinstance(opened, Reconstructs):
        raise InputError(f"{model}: a {type(opened).__name__} reconstructs no images, so it cannot complete any; name a MEM-VAE")
    completing: Any = opened
    if label is not None and not num_labels(opened):
        raise InputError(f"--label {label}: {model} was trained without labels; leave it out")
    named = one_of(data, word)
    path = Path(named or "").expanduser()
    if path.is_file() and path.suffix.lower() not in ARCHIVES:
        given = ImageData(read_picture(path, completing.config.image_shape, model=model).numpy()[None], name=path.name)
    else:
        given = choose_data(named, model=model, folder=folder).load(split)
    num = num or (IN_PICTURE if picture else None)
    labels = np.full(len(given), label) if label is not None else given.label
    given = replace(given, image=given.image[:num], label=None if labels is None else labels[:num])
    with Bar() as bar:
        found = complete(completing.to(choose_device("auto")), given, mask, Refinement(steps, seed, by_batch), work=Work(bar=bar))
    share = float(found.missing.float().mean())
    print(f"{len(given):,} image{'s' * (len(given) > 1)}, {share:.1%} of the pixels missing; mean squared error over these:")
    print("\n".join(f"{'noise' if step == 0 else f'step {step}':>9}  {error:.4f}" for step, error in found.errors))
    if picture:
        from memogen.report.mem_vae import imputation_sheet

        return write_picture(imputation_sheet(found, completing.image_range), out)
    if out.suffix:
        return _write_npz(found.images, completing.image_range, given, out)
    return write_folder(to_uint8(found.images, completing.image_range), out)


def _write_npz(image: Tensor, image_range: tuple[float, float], data: ImageData, out: Path) -> None:
    """Vectors as numbers in [0, 1], (n, d); pictures as bytes, or as numbers in [0, 1] if they were given so, (n, c, h, w)."""
    import numpy as np

    from memogen.types import to_uint8

    vectors = data.image_shape[:2] == (1, 1)
    whole = data.image.dtype == np.uint8 and not vectors
    plain = to_uint8(image, image_range).numpy() if whole else image.clamp(0, 1).numpy()
    plain = plain[:, 0, 0] if vectors else plain
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, x=plain)
    print(f"{out}: {len(plain)} {'vector' if vectors else 'image'}{'s' * (len(plain) > 1)}")
