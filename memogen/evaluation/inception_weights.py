"""The published Inception weights: from a file of the user's, from where other libraries keep them, or downloaded and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from memogen.data.cache import cache_root
from memogen.data.download import Remote, fetch, matches
from memogen.evaluation.extractors import ModuleExtractor
from memogen.evaluation.inception import CLASSES, FEATURES, SIDE, InceptionV3
from memogen.evaluation.resizing import ImageInput
from memogen.types import InputError

INCEPTION = "inception-v3"
AT_ONCE = 16  # images of 299x299: some 300 MB of memory
READING = ImageInput((SIDE, SIDE), "tensorflow-1-bilinear", mean=128.0, std=128.0, channels=3)
PUBLISHED = Remote(
    "pt_inception-2015-12-05-6726825d.pth",
    "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
)
_ELSEWHERE = (PUBLISHED.name, "weights-inception-2015-12-05-6726825d.pth")  # as pytorch-fid and torch-fidelity name it in torch's folder


def inception_v3(path: Path | None = None) -> ModuleExtractor:
    """The standard extractor: 2,048 features for distances, 1,008 logits for the inception score.

    Images of any size are brought to 299x299 as the graph did it, grey ones in three equal channels, and scaled by (x - 128) / 128. The logits
    go without their bias, as in the code that the published inception scores come from (Salimans et al. 2016). ``version`` has the first
    digits of the file's SHA-256: "inception-v3:6726825d" is the published file. ``path`` None looks for that file, and downloads it if need be.
    """
    path = path or published_file()
    network = InceptionV3()
    _load(network, path)
    head = nn.Linear(FEATURES, CLASSES, bias=False)
    head.weight = network.fc.weight
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half as fast again on a CPU
    return ModuleExtractor(network, name=INCEPTION, reading=READING, head=head, version=f"{INCEPTION}:{_sha256(path)[:8]}", at_once=AT_ONCE)


def published_file() -> Path:
    """The published weights on this disk: where torch's other users keep them, or in our own cache, downloaded the first time."""
    ours = cache_root() / "downloads" / INCEPTION
    shared = [Path(torch.hub.get_dir()) / "checkpoints" / name for name in _ELSEWHERE]
    found = next((path for path in [ours / PUBLISHED.name, *shared] if path.is_file()), None)
    if found is None:
        return _downloaded(ours)
    if not matches(found, PUBLISHED.checksum):
        raise InputError(f"{INCEPTION}: {found}: not the published file (SHA-256 6726825d...): remove it, or give the path of weights of your own")
    return found


def _downloaded(folder: Path) -> Path:
    try:
        return fetch(PUBLISHED, folder, wanted_by=INCEPTION)
    except InputError as error:
        reason = str(error).removeprefix(f"{INCEPTION}: ").rpartition(": ")[0]  # its advice, of a data set's folder, would not help here
        raise InputError(
            f"{INCEPTION}: {reason}: go online once, put the file at {folder / PUBLISHED.name}, or give its path in place of {INCEPTION}"
        ) from error


def _load(network: InceptionV3, path: Path) -> None:
    state = {name: value for name, value in _read(path).items() if not name.endswith("num_batches_tracked")}  # counts, that some copies lack
    wanted = {name: value.shape for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = sorted(name for name in wanted.keys() | state.keys() if name not in state or state[name].shape != wanted.get(name))
    if wrong:
        raise InputError(f"{INCEPTION}: {path}: not the weights of this network ({_told(wrong[0], state, wanted)}): give {PUBLISHED.name}")
    network.load_state_dict(state, strict=False)


def _told(name: str, state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> str:
    """What is wrong about one tensor."""
    if name not in state:
        return f"{name} is missing"
    if name not in wanted:
        return f"{name} is unknown"
    return f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name])}"


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors by name, of a safetensors file or of a PyTorch file, of which only tensors are read and nothing is run."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file may fail in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{INCEPTION}: {path}: cannot be read ({reason}): give {PUBLISHED.name}, or a .safetensors file of its tensors") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{INCEPTION}: {path}: holds more than tensors: give {PUBLISHED.name}, or a .safetensors file of its tensors")
    return {str(name): value for name, value in state.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
