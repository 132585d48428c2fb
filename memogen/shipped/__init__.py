"""Models that ship with memogen, each as a small run folder beside this file, to be opened by name.

Such a folder holds ``model/`` (parameters in half precision, without what only training needs), ``config.yaml``, ``results.jsonl``,
``samples.png`` (of the model), ``examples.png`` (held-out pictures to try) and, for a mixture memory with known classes, ``slots.json``.
``python -m benchmarks.ship_model RUN NAME`` makes one from a run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memogen.errors import InputError

if TYPE_CHECKING:
    import numpy as np

HERE = Path(__file__).parent
RUN_MODEL = "model"
"""Where a run folder keeps its model."""

SAMPLES, EXAMPLES, SLOTS, ABOUT = "samples.png", "examples.png", "slots.json", "about.json"


@dataclass(frozen=True)
class ShippedModel:
    """A shipped model: its name, one line about it, and its folder."""

    name: str
    about: str
    folder: Path


@dataclass(frozen=True)
class StoredNames:
    """slots.json: the majority class ``label`` of the labelled training images of each slot, and its ``share`` of them; -1 and 0 without images."""

    classes: tuple[str, ...]
    label: tuple[int, ...]
    share: tuple[float, ...]

    def but(self, slots: Sequence[int]) -> StoredNames:
        """The same without the names of these ``slots``."""
        gone = set(slots)
        label = tuple(-1 if slot in gone else label for slot, label in enumerate(self.label))
        return StoredNames(self.classes, label, tuple(0.0 if slot in gone else share for slot, share in enumerate(self.share)))


def shipped_models() -> dict[str, ShippedModel]:
    """All shipped models by name."""
    folders = sorted(path.parent for path in HERE.glob(f"*/{ABOUT}"))
    return {folder.name: ShippedModel(folder.name, json.loads((folder / ABOUT).read_text(encoding="utf-8"))["about"], folder) for folder in folders}


def place(model: str | Path) -> Path:
    """The folder that ``model`` names: an existing path, else the folder of a shipped model, else the path unchanged."""
    path = Path(model).expanduser()
    if path.exists() or str(model) != path.name:
        return path
    return HERE / path.name if path.name and (HERE / path.name / ABOUT).is_file() else path


def run_of(model: str | Path) -> Path | None:
    """The folder of the run around the model that ``model`` names, or of a model without a run; None for one on the hub."""
    found = place(model)
    return found.parent if found.name == RUN_MODEL and found.is_dir() else found if found.is_dir() else None


def stored_names(folder: str | Path) -> StoredNames | None:
    """The names of the slots of the model in ``folder``, or None if none were stored. Raises InputError for a damaged file."""
    path = Path(folder) / SLOTS
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = StoredNames(tuple(map(str, found["classes"])), tuple(map(int, found["label"])), tuple(map(float, found["share"])))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the names of slots ({error}): remove it, or install memogen again") from error
    if len(names.label) != len(names.share) or not all(
        -1 <= label < len(names.classes) and 0 <= share <= 1 for label, share in zip(names.label, names.share, strict=True)
    ):
        raise InputError(f"{path}: not the names of slots (labels, shares and classes do not fit): remove it, or install memogen again")
    return names


def store_names(folder: str | Path, names: StoredNames) -> None:
    """Write slots.json beside a model."""
    stored = {"classes": names.classes, "label": names.label, "share": [round(share, 3) for share in names.share]}
    (Path(folder) / SLOTS).write_text(json.dumps(stored, separators=(",", ":")) + "\n", encoding="utf-8")


def examples(folder: str | Path, image_shape: tuple[int, int, int]) -> np.ndarray | None:
    """Held-out pictures that ship with the model, uint8 (n, c, h, w), or None. The file holds them below each other in one picture."""
    import numpy as np
    from PIL import Image

    path, (channels, height, width) = Path(folder) / EXAMPLES, image_shape
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).copy()
