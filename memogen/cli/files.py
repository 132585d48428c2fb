"""What commands read and write: models, data sets, pictures and folders of samples."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from memogen.configs import nearest
from memogen.errors import InputError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from memogen.data import DataOptions
    from memogen.recipes import DataConfig, Recipe
    from memogen.types import GenerativeModel, ImageData, SlotModel

PICTURES = (".png", ".jpg", ".webp", ".gif")
ARCHIVES = (".zip", ".npz", ".tar")
SOFTWARE = "memogen sample"


# --- models ---


def find_model(name: str) -> str:
    """The folder of a saved model, from a run folder, the model's own folder or the name of a model that ships; a hub id is returned as it is."""
    from memogen import shipped

    path = shipped.place(name)
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return str(folder)
    if path.is_dir():
        from memogen.pretrained import no_model

        raise InputError(f"{name}: {no_model(path)}")
    if path.is_file():
        raise InputError(f"{name}: is a file, and a model is a folder; name a run folder or a saved model's folder")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and path.parts[0] not in ("runs", ".", "..") and path.suffix not in ARCHIVES:
        return name
    known = list(shipped.shipped_models())
    ships = "a model that ships" + (nearest(name, known) or f" ({', '.join(known)})")
    raise InputError(f"{name}: no such file or folder; name a run folder, a saved model's folder, {ships}, or a hub id such as owner/name")


def open_model(name: str) -> GenerativeModel:
    """Load a model that draws images."""
    folder = find_model(name)
    from memogen.pretrained import from_pretrained
    from memogen.types import GenerativeModel

    model = from_pretrained(folder)
    if not isinstance(model, GenerativeModel):
        raise InputError(f"{name}: a {type(model).__name__} draws no images; name another model")
    return model


def open_slots(name: str) -> SlotModel:
    """Load a memoryGAN."""
    model = open_model(name)
    from memogen.types import SlotModel

    if not isinstance(model, SlotModel):
        raise InputError(f"{name}: this command needs the memory of a memoryGAN, and a {type(model).__name__} has no such memory; name another model")
    return model


def look_at_slots(model: GenerativeModel, slots: Sequence[int]) -> None:
    """Warn of slots that hold generated images: the generator never draws from these by itself. Raises InputError for an empty slot."""
    from memogen.memory.inspect import written
    from memogen.memory.protocol import is_mixture
    from memogen.types import SlotModel

    memory = model.memory if isinstance(model, SlotModel) else None
    if not is_mixture(memory):
        return
    there, filled = [slot for slot in slots if 0 <= slot < memory.num_slots], written(memory)
    if empty := [slot for slot in there if not filled[slot]]:
        raise InputError(f"slot {empty[0]} is empty: forgotten, or never written; memogen memory usage MODEL lists real slots")
    fakes = [str(slot) for slot in there if memory.values[slot] <= 0.5]
    if fakes:
        named = f"slot{'s' * (len(fakes) > 1)} {', '.join(fakes)}: {'hold' if len(fakes) > 1 else 'holds'}"
        print(f"{named} generated images, not real ones; memogen memory usage MODEL lists real slots", file=sys.stderr)


def open_subject(name: str, options: DataOptions | None = None) -> GenerativeModel | ImageData:
    """What is to be scored: a model, or the images of a folder, a zip, tar or npz file, brought to shape by ``options``."""
    path = Path(name).expanduser()
    saved = any((path / part).is_file() for part in ("config.json", "config.yaml", "model/config.json"))
    if saved or not (path.exists() or path.suffix in ARCHIVES):
        return open_model(name)
    from memogen.data import DataOptions, load, splits
    from memogen.data.shards import is_there

    if not is_there(path):
        raise InputError(f"{name}: no such file; give the path of a zip, tar or npz file of images, or of a folder")

    return load(name, split=splits(name)[0], options=options or DataOptions())


def recipe_of(name: str) -> Recipe | None:
    """The recipe of the run that a model was named by; None for a bare model or one on the hub."""
    from memogen.runs import recipe_of as found

    return found(name)


# --- data ---


@dataclass(frozen=True)
class DataChoice:
    """A data set, brought to shape by ``options``."""

    name: str
    folder: Path | str | None
    options: DataOptions

    @property
    def config(self) -> DataConfig:
        """The same as part of a configuration."""
        from memogen.recipes import DataConfig

        return DataConfig(self.name, None if self.folder is None else str(self.folder), self.options)

    @property
    def known(self) -> tuple[str, ...]:
        """The names of the splits."""
        from memogen.data import splits

        return splits(self.name, folder=self.folder, options=self.options)

    def load(self, split: str | None = None) -> ImageData:
        """A split; by default the test split, or the first one if there is no test split."""
        from memogen.data import load

        return load(self.name, folder=self.folder, split=split or self._held_out, options=self.options)

    def load_held_out(self) -> ImageData:
        """Images that no training saw. Raises InputError if there are none."""
        if self._held_out == "train":
            raise InputError(f"--data {self.folder or self.name}: has no held-out images; name data with a test split")
        return self.load()

    @property
    def _held_out(self) -> str:
        return "test" if "test" in self.known else self.known[0]


def choose_data(name: str | None, *, model: str, folder: Path | None = None) -> DataChoice:
    """The data named on the command line, by default the data of the model's run, brought to shape as in that run."""
    from memogen.data import DataOptions, named, splits
    from memogen.runs import reading
    from memogen.runs.configuration import meant

    recipe = recipe_of(model)
    if recipe is None:
        if name is None:
            raise InputError(f"--data: {model} is not a run folder, so its data are unknown; name a data set, a folder or a file")
        known, place = (name, folder) if folder is not None else named(name)
        return DataChoice(known, place, reading(model) if known == "folder" else DataOptions())
    own = recipe.data
    if name is None or (name == own.name and folder is None):
        return DataChoice(own.name, folder or own.folder, own.options)
    known, place = (name, folder) if folder is not None else meant(own, name)
    same = place is not None and own.folder is not None and place.resolve() == Path(own.folder).expanduser().resolve()
    if known == own.name and (known != "folder" or same):
        return DataChoice(known, place, own.options)
    options = reading(model) if known == "folder" else own.options
    if not options.test_share or splits(known, folder=place) != ("train",):  # data that are split already keep their test split
        options = replace(options, test_share=0.0)
    return DataChoice(known, place, options)


# --- classes ---


def class_number(label: str | None, names: Sequence[str], *, option: str = "--label") -> int | None:
    """The index of a class that was given by its name, one of ``names`` in their order, or by its index; ``name:2`` and ``index:2`` say which.

    Raises InputError for an unknown name, and for a number that is the name of one class and the index of another.
    """
    if label is None:
        return None
    form, colon, rest = label.partition(":")
    form, given = (form, rest) if colon and form in ("name", "index") and label not in names else ("", label)
    named = names.index(given) if given in names and form != "index" else None
    digits = given.removeprefix("-")
    number = int(given) if form != "name" and digits.isascii() and digits.isdecimal() and len(digits) < 10 else None
    if named is not None and number is not None and 0 <= number < len(names) and named != number:
        raise InputError(
            f"{option} {label}: is the name of class {named} and the index of class {number} ({names[number]}): write name:{given} or index:{given}"
        )
    if named is None and number is None:
        raise InputError(f"{option} {label}: neither a class's number nor {'one of ' + ', '.join(names) if names else 'a name that is known'}")
    return number if named is None else named


def class_names(model: object) -> tuple[str, ...]:
    """The names of a model's classes; empty if it knows none."""
    from memogen.types import ClassModel

    return tuple(model.config.classes) if isinstance(model, ClassModel) else ()


# --- pictures and folders ---


def read_picture(path: Path, image_shape: tuple[int, int, int], *, model: str) -> torch.Tensor:
    """A picture file as uint8 (c, h, w), brought to the shape that ``model`` reads as its run does, else resized."""
    import torch

    from memogen import data
    from memogen.runs import reading

    channels, height, width = image_shape
    if height == 1:
        raise InputError(f"{path}: this model reads vectors of {width} numbers; name an .npz file of vectors")
    return torch.tensor(data.read_picture(path, reading(model, image_shape, otherwise="resize"), channels))


def check_picture(out: Path) -> None:
    """Refuse a name that cannot become a picture, before any work is done."""
    if out.suffix.lower() not in PICTURES:
        raise InputError(f"--out {out}: cannot write a picture of this kind; end the name with one of {', '.join(PICTURES)}")


def check_new_folder(out: Path) -> None:
    """Refuse a folder that holds files already."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"--out {out}: is a file or holds files; name a new or an empty folder")


def write_picture(picture: Image, out: Path) -> None:
    """Save one picture, in place of any former one, and print its path."""
    out.parent.mkdir(parents=True, exist_ok=True)
    (picture if out.suffix.lower() == ".png" else picture.convert("RGB")).save(out)
    print(out)


def write_folder(images: torch.Tensor, out: Path) -> None:
    """Save images as 00000.png, 00001.png, ... in a folder. Each names the program that wrote it, so that ``evaluate`` scores them in this order."""
    from PIL.PngImagePlugin import PngInfo

    if out.is_file():
        raise InputError(f"--out {out}: is a file; name a folder, or a picture ending with one of {', '.join(PICTURES)}")
    digits = max(5, len(str(len(images) - 1)))
    names = [f"{place:0{digits}d}.png" for place in range(len(images))]
    if out.is_dir() and {path.name for path in out.iterdir()} - set(names):
        raise InputError(f"--out {out}: holds other files, which would be taken for samples; name a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    program = PngInfo()
    program.add_text("Software", SOFTWARE)
    for name, image in zip(names, images, strict=True):
        as_picture(image).save(out / name, pnginfo=program)
    print(f"{out}: {len(images)} image{'s' * (len(images) > 1)}")


def holds_samples(name: str) -> bool:
    """Whether :func:`write_folder` wrote a folder or zip, as its first picture says."""
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
    """uint8 (c, h, w) as a picture, grey if there is one channel."""
    from PIL import Image as Pillow

    pixels = image.cpu().numpy()
    return Pillow.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
