"""What commands read and write: a model named on the command line, a picture to look up, pictures to leave behind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memogen.cli.options import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


def find_model(name: str) -> str:
    """The folder of a saved model, from a run folder, the model's own folder, or a hub id (which is returned as it is)."""
    path = Path(name).expanduser()
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return str(folder)
    if path.exists():
        raise UsageError(f"{name}: holds no saved model (no config.json, no model/config.json); name a run folder or a saved model's folder")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and path.parts[0] not in ("runs", ".", ".."):
        return name
    raise UsageError(f"{name}: no such folder; name a run folder, a saved model's folder, or a hub id such as owner/name")


def open_model(name: str) -> torch.nn.Module:
    """Load a model for drawing and looking."""
    folder = find_model(name)
    from memogen.pretrained import from_pretrained

    return from_pretrained(folder)


def check_picture_path(out: Path, *, suffixes: Sequence[str] = PICTURES) -> None:
    """Refuse a name that cannot become a picture, before any work is done."""
    if out.suffix.lower() not in suffixes:
        raise UsageError(f"--out {out}: cannot write a picture of this kind; end the name with {', '.join(suffixes)}")


def write_picture(picture: Image, out: Path) -> None:
    """Save one picture and say where."""
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    print(out)
