"""Checkpoints: a folder of safetensors and JSON files with a checksum for each, written whole or not at all. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from memogen.parsing import parse_json, read_regular
from memogen.types import InputError

Tensors = Mapping[str, Tensor]

_log = logging.getLogger(__name__)
_STATE = "state.json"
_PREFIX = "step-"


def write_checkpoint(path: Path, files: Mapping[str, Tensors], state: Mapping[str, object]) -> None:
    """Write ``files`` (stem -> tensors) and ``state`` (plain values) to a temporary folder, then rename it to ``path``.

    Raises InputError if the disk refuses; the temporary folder is removed then.
    """
    building = path.parent / f".{path.name}.{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        for stem, tensors in files.items():
            plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
            (building / f"{stem}.safetensors").write_bytes(save(plain))
        body = {**state, "files": {file.name: _sha256(file) for file in sorted(building.iterdir())}}
        (building / _STATE).write_text(json.dumps({"sha256": _digest(body), **body}, indent=1) + "\n")
        for file in building.iterdir():
            _flush(file)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error}): free some space; the same command continues the run") from error
    if path.exists():
        remove([path])
    building.rename(path)
    _flush(path.parent)


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(stem -> tensors on the host, state). Raises ValueError for a checkpoint that is incomplete or damaged."""
    state = verify(path)
    try:
        return {Path(name).stem: load_file(path / name) for name in state["files"]}, state
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error


def verify(path: Path) -> dict[str, Any]:
    """The state of a checkpoint, after a comparison of all checksums. Raises ValueError as :func:`read_checkpoint` does."""
    try:
        state: dict[str, Any] = parse_json(read_regular(path / _STATE))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: incomplete ({error})") from error
    try:
        recorded = state.pop("sha256")
        if recorded != _digest(state):
            raise ValueError(f"{path / _STATE}: its checksum differs")
        for name, checksum in state["files"].items():
            if Path(name).name != name or _sha256(path / name) != checksum:
                raise ValueError(f"{path / name}: its checksum differs")
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: incomplete ({error})") from error
    return state


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"{_PREFIX}{step:08d}"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, whole or not, oldest step first."""
    found = [path for path in (folder / "checkpoints").glob(f"{_PREFIX}*") if step_of(path) >= 0]
    return sorted(found, key=step_of)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run folder; one warning line for each newer one that is not whole."""
    for path in reversed(checkpoints(folder)):
        try:
            verify(path)
        except ValueError as error:
            _log.warning("checkpoint skipped: %s", error)
        else:
            return path
    return None


def saved_settings(path: Path) -> dict[str, Any]:
    """The settings of the training that wrote a checkpoint, such as ``training.steps``; empty if they are missing or cannot be read."""
    try:
        settings = parse_json(read_regular(path / _STATE))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def step_of(path: Path) -> int:
    """The step in a checkpoint's name; -1 for any other name."""
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if path.name.startswith(_PREFIX) and digits.isdecimal() else -1


def remove(paths: list[Path]) -> None:
    """Remove checkpoints. Each is renamed first, so that an interruption leaves none half removed."""
    for path in paths:
        doomed = path.parent / f".{path.name}.removed"
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)


def sweep(folder: Path) -> None:
    """Remove what an interrupted write or removal left behind."""
    for leftover in (folder / "checkpoints").glob(f".{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush(path: Path) -> None:
    """Ask the file system to write a file or folder to disk, where it can (Windows cannot for folders)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
