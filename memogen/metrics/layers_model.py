"""Weights in the format of TensorFlow.js ("layers model"): a ``model.json`` that describes layers and tensors, beside files that hold the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memogen.parsing import parse_json, read_regular
from memogen.types import InputError

DESCRIPTION = "model.json"


@dataclass(frozen=True)
class LayersModel:
    """Tensors by name, in Keras's order of axes; the configuration of each layer by its name; and the files that were read, in their order."""

    tensors: Mapping[str, Tensor]
    layers: Mapping[str, Mapping[str, Any]]
    files: tuple[Path, ...]


def described(path: Path) -> Path | None:
    """The ``model.json`` that is meant by a path: itself, or that of a folder or of a folder in it; None where there is none."""
    if path.name == DESCRIPTION and path.is_file():
        return path
    return next(iter(sorted(path.glob(DESCRIPTION)) or sorted(path.glob(f"*/{DESCRIPTION}"))), None) if path.is_dir() else None


def read_layers_model(path: Path, *, wanted_by: str) -> LayersModel:
    """The model that a ``model.json`` describes, of float32 numbers. Raises InputError, in one line that begins with ``wanted_by``."""
    try:
        content = parse_json(read_regular(path))
        layers = {layer["config"]["name"]: layer["config"] for layer in content["modelTopology"]["model_config"]["config"]["layers"]}
        tensors, files = dict[str, Tensor](), [path]
        for group in content["weightsManifest"]:
            parts = [_beside(path, name) for name in group["paths"]]
            tensors |= _tensors(group["weights"], b"".join(part.read_bytes() for part in parts))
            files += parts
    except KeyError as error:
        raise InputError(f"{wanted_by}: {path}: it has no {error}: {_REMEDY}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise InputError(f"{wanted_by}: {path}: cannot be read ({reason}): {_REMEDY}") from error
    return LayersModel(tensors, layers, tuple(files))


_REMEDY = "give a TensorFlow.js layers model of float32 numbers, with all its files in one folder"


def _beside(path: Path, name: str) -> Path:
    """The file of that name beside ``path``; ValueError for a name that leads elsewhere."""
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no file beside it")
    return path.with_name(name)


def _tensors(entries: list[dict[str, Any]], numbers: bytes) -> dict[str, Tensor]:
    """The tensors of one group, whose numbers lie one after another."""
    found, start = dict[str, Tensor](), 0
    for entry in entries:
        name, shape = str(entry["name"]), [int(size) for size in entry["shape"]]
        if entry["dtype"] != "float32" or "quantization" in entry:
            raise ValueError(f"{name} is {'quantised' if 'quantization' in entry else entry['dtype']}")
        stop = start + 4 * math.prod(shape)
        if min(shape, default=1) < 0 or stop > len(numbers):
            raise ValueError(f"{name} goes beyond its files, which end after {len(numbers):,} bytes")
        found[name] = torch.from_numpy(np.frombuffer(numbers[start:stop], "<f4").astype(np.float32).reshape(shape))
        start = stop
    if start != len(numbers):
        raise ValueError(f"its files hold {len(numbers):,} bytes where its tensors need {start:,}")
    return found
