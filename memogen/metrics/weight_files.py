"""Weights of networks that others trained: PyTorch and safetensors files, and TensorFlow.js layers models. Only tensors are read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from memogen.parsing import parse_json, read_regular
from memogen.types import InputError

_COUNT = "num_batches_tracked"  # of batch norm; some copies of the weights lack it


def read_tensors(path: Path, *, wanted_by: str, remedy: str) -> dict[str, Tensor]:
    """Tensors by name from a safetensors or PyTorch file; nothing in the file is run.

    Raises InputError, which begins with ``wanted_by`` and ends with ``remedy``, for any other file.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file may fail in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{wanted_by}: {path}: cannot be read ({reason}): {remedy}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{wanted_by}: {path}: holds more than tensors: {remedy}")
    return {str(name): value for name, value in state.items()}


def fill(network: nn.Module, given: Mapping[str, Tensor], path: Path, *, wanted_by: str, remedy: str) -> None:
    """Load the tensors of ``path`` into ``network``. Raises InputError if they are those of another network."""
    state = {name: value for name, value in given.items() if not name.endswith(_COUNT)}
    shapes = {name: value.shape for name, value in network.state_dict().items() if not name.endswith(_COUNT)}
    check_shapes(state, shapes, path, wanted_by=wanted_by, remedy=remedy)
    network.load_state_dict(state, strict=False)


def check_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], path: Path, *, wanted_by: str, remedy: str) -> None:
    """Raises InputError, which names one of them, unless the tensors of ``path`` have the wanted names and shapes."""
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            difference = f"{name} is missing"
        elif name not in wanted:
            difference = f"{name} is unknown"
        elif state[name].shape != wanted[name]:
            difference = f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name])}"
        else:
            continue
        raise InputError(f"{wanted_by}: {path}: not the weights of this network ({difference}): {remedy}")


def weights_digest(paths: Iterable[Path]) -> str:
    """The SHA-256 of the files one after another, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


# --- TensorFlow.js: a ``model.json``, which describes layers and tensors, beside files of numbers ---

DESCRIPTION = "model.json"
_REMEDY = "give a TensorFlow.js layers model of float32 numbers, with all its files in one folder"


@dataclass(frozen=True)
class LayersModel:
    """Tensors by name, in Keras's order of axes, the configuration of each layer by its name, and the files that were read, in their order."""

    tensors: Mapping[str, Tensor]
    layers: Mapping[str, Mapping[str, Any]]
    files: tuple[Path, ...]


def described(path: Path) -> Path | None:
    """The ``model.json`` at a path: the file itself, or in that folder or one of its sub-folders; None if there is none."""
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
            for name in group["paths"]:
                if Path(name).name != name:  # a name that leads out of the folder
                    raise ValueError(f"{name!r} is no file beside it")
            parts = [path.with_name(name) for name in group["paths"]]
            tensors |= _tensors(group["weights"], b"".join(part.read_bytes() for part in parts))
            files += parts
    except KeyError as error:
        raise InputError(f"{wanted_by}: {path}: it has no {error}: {_REMEDY}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise InputError(f"{wanted_by}: {path}: cannot be read ({reason}): {_REMEDY}") from error
    return LayersModel(tensors, layers, tuple(files))


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
