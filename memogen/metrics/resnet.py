"""ResNet-50 trained on ImageNet (He et al. 2016, "Deep residual learning for image recognition"), with weights that the user brings.

Two published networks have this name. Torchvision's has the stride in the 3x3 convolution of a block ("v1.5"), Keras's in the 1x1 before it, as in
the paper. They also differ in the epsilon of batch norm and in how pixels are scaled. Names and shapes here are torchvision's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from memogen.metrics.image_input import ImageInput
from memogen.metrics.weight_files import LayersModel, check_shapes, described, fill, read_layers_model, read_tensors, weights_digest
from memogen.types import InputError

RESNET = "resnet50"
FEATURES = 2048
CLASSES = 1000
SIZE, FILTER = (224, 224), "antialiased-bilinear"
BLOCKS = (3, 4, 6, 3)

TORCHVISION = ImageInput(SIZE, FILTER, mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), std=(0.229 * 255, 0.224 * 255, 0.225 * 255), channels=3)
"""As torchvision's was trained: each channel has mean 0 and deviation 1 over ImageNet."""
CAFFE = ImageInput(SIZE, FILTER, mean=(123.68, 116.779, 103.939), std=1.0, channels=3)
"""As Keras's was trained: less ImageNet's mean pixel, not divided. Keras orders channels blue, green, red; here its weights are reordered instead."""

REMEDY = "give torchvision's state dict of resnet50, .safetensors or .pth, or the folder of Keras's as TensorFlow.js's layers model"


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions to four times ``width`` channels, and a shortcut. ``early``: the first 1x1 has the stride, not the 3x3."""

    def __init__(self, inputs: int, width: int, *, stride: int, early: bool, eps: float) -> None:
        super().__init__()
        outputs, first, second = 4 * width, stride if early else 1, 1 if early else stride
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, first, bias=False), nn.BatchNorm2d(width, eps)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, second, 1, bias=False), nn.BatchNorm2d(width, eps)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps)
        fits = inputs == outputs
        self.downsample = None if fits else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs, eps))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """Images (b, 3, 224, 224) to 2,048 features, the means of the last block's maps.

    25,557,032 parameters, including the 2,049,000 of ``fc``, the layer of logits, which comes after the features.
    """

    def __init__(self, *, early: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64, eps)
        inputs = 64
        for number, blocks in enumerate(BLOCKS):
            width, layer = 64 << number, nn.Sequential()
            for block in range(blocks):
                layer.append(Bottleneck(inputs, width, stride=2 if number and not block else 1, early=early, eps=eps))
                inputs = 4 * width
            self.add_module(f"layer{number + 1}", layer)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        x = max_pool2d(torch.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        for number in range(len(BLOCKS)):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return x.mean(dim=(2, 3))


# --- weights ---


@dataclass(frozen=True)
class Trained:
    """A network with its weights, how it reads images, and the SHA-256 of the weights' files."""

    network: ResNet50
    reading: ImageInput
    digest: str


def read_resnet50(path: Path) -> Trained:
    """The network with torchvision's state dict (safetensors, or a .pth of tensors), or with Keras's weights as a TensorFlow.js layers model.

    For the latter ``path`` is the folder, or its parent; its ``model.json`` tells the epsilon of batch norm and which convolution has the stride.
    Raises InputError for anything else.
    """
    if found := described(path):
        model = read_layers_model(found, wanted_by=RESNET)
        return Trained(_of_keras(model, found), CAFFE, weights_digest(model.files))
    if not path.is_file():
        raise InputError(f"{RESNET}: {path}: {'has no model.json' if path.is_dir() else 'does not exist'}: {REMEDY}")
    network = ResNet50()
    fill(network, read_tensors(path, wanted_by=RESNET, remedy=REMEDY), path, wanted_by=RESNET, remedy=REMEDY)
    return Trained(network, TORCHVISION, weights_digest([path]))


def _of_keras(model: LayersModel, path: Path) -> ResNet50:
    """The network with Keras's weights in torchvision's order. The biases of its convolutions are subtracted from the means of batch norm."""
    try:
        eps, early = float(model.layers["bn_conv1"]["epsilon"]), tuple(model.layers["res3a_branch2a"]["strides"]) == (2, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{RESNET}: {path}: describes another network ({error} is missing or wrong): {REMEDY}") from error
    network = ResNet50(early=early, eps=eps)
    state, given = network.state_dict(), model.tensors
    pairs = list(_keras_names())
    wanted = {"fc1000/kernel": torch.Size((FEATURES, CLASSES)), "fc1000/bias": torch.Size((CLASSES,))}
    for theirs, norm, conv, _ in pairs:
        outputs, inputs, height, width = state[f"{conv}.weight"].shape
        wanted[f"{theirs}/kernel"] = torch.Size((height, width, inputs, outputs))
        wanted |= {name: torch.Size((outputs,)) for name in (f"{theirs}/bias", *(f"{norm}/{part}" for part in _NORM))}
    check_shapes(given, wanted, path, wanted_by=RESNET, remedy=REMEDY)
    for theirs, norm, conv, ours in pairs:
        state[f"{conv}.weight"] = given[f"{theirs}/kernel"].permute(3, 2, 0, 1)
        state |= {f"{ours}.{name}": given[f"{norm}/{part}"] for part, name in _NORM.items()}
        state[f"{ours}.running_mean"] = given[f"{norm}/moving_mean"] - given[f"{theirs}/bias"]
    state["conv1.weight"] = state["conv1.weight"].flip(1)  # from blue, green, red
    state["fc.weight"], state["fc.bias"] = given["fc1000/kernel"].T, given["fc1000/bias"]
    network.load_state_dict(state)
    return network


_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def _keras_names() -> Iterator[tuple[str, str, str, str]]:
    """For every convolution, its name and its batch norm's, first Keras's, then torchvision's."""
    yield "conv1", "bn_conv1", "conv1", "bn1"
    for number, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            theirs, ours = f"{number + 2}{'abcdef'[block]}_branch", f"layer{number + 1}.{block}"
            for part in range(3):
                yield f"res{theirs}2{'abc'[part]}", f"bn{theirs}2{'abc'[part]}", f"{ours}.conv{part + 1}", f"{ours}.bn{part + 1}"
            if not block:
                yield f"res{theirs}1", f"bn{theirs}1", f"{ours}.downsample.0", f"{ours}.downsample.1"
