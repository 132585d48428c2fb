"""Models as folders: ``config.json`` says what to build, ``model.safetensors`` holds its weights and memory, ``README.md`` is its card.

Both are read strictly: an unknown or missing option, tensor or shape is refused by name, and weights of another save by their digest. Nothing is
ever unpickled, and every file is replaced in one piece, so a save that breaks off leaves the former file.
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

from memogen import configs, shipped
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
    """config.json. ``files`` are the SHA-256 of the weights' files that were saved with it."""

    family: str
    format: int
    memogen: str
    config: dict[str, Any]
    files: dict[str, str]


def save_pretrained(model: nn.Module, path: str | Path, *, live: Mapping[str, Tensor] | None = None, half: bool = False) -> None:
    """Write ``model`` into the folder ``path``, which is made where it does not exist; the model's card is written anew as well.

    ``live`` holds the unaveraged weights, by their names in the model's state, for whoever wants to train on; without it a former
    live.safetensors is removed, since it would belong to other weights. ``half`` stores the parameters in half precision, for a model to give away;
    buffers, such as a mixture memory, are stored as they are, and :func:`from_pretrained` computes in single precision all the same. Raises
    InputError where a parameter is too large for half precision.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file: give a folder to save the model in")
    family, config = _family(model)
    _refuse(_differences(live or {}, model.state_dict(), whole=False), f"{folder / LIVE}")
    folder.mkdir(parents=True, exist_ok=True)
    saved: dict[str, Mapping[str, Tensor]] = {WEIGHTS: _halved(model) if half else model.state_dict()}
    if live is not None:
        saved[LIVE] = live
    with ExitStack() as stack:  # the files take their places one right after another, once all of them are written
        parts = {name: stack.enter_context(replacing(folder / name)) for name in (CARD, CONFIG, *saved)}
        for name, state in saved.items():
            _write_tensors(parts[name], state)
        document = Document(family, FORMAT, _version(), config, {name: sha256(parts[name]) for name in saved})
        parts[CONFIG].write_text(json.dumps(configs.to_dict(document), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        parts[CARD].write_text(model_card(document), encoding="utf-8")
    if live is None:
        (folder / LIVE).unlink(missing_ok=True)


def from_pretrained(path_or_hub_id: str | Path, *, device: str | torch.device = "cpu", live: bool = False, revision: str | None = None) -> SavedModel:
    """The model saved in a folder, in a run's folder, that ships by this name (such as "fashion"; ``memogen models`` lists them), or under
    ``org/name`` on the Hugging Face hub, in evaluation mode on ``device``.

    A model that ships holds what drawing and reading need: its parameters were rounded to half precision, and nothing else is left of its training,
    so it has no unaveraged weights. ``live`` True takes the unaveraged weights; ``revision`` names a branch, tag or commit on the hub, whose copy in
    the local cache is used where there is no network. Raises InputError.
    """
    place, folder = _device(device), _folder(path_or_hub_id, revision)
    document = read_document(folder)
    config = _config(document, folder / CONFIG)
    state = _read_tensors(folder / WEIGHTS, document)
    model = _outline(config, folder / CONFIG, state)
    expected = model.state_dict()
    _refuse(_differences(state, expected, whole=True), f"{folder / WEIGHTS}")
    state = {name: tensor.to(expected[name].dtype) if tensor.dtype == torch.half else tensor for name, tensor in state.items()}
    if live:
        newer = _read_tensors(folder / LIVE, document)
        _refuse(_differences(newer, state, whole=False), f"{folder / LIVE}")
        state |= newer
    model.load_state_dict(state, assign=True)
    return cast(SavedModel, model.eval().to(place))


def _device(device: str | torch.device) -> torch.device:
    try:
        place = torch.empty(0, device=device).device
        if place.type == "meta":
            raise TypeError("a meta device holds no numbers")
        return place
    except (RuntimeError, AssertionError, TypeError) as error:  # what torch raises depends on what is missing
        raise InputError(f"device: {str(device)!r} is not there ({_line(error)}): give cpu, or a device of this machine such as cuda") from error


def push_to_hub(model: nn.Module, repo_id: str, *, live: Mapping[str, Tensor] | None = None, private: bool = False, card: str | None = None) -> str:
    """Upload ``model`` to the Hugging Face hub as ``org/name``, which is made where it does not exist. Returns the address of the commit.

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
        except Exception as error:  # the client lets the errors of its transport through, and these change between its versions
            raise InputError(f"{repo_id}: cannot be uploaded ({_line(error)}): check the name, the network and `hf auth login`") from error


def read_document(folder: Path) -> Document:
    """config.json of a saved model, checked but for the family's own options."""
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
    """That no model was saved in a folder, whether pictures lie there instead or a training began, and what to give."""
    files = [file for file in folder.glob("*") if file.is_file()] or folder.glob("*/*")  # a run's own sample grids lie below its files
    pictures = any((mimetypes.guess_type(file.name)[0] or "").startswith("image/") for file in files)
    there = "is a folder of pictures and holds" if pictures else "holds"
    begun = (folder / "checkpoints").is_dir()
    mend = "its training was cut off: the same command continues it" if begun else "give a run's folder, or one that save_pretrained wrote"
    return f"{there} no saved model (no {CONFIG}, no {RUN_MODEL}/{CONFIG}): {mend}"


def _family(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """The name of the model's family, and its configuration as a mapping."""
    config: object = model.config
    for name, family in FAMILIES.items():
        if type(config) is family.config:
            return name, configs.to_dict(config)
    raise TypeError(f"{type(config).__name__} is not the config of a family in memogen.models.FAMILIES ({', '.join(FAMILIES)})")


def _config(document: Document, path: Path) -> Any:
    """The configuration of the document's family."""
    family = FAMILIES.get(document.family)
    if family is None:
        raise InputError(f"{path}: family {document.family!r} is unknown: {configs.suggest(document.family, FAMILIES)}")
    try:
        return configs.from_dict(family.config, document.config, where="config")
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _outline(config: Any, path: Path, state: Mapping[str, Tensor]) -> nn.Module:
    """The model that ``config`` builds, without numbers: no memory is taken for sizes that config.json makes up, and no time for initial weights.

    A mixture memory of it has room for which slots are frozen where ``state`` tells that some are.
    """
    try:
        model = outline(config)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    for name, part in model.named_modules():
        if isinstance(part, VMFMemory) and f"{name}.frozen" in state:
            part.frozen = torch.zeros_like(part.values, dtype=torch.bool)
    return model


def _halved(model: nn.Module) -> dict[str, Tensor]:
    """The model's state with its parameters in half precision."""
    parameters = {name for name, _ in model.named_parameters()}
    state = {name: tensor.half() if name in parameters else tensor for name, tensor in model.state_dict().items()}
    for name in parameters:
        if not bool(torch.isfinite(state[name]).all()):
            raise InputError(f"{name}: holds numbers that half precision does not: save the model in full")
    return state


def _version() -> str:
    from memogen import __version__

    return __version__


def _folder(source: str | Path, revision: str | None) -> Path:
    """The local folder (of a run, the one its model is in), the one of a model that ships, or the hub's in the local cache."""
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
    return _download(source, revision)


def _download(repo_id: str, revision: str | None) -> Path:
    """A copy from the hub; where it cannot be reached, the one in the cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=[CONFIG, WEIGHTS, LIVE]))
    except Exception as error:  # the client lets the errors of its transport through, and these change between its versions
        what = f"{repo_id}: neither a folder nor a model that the hub gives ({_line(error)})"
        raise InputError(f"{what}: check the name, the revision, the network and your access") from error


def _differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, whole: bool) -> Iterator[str]:
    """What ``state`` has that ``expected`` has not, in another shape, or (where ``whole``) lacks."""
    for name, tensor in state.items():
        if name not in expected:
            yield f"tensor {name} is not the model's"
        elif tensor.shape != expected[name].shape:
            yield f"tensor {name} is {tuple(tensor.shape)} where the model has {tuple(expected[name].shape)}"
        elif any(kind(tensor) != kind(expected[name]) for kind in (torch.is_floating_point, _is_bool)):
            yield f"tensor {name} is {tensor.dtype} where the model has {expected[name].dtype}"
    yield from (f"tensor {name} is missing" for name in expected if whole and name not in state)


def _is_bool(tensor: Tensor) -> bool:
    return tensor.dtype == torch.bool


def _refuse(differences: Iterator[str], where: str) -> None:
    found = list(differences)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InputError(f"{where}: {found[0]}{more}: weights and {CONFIG} must come from one save")


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_tensors(path: Path, document: Document) -> dict[str, Tensor]:
    """The tensors of a file that was saved with ``document``. Raises InputError for any other, and for numbers that are not finite."""
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
    """Every tensor by itself on the CPU, since the format knows neither shared storage nor memory formats. Raises InputError."""
    plain = {name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for name, tensor in state.items()}
    try:
        path.write_bytes(save(plain, metadata={"format": "pt"}))  # save_file would hide the file from other users
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path.parent}: cannot be written ({_line(error)}): free some space, or name another folder") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place, or goes where writing fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _line(error: Exception) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def model_card(document: Document) -> str:
    """README.md in the hub's form: what the model is and how to draw from it."""
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
    """A value in words; the parts of a list stand ``between`` each other's names or numbers."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(part)}" for name, part in value.items())
    if isinstance(value, list):
        return between.join(map(str, value))
    return "none" if value is None else str(value)
