"""The Inception-v3 of the published inception scores and Fréchet distances: the TensorFlow graph of 2015-12-05 (Szegedy et al. 2016).

Names and shapes are those of the community's port of its weights. The graph differs in three ways from what other libraries call Inception-v3:
average pooling leaves the padding out of the mean, the last block pools by maximum, and there are 1,008 classes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from memogen.data.cache import cache_root
from memogen.data.download import Remote, fetch, matches
from memogen.metrics.weight_files import fill, read_tensors
from memogen.types import InputError

FEATURES = 2048
CLASSES = 1008
SIDE = 299


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU. ``same`` pads to keep the size; otherwise there is no padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, *, stride: int = 1, same: bool = True) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if same else 0
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """35x35 pixels: branches of 1x1, 5x5, two 3x3, and pooling."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Unit(inputs, 64)
        self.branch5x5_1, self.branch5x5_2 = Unit(inputs, 48), Unit(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3 = Unit(inputs, 64), Unit(64, 96, 3), Unit(96, 96, 3)
        self.branch_pool = Unit(inputs, pooled)

    def forward(self, x: Tensor) -> Tensor:
        five = _chain(x, self.branch5x5_1, self.branch5x5_2)
        threes = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch1x1(x), five, threes, self.branch_pool(_averaged(x))], 1)


class BlockB(nn.Module):
    """35x35 to 17x17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Unit(inputs, 384, 3, stride=2, same=False)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(inputs, 64), Unit(64, 96, 3)
        self.branch3x3dbl_3 = Unit(96, 96, 3, stride=2, same=False)

    def forward(self, x: Tensor) -> Tensor:
        threes = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch3x3(x), threes, _halved(x)], 1)


class BlockC(nn.Module):
    """17x17 pixels: 7x7 factorised into rows and columns, with ``width`` channels inside."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = Unit(inputs, 192)
        self.branch7x7_1, self.branch7x7_2, self.branch7x7_3 = Unit(inputs, width), Unit(width, width, row), Unit(width, 192, column)
        self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3 = Unit(inputs, width), Unit(width, width, column), Unit(width, width, row)
        self.branch7x7dbl_4, self.branch7x7dbl_5 = Unit(width, width, column), Unit(width, 192, row)
        self.branch_pool = Unit(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        once = _chain(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3)
        twice = _chain(x, self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3, self.branch7x7dbl_4, self.branch7x7dbl_5)
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_averaged(x))], 1)


class BlockD(nn.Module):
    """17x17 to 8x8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Unit(inputs, 192), Unit(192, 320, 3, stride=2, same=False)
        self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3 = Unit(inputs, 192), Unit(192, 192, (1, 7)), Unit(192, 192, (7, 1))
        self.branch7x7x3_4 = Unit(192, 192, 3, stride=2, same=False)

    def forward(self, x: Tensor) -> Tensor:
        three = _chain(x, self.branch3x3_1, self.branch3x3_2)
        seven = _chain(x, self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4)
        return torch.cat([three, seven, _halved(x)], 1)


class BlockE(nn.Module):
    """8x8 pixels: 3x3 factorised into a row beside a column. The graph's last block pools ``by_maximum``."""

    def __init__(self, inputs: int, *, by_maximum: bool = False) -> None:
        super().__init__()
        row, column = (1, 3), (3, 1)
        self.by_maximum = by_maximum
        self.branch1x1 = Unit(inputs, 320)
        self.branch3x3_1, self.branch3x3_2a, self.branch3x3_2b = Unit(inputs, 384), Unit(384, 384, row), Unit(384, 384, column)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(inputs, 448), Unit(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Unit(384, 384, row), Unit(384, 384, column)
        self.branch_pool = Unit(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        once, twice = self.branch3x3_1(x), _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once), self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        pooled = max_pool2d(x, 3, stride=1, padding=1) if self.by_maximum else _averaged(x)
        return torch.cat([*parts, self.branch_pool(pooled)], 1)


class InceptionV3(nn.Module):
    """Images (b, 3, 299, 299), scaled by (x - 128) / 128, to the 2,048 features of the last pooling ("pool_3").

    23,850,960 parameters, including the 2,065,392 of ``fc``, the layer of logits, which comes after the features.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2, same=False)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3, same=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (BlockC(768, width) for width in (128, 160, 160, 192))
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280), BlockE(FEATURES, by_maximum=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, image: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        x = _chain(image, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3)
        x = _chain(_halved(x), self.Conv2d_3b_1x1, self.Conv2d_4a_3x3)
        x = _chain(_halved(x), self.Mixed_5b, self.Mixed_5c, self.Mixed_5d)
        x = _chain(x, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e)
        return _chain(x, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c).mean(dim=(2, 3))


def _chain(x: Tensor, *parts: nn.Module) -> Tensor:
    for part in parts:
        x = part(x)
    return x


def _halved(x: Tensor) -> Tensor:
    return max_pool2d(x, 3, stride=2)


def _averaged(x: Tensor) -> Tensor:
    """The mean over each pixel's 3x3 neighbourhood, without padding."""
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


# --- weights ---

INCEPTION = "inception-v3"
PUBLISHED = Remote(
    "pt_inception-2015-12-05-6726825d.pth",
    "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
)
_ELSEWHERE = (PUBLISHED.name, "weights-inception-2015-12-05-6726825d.pth")  # as pytorch-fid and torch-fidelity name it in torch's folder


def published_file() -> Path:
    """The published weights: in torch's folder, where other libraries keep them, or in our cache, downloaded the first time."""
    ours = cache_root() / "downloads" / INCEPTION
    shared = [Path(torch.hub.get_dir()) / "checkpoints" / name for name in _ELSEWHERE]
    found = next((path for path in [ours / PUBLISHED.name, *shared] if path.is_file()), None)
    if found is None:
        try:
            return fetch(PUBLISHED, ours, wanted_by=INCEPTION)
        except InputError as error:
            reason = str(error).removeprefix(f"{INCEPTION}: ").rpartition(": ")[0]  # without its advice about a data set's folder
            mend = f"go online once, put the file at {ours / PUBLISHED.name}, or give its path in place of {INCEPTION}"
            raise InputError(f"{INCEPTION}: {reason}: {mend}") from error
    if not matches(found, PUBLISHED.checksum):
        raise InputError(f"{INCEPTION}: {found}: not the published file (SHA-256 6726825d...): remove it, or give the path of weights of your own")
    return found


def load_weights(network: InceptionV3, path: Path) -> None:
    """Load a PyTorch or safetensors file into ``network``. Raises InputError for the weights of another network."""
    state = read_tensors(path, wanted_by=INCEPTION, remedy=f"give {PUBLISHED.name}, or a .safetensors file of its tensors")
    fill(network, state, path, wanted_by=INCEPTION, remedy=f"give {PUBLISHED.name}")
