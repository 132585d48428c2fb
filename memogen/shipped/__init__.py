"""Models that come with memogen, each as a small run folder beside this file: at hand by name, offline, without training.

Such a folder holds ``model/`` (parameters in half precision; the unaveraged weights, optimisers and checkpoints that only training needs are left
out), ``config.yaml`` (what was trained), ``results.jsonl`` (its scores), ``samples.png`` (of the model), ``examples.png`` (held-out pictures to
try) and, for a mixture memory of which labelled images tell the classes, ``slots.json``. ``python -m benchmarks.ship_model RUN NAME`` makes one from a run.
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
    """A model of this package: its name, one line on what it is, and its folder."""

    name: str
    about: str
    folder: Path


@dataclass(frozen=True)
class StoredNames:
    """slots.json: ``label`` is the majority class among the labelled training images of each slot, ``share`` its part; -1 and 0 for none."""

    classes: tuple[str, ...]
    label: tuple[int, ...]
    share: tuple[float, ...]

    def but(self, slots: Sequence[int]) -> StoredNames:
        """The same, with nothing known of these ``slots``."""
        gone = set(slots)
        label = tuple(-1 if slot in gone else label for slot, label in enumerate(self.label))
        return StoredNames(self.classes, label, tuple(0.0 if slot in gone else share for slot, share in enumerate(self.share)))


def shipped_models() -> dict[str, ShippedModel]:
    """All of them by name."""
    folders = sorted(path.parent for path in HERE.glob(f"*/{ABOUT}"))
    return {folder.name: ShippedModel(folder.name, json.loads((folder / ABOUT).read_text(encoding="utf-8"))["about"], folder) for folder in folders}


def place(model: str | Path) -> Path:
    """The folder that ``model`` names: a folder of one's own of that name, else the shipped model's, else the path as it is."""
    path = Path(model).expanduser()
    if path.exists() or str(model) != path.name:
        return path
    return HERE / path.name if path.name and (HERE / path.name / ABOUT).is_file() else path


def run_of(model: str | Path) -> Path | None:
    """The folder of the run around the model that ``model`` names, or of the model alone; None for one on the hub."""
    found = place(model)
    return found.parent if found.name == RUN_MODEL and found.is_dir() else found if found.is_dir() else None


def stored_names(folder: str | Path) -> StoredNames | None:
    """What the slots of the model in ``folder`` hold, where that was stored with it; None elsewhere. Raises InputError for a file that is damaged."""
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
    """Held-out pictures that came with the model, uint8 (n, c, h, w); None where there are none. They stand below each other in one picture."""
    import numpy as np
    from PIL import Image

    path, (channels, height, width) = Path(folder) / EXAMPLES, image_shape
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).copy()
