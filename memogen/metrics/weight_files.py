"""Files of weights that users bring for networks that others trained: only tensors are read, and what does not fit is told in one line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from memogen.types import InputError

_COUNT = "num_batches_tracked"  # counts of batch norm, that some copies lack


def read_tensors(path: Path, *, wanted_by: str, remedy: str) -> dict[str, Tensor]:
    """Tensors by name, of a safetensors file or of a PyTorch file, of which only tensors are read and nothing is run.

    Another file is an InputError that begins with ``wanted_by`` and ends with ``remedy``.
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
    """Give ``network`` the tensors read from ``path``. Raises InputError where they are those of another network."""
    state = {name: value for name, value in given.items() if not name.endswith(_COUNT)}
    shapes = {name: value.shape for name, value in network.state_dict().items() if not name.endswith(_COUNT)}
    check_shapes(state, shapes, path, wanted_by=wanted_by, remedy=remedy)
    network.load_state_dict(state, strict=False)


def check_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], path: Path, *, wanted_by: str, remedy: str) -> None:
    """Raise InputError, which names one of them, unless the tensors of ``path`` have the wanted names and shapes."""
    wrong = sorted(name for name in wanted.keys() | state.keys() if name not in state or state[name].shape != wanted.get(name))
    if wrong:
        raise InputError(f"{wanted_by}: {path}: not the weights of this network ({_difference(wrong[0], state, wanted)}): {remedy}")


def _difference(name: str, state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> str:
    """What is wrong about one tensor."""
    if name not in state:
        return f"{name} is missing"
    if name not in wanted:
        return f"{name} is unknown"
    return f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name])}"


def weights_digest(paths: Iterable[Path]) -> str:
    """The SHA-256 of the files one after another, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
