"""What commands read and write: a model named on the command line, a picture to look up, pictures to leave behind."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from memogen.cli.options import UsageError
from memogen.overrides import nearest

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from memogen.data import DataOptions
    from memogen.recipes import DataConfig, Recipe
    from memogen.types import GenerativeModel, ImageData, SlotModel

PICTURES = (".png", ".jpg", ".webp", ".gif")
ARCHIVES = (".zip", ".npz")
SOFTWARE = "memogen sample"


def find_model(name: str) -> str:
    """The folder of a saved model, from a run folder, the model's own folder, the name of one that ships, or a hub id (returned as it is)."""
    from memogen import shipped

    path = shipped.place(name)
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return str(folder)
    if path.is_dir():
        from memogen.pretrained import no_model

        raise UsageError(f"{name}: {no_model(path)}")
    if path.is_file():
        raise UsageError(f"{name}: is a file, and a model is a folder; name a run folder or a saved model's folder")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and path.parts[0] not in ("runs", ".", "..") and path.suffix not in ARCHIVES:
        return name
    known = list(shipped.shipped_models())
    ships = f"a model that ships ({', '.join(known)})" if not nearest(name, known) else "a model that ships" + nearest(name, known)
    raise UsageError(f"{name}: no such file or folder; name a run folder, a saved model's folder, {ships}, or a hub id such as owner/name")


def open_model(name: str) -> GenerativeModel:
    """Load a model that draws images."""
    folder = find_model(name)
    from memogen.pretrained import from_pretrained
    from memogen.types import GenerativeModel

    model = from_pretrained(folder)
    if not isinstance(model, GenerativeModel):
        raise UsageError(f"{name}: a {type(model).__name__} draws no images; name another model")
    return model


def open_slots(name: str) -> SlotModel:
    """Load a model with a mixture memory, to look inside."""
    model = open_model(name)
    from memogen.types import SlotModel

    if not isinstance(model, SlotModel):
        raise UsageError(
            f"{name}: this command looks into the memory of a memoryGAN, and a {type(model).__name__} has no such memory; name another model"
        )
    return model


def look_at_slots(model: GenerativeModel, slots: Sequence[int]) -> None:
    """A line for slots that hold generated images, which the critic told from real ones: the generator never draws from them by itself.

    Raises UsageError for an empty one, which was forgotten or never written: nothing can be drawn from it.
    """
    from memogen.memory.inspect import written
    from memogen.memory.protocol import is_mixture
    from memogen.types import SlotModel

    memory = model.memory if isinstance(model, SlotModel) else None
    if not is_mixture(memory):
        return
    there, filled = [slot for slot in slots if 0 <= slot < memory.num_slots], written(memory)
    if empty := [slot for slot in there if not filled[slot]]:
        raise UsageError(f"slot {empty[0]} is empty: forgotten, or never written; memogen memory usage MODEL lists real slots")
    fakes = [str(slot) for slot in there if memory.values[slot] <= 0.5]
    if fakes:
        named = f"slot{'s' * (len(fakes) > 1)} {', '.join(fakes)}: {'hold' if len(fakes) > 1 else 'holds'}"
        print(f"{named} generated images, not real ones; memogen memory usage MODEL lists real slots", file=sys.stderr)


def open_subject(name: str, options: DataOptions | None = None) -> GenerativeModel | ImageData:
    """What is to be scored: a model, or the images of a folder, a zip or an npz file, brought to shape by ``options``."""
    path = Path(name).expanduser()
    parts = [path / part for part in ("config.json", "config.yaml", "model/config.json")]
    if path.suffix in ARCHIVES and not path.exists():
        raise UsageError(f"{name}: no such file; give the path of a zip or npz file of images, or of a folder")
    if not path.exists() or any(part.is_file() for part in parts):
        return open_model(name)
    from memogen.data import DataOptions, load, splits

    options = options or DataOptions()
    return load(name, split=splits(name)[0], options=options)


def recipe_of(name: str) -> Recipe | None:
    """The recipe of the run that a model was named by; None for a bare model or one on the hub."""
    from memogen.runs import recipe_of as found

    return found(name)


@dataclass(frozen=True)
class DataChoice:
    """A data set, brought to shape in one way."""

    name: str
    folder: Path | str | None
    options: DataOptions

    @property
    def config(self) -> DataConfig:
        """The same as a configuration says it."""
        from memogen.recipes import DataConfig

        return DataConfig(self.name, None if self.folder is None else str(self.folder), self.options)

    def load(self, split: str | None = None) -> ImageData:
        """A part of it; without a name the test split, or the first that there is."""
        from memogen.data import load

        return load(self.name, folder=self.folder, split=split or self.held_out(), options=self.options)

    @property
    def known(self) -> tuple[str, ...]:
        """The names of its parts."""
        from memogen.data import splits

        return splits(self.name, folder=self.folder, options=self.options)

    def held_out(self) -> str:
        return "test" if "test" in self.known else self.known[0]

    def load_held_out(self) -> ImageData:
        """Images that no training saw. UsageError where there are none."""
        if self.held_out() == "train":
            raise UsageError(f"--data {self.folder or self.name}: has no held-out images; name data with a test split")
        return self.load()


def choose_data(name: str | None, *, model: str, folder: Path | None = None) -> DataChoice:
    """The data named on the command line, brought to shape as in the run of ``model``; where none is named, the run's own."""
    from memogen.data import DataOptions, named
    from memogen.runs import reading
    from memogen.runs.configuration import meant

    recipe = recipe_of(model)
    if recipe is None:
        if name is None:
            raise UsageError(f"--data: {model} is not a run folder, so its data are unknown; name a data set, a folder or a file")
        known, place = (name, folder) if folder is not None else named(name)
        return DataChoice(known, place, reading(model) if known == "folder" else DataOptions())
    own = recipe.data
    if name is None or (name == own.name and folder is None):
        return DataChoice(own.name, folder or own.folder, own.options)
    known, place = (name, folder) if folder is not None else meant(own, name)
    if known == own.name and (known != "folder" or _same(place, own.folder)):
        return DataChoice(known, place, own.options)
    options = reading(model) if known == "folder" else own.options
    return DataChoice(known, place, _without_share(options, known, place))


def _same(place: Path | None, folder: str | None) -> bool:
    return place is not None and folder is not None and place.resolve() == Path(folder).expanduser().resolve()


def _without_share(options: DataOptions, name: str, place: Path | None) -> DataOptions:
    """The options of a run for other data: no share is held out of data that are split already."""
    from memogen.data import splits

    return options if options.test_share and splits(name, folder=place) == ("train",) else replace(options, test_share=0.0)


def class_number(label: str | None, names: Sequence[str], *, option: str = "--label") -> int | None:
    """The index of a class that was given by its name, one of ``names`` in their order, or by its index; ``name:2`` and ``index:2`` say which.

    InputError for a name that is not known, and for a number that is the name of one class and the index of another.
    """
    if label is None:
        return None
    from memogen.types import InputError

    form, given = _named_form(label, names)
    named, number = names.index(given) if given in names and form != "index" else None, _index(given) if form != "name" else None
    counted = number is not None and 0 <= number < len(names)
    if named is not None and counted and named != number:
        raise InputError(
            f"{option} {label}: is the name of class {named} and the index of class {number} ({names[int(given)]}): "
            f"write name:{given} or index:{given}"
        )
    if named is None and number is None:
        raise InputError(f"{option} {label}: neither a class's number nor {'one of ' + ', '.join(names) if names else 'a name that is known'}")
    return number if named is None else named


def _named_form(label: str, names: Sequence[str]) -> tuple[str, str]:
    """("name" or "index", the rest) of a label with such a beginning, else ("", the label)."""
    form, colon, rest = label.partition(":")
    return (form, rest) if colon and form in ("name", "index") and label not in names else ("", label)


def _index(word: str) -> int | None:
    digits = word.removeprefix("-")
    return int(word) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else None


def class_names(model: object) -> tuple[str, ...]:
    """What a model calls its classes; nothing where it knows none."""
    from memogen.types import ClassModel

    return tuple(model.config.classes) if isinstance(model, ClassModel) else ()


def read_picture(path: Path, image_shape: tuple[int, int, int], *, model: str) -> torch.Tensor:
    """A picture file as uint8 (c, h, w) in the shape that ``model`` reads, brought there as its run brings pictures; else it is resized."""
    import torch

    from memogen import data
    from memogen.runs import reading

    channels, height, width = image_shape
    if height == 1:
        raise UsageError(f"{path}: this model reads vectors of {width} numbers; name an .npz file of vectors")
    return torch.tensor(data.read_picture(path, reading(model, image_shape, otherwise="resize"), channels))


def check_picture(out: Path) -> None:
    """Refuse a name that cannot become a picture, before any work is done."""
    if out.suffix.lower() not in PICTURES:
        raise UsageError(f"--out {out}: cannot write a picture of this kind; end the name with one of {', '.join(PICTURES)}")


def write_picture(picture: Image, out: Path) -> None:
    """Save one picture, in place of any former one, and say where."""
    out.parent.mkdir(parents=True, exist_ok=True)
    (picture if out.suffix.lower() == ".png" else picture.convert("RGB")).save(out)
    print(out)


def write_folder(images: torch.Tensor, out: Path) -> None:
    """Save images as 00000.png, 00001.png, ... in a folder; each says who wrote it, so that they are scored in their own order."""
    from PIL.PngImagePlugin import PngInfo

    if out.is_file():
        raise UsageError(f"--out {out}: is a file; name a folder, or a picture ending with one of {', '.join(PICTURES)}")
    digits = max(5, len(str(len(images) - 1)))
    names = [f"{place:0{digits}d}.png" for place in range(len(images))]
    if out.is_dir() and {path.name for path in out.iterdir()} - set(names):
        raise UsageError(f"--out {out}: holds other files, which would be taken for samples; name a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    origin = PngInfo()
    origin.add_text("Software", SOFTWARE)
    for name, image in zip(names, images, strict=True):
        as_picture(image).save(out / name, pnginfo=origin)
    print(f"{out}: {len(images)} image{'s' * (len(images) > 1)}")


def holds_samples(name: str) -> bool:
    """Whether a folder or zip holds what :func:`write_folder` wrote, by what its first picture says of itself."""
    from PIL import Image as Pillow

    from memogen.data.files import DAMAGED
    from memogen.data.listing import find_pictures

    place = Path(name).expanduser()
    pictures = find_pictures(place) if place.is_dir() or (place.suffix.lower() == ".zip" and place.is_file()) else None
    if pictures is None or not pictures.entries:
        return False
    try:
        with pictures.open(pictures.entries[0].key) as file, Pillow.open(cast(IO[bytes], file)) as picture:
            return bool(picture.info.get("Software") == SOFTWARE)
    except DAMAGED:  # not readable as a picture: it will be left out
        return False


def as_picture(image: torch.Tensor) -> Image:
    """uint8 (c, h, w) pixel for pixel, grey where there is one channel."""
    from PIL import Image as Pillow

    pixels = image.cpu().numpy()
    return Pillow.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
