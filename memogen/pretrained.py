"""Saved models: ``config.json`` says what to build, ``model.safetensors`` holds its weights and memory, ``README.md`` is its card.

Both are read strictly: an unknown or missing option, tensor or shape is refused by name, and weights of another save by their digest. Nothing is
ever unpickled. Every file is replaced in one piece, so an interrupted save leaves the former file.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from memogen import __version__, configs, shipped
from memogen.memory import VMFMemory
from memogen.models import FAMILIES, outline
from memogen.parsing import parse_json, read_regular
from memogen.shipped import RUN_MODEL as RUN_MODEL
from memogen.types import InputError, SavedModel

FORMAT = 2
"""The layout of config.json and of the names in model.safetensors; a reader refuses any other."""

CONFIG, WEIGHTS, LIVE, CARD = "config.json", "model.safetensors", "live.safetensors", "README.md"


@dataclass(frozen=True)
class Document:
    """The content of config.json. ``files`` are the SHA-256 digests of the weight files that were saved with it."""

    family: str
    format: int
    memogen: str
    config: dict[str, Any]
    files: dict[str, str]


def save_pretrained(model: nn.Module, path: str | Path, *, live: Mapping[str, Tensor] | None = None, half: bool = False) -> None:
    """Write ``model`` and its card into the folder ``path``, which is made if it does not exist.

    ``live`` holds the unaveraged weights by their names in the model's state, for training on; without it a former live.safetensors is removed, since
    it belongs to other weights. ``half`` stores the parameters in half precision, which makes a smaller file to give away; buffers, such as a mixture
    memory, are stored as they are, and :func:`from_pretrained` still computes in single precision. Raises InputError if a parameter is too large for
    half precision.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file: give a folder to save the model in")
    own: object = model.config
    family = next((name for name, family in FAMILIES.items() if type(own) is family.config), None)
    if family is None:
        raise TypeError(f"{type(own).__name__} is not the config of a family in memogen.models.FAMILIES ({', '.join(FAMILIES)})")
    state = model.state_dict()
    _check_fit(live or {}, state, folder / LIVE, whole=False)
    if half:
        for name, _ in model.named_parameters():
            state[name] = state[name].half()
            if not bool(torch.isfinite(state[name]).all()):
                raise InputError(f"{name}: holds numbers that half precision does not: save the model in full")
    folder.mkdir(parents=True, exist_ok=True)
    saved: dict[str, Mapping[str, Tensor]] = {WEIGHTS: state}
    if live is not None:
        saved[LIVE] = live
    with ExitStack() as stack:  # the files take their places one right after another, once all of them are written
        parts = {name: stack.enter_context(replacing(folder / name)) for name in (CARD, CONFIG, *saved)}
        for name, tensors in saved.items():
            _write_tensors(parts[name], tensors)
        document = Document(family, FORMAT, __version__, configs.to_dict(own), {name: sha256(parts[name]) for name in saved})
        parts[CONFIG].write_text(json.dumps(configs.to_dict(document), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        parts[CARD].write_text(model_card(document), encoding="utf-8")
    if live is None:
        (folder / LIVE).unlink(missing_ok=True)


def from_pretrained(path_or_hub_id: str | Path, *, device: str | torch.device = "cpu", live: bool = False, revision: str | None = None) -> SavedModel:
    """Load a model in evaluation mode on ``device``: from its folder, a run's folder, a model that ships by its name (such as "fashion"; ``memogen
    models`` lists them), or ``org/name`` on the Hugging Face hub.

    ``live`` True takes the unaveraged weights. A model that ships has none: it holds what drawing and reading need, with parameters rounded to half
    precision. ``revision`` names a branch, tag or commit on the hub; without a network the copy in the local cache is used. Raises InputError.
    """
    try:
        place = torch.empty(0, device=device).device
        if place.type == "meta":
            raise TypeError("a meta device holds no numbers")
    except (RuntimeError, AssertionError, TypeError) as error:  # what torch raises depends on what is missing
        raise InputError(f"device: {str(device)!r} is not there ({_line(error)}): give cpu, or a device of this machine such as cuda") from error
    folder = _folder(path_or_hub_id, revision)
    document = read_document(folder)
    family = FAMILIES.get(document.family)
    if family is None:
        raise InputError(f"{folder / CONFIG}: family {document.family!r} is unknown: {configs.suggest(document.family, FAMILIES)}")
    state = _read_tensors(folder / WEIGHTS, document)
    try:  # the model is built without numbers: this takes no memory for sizes that config.json makes up, and no time for initial weights
        model = outline(configs.from_dict(family.config, document.config, where="config"))
    except ValueError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from error
    for name, part in model.named_modules():
        if isinstance(part, VMFMemory) and f"{name}.frozen" in state:
            part.frozen = torch.zeros_like(part.values, dtype=torch.bool)
    expected = model.state_dict()
    _check_fit(state, expected, folder / WEIGHTS, whole=True)
    state = {name: tensor.to(expected[name].dtype) if tensor.dtype == torch.half else tensor for name, tensor in state.items()}
    if live:
        newer = _read_tensors(folder / LIVE, document)
        _check_fit(newer, state, folder / LIVE, whole=False)
        state |= newer
    model.load_state_dict(state, assign=True)
    return cast(SavedModel, model.eval().to(place))


def push_to_hub(model: nn.Module, repo_id: str, *, live: Mapping[str, Tensor] | None = None, private: bool = False, card: str | None = None) -> str:
    """Upload ``model`` to the Hugging Face hub as ``org/name``, which is made if it does not exist. Returns the URL of the commit.

    ``live`` is that of :func:`save_pretrained`; ``card`` is the text of README.md, in place of a new one. Raises InputError.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, live=live)
        if card is not None:
            (Path(folder) / CARD).write_text(card, encoding="utf-8")
        try:
            api = HfApi()
            api.create_repo(repo_id, private=private, exist_ok=True)
            return api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload of a memogen model").commit_url
        except Exception as error:  # the client passes on the errors of its transport, and these change between its versions
            raise InputError(f"{repo_id}: cannot be uploaded ({_line(error)}): check the name, the network and `hf auth login`") from error


def read_document(folder: Path) -> Document:
    """config.json of a saved model; all but the family's own options are checked."""
    path = folder / CONFIG
    try:
        mapping = parse_json(read_regular(path))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: {no_model(folder)}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_line(error)}): give a folder that save_pretrained wrote") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({_line(error)}): save the model again") from error
    found = mapping.get("format") if isinstance(mapping, dict) else None
    if isinstance(found, int) and found != FORMAT:
        mend = "upgrade memogen" if found > FORMAT else "load it with the version that saved it, or train it again"
        raise InputError(f"{path}: format {found}; this memogen reads format {FORMAT}: {mend}")
    try:
        return configs.from_dict(Document, mapping)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def no_model(folder: Path) -> str:
    """The message for a folder without a saved model; it says if the folder holds pictures, or a training that was cut off."""
    files = [file for file in folder.glob("*") if file.is_file()] or folder.glob("*/*")  # a run's own sample grids lie below its files
    pictures = any((mimetypes.guess_type(file.name)[0] or "").startswith("image/") for file in files)
    there = "is a folder of pictures and holds" if pictures else "holds"
    begun = (folder / "checkpoints").is_dir()
    mend = "its training was cut off: the same command continues it" if begun else "give a run's folder, or one that save_pretrained wrote"
    return f"{there} no saved model (no {CONFIG}, no {RUN_MODEL}/{CONFIG}): {mend}"


def _folder(source: str | Path, revision: str | None) -> Path:
    """The local folder of a saved model; for one on the hub, that in the local cache."""
    if not isinstance(source, str | Path) or not str(source):
        raise InputError(f"{source!r}: names no model: give a run's folder, one that save_pretrained wrote, or org/name on the hub")
    path = shipped.place(source)
    if path.is_dir():
        return next((folder for folder in (path, path / RUN_MODEL) if (folder / CONFIG).is_file()), path)
    if path.exists():
        raise InputError(f"{source}: is a file: give the folder that holds {CONFIG} and {WEIGHTS}")
    if isinstance(source, Path) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        known = ", ".join(shipped.shipped_models())
        raise InputError(f"{source}: no such folder: give a folder that save_pretrained wrote, a model that ships ({known}), or org/name on the hub")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=[CONFIG, WEIGHTS, LIVE]))
    except Exception as error:  # the client passes on the errors of its transport, and these change between its versions
        what = f"{source}: neither a folder nor a model that the hub gives ({_line(error)})"
        raise InputError(f"{what}: check the name, the revision, the network and your access") from error


def _check_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, *, whole: bool) -> None:
    """Raises InputError if ``state`` has a tensor that ``expected`` lacks, or one of another shape or kind, or if ``whole`` and one is missing."""
    found = []
    for name, tensor in state.items():
        wanted = expected.get(name)
        if wanted is None:
            found.append(f"tensor {name} is not the model's")
        elif tensor.shape != wanted.shape:
            found.append(f"tensor {name} is {tuple(tensor.shape)} where the model has {tuple(wanted.shape)}")
        elif tensor.is_floating_point() != wanted.is_floating_point() or (tensor.dtype == torch.bool) != (wanted.dtype == torch.bool):
            found.append(f"tensor {name} is {tensor.dtype} where the model has {wanted.dtype}")
    found += [f"tensor {name} is missing" for name in expected if whole and name not in state]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InputError(f"{path}: {found[0]}{more}: weights and {CONFIG} must come from one save")


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_tensors(path: Path, document: Document) -> dict[str, Tensor]:
    """The tensors of a file that was saved with ``document``. Raises InputError for any other file, and for numbers that are not finite."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: give a folder that save_pretrained wrote{' with live weights' if path.name == LIVE else ''}")
    if sha256(path) != document.files.get(path.name):
        raise InputError(f"{path}: not the file that was saved with {CONFIG}: save or download the model again")
    try:
        state = load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({_line(error)}): save or download the model again") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: tensor {name} holds numbers that are not finite: take an earlier checkpoint, or train it again")
    return state


def _write_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Each tensor is copied to the CPU first, since the format knows neither shared storage nor memory formats. Raises InputError."""
    plain = {name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for name, tensor in state.items()}
    try:
        path.write_bytes(save(plain, metadata={"format": "pt"}))  # save_file would hide the file from other users
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path.parent}: cannot be written ({_line(error)}): free some space, or name another folder") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that replaces it at the end, or is removed if the block raises."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def model_card(document: Document) -> str:
    """README.md in the hub's format: what the model is and how to draw from it."""
    rows = "\n".join(f"| `{name}` | {_cell(value, ' x ' if name == 'image_shape' else ', ')} |" for name, value in document.config.items())
    return f"""---
library_name: memogen
pipeline_tag: unconditional-image-generation
tags: [generative-models, memory, {document.family.replace("_", "-")}]
---

# A {document.family} model

A generative model with memory, trained with memogen {document.memogen}.
`{WEIGHTS}` holds the averaged weights and the memory, `{CONFIG}` everything needed to build the model.

```python
import memogen
model = memogen.from_pretrained("this folder, or org/name")
images = model.sample(64, seed=0)  # (64, c, h, w) in model.image_range; image i depends on the seed and i alone
```

| option | value |
|---|---|
{rows}
"""


def _cell(value: object, between: str = ", ") -> str:
    """A value in words, with ``between`` between the parts of a list."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(part)}" for name, part in value.items())
    if isinstance(value, list):
        return between.join(map(str, value))
    return "none" if value is None else str(value)
