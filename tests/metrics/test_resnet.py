"""ResNet-50 of the user's weights: torchvision's names, both networks against a re-derivation, and weights that are refused in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, interpolate, max_pool2d, pad

from memogen.metrics import extractor
from memogen.metrics.resnet import ResNet50, read_resnet50
from memogen.types import InputError
from tests.command import rows_in, run

NAMES = "a87e91cd6bd1f939e0b723852e567a7205d33b0ac984ac02dd1a5f225d37c036"  # names and shapes of torchvision 0.29.1
BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}


def _drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights by name that let no layer die: kernels as He et al. draw them, the rest near 0 and 1."""
    random, found = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=random)
        if name.endswith("kernel") or len(shape) > 1:
            fan_in = np.prod(shape[:-1]) if name.endswith("kernel") else np.prod(shape[1:])
            value *= (2 / fan_in) ** 0.5
        elif name.endswith(("gamma", "moving_variance", "running_var")) or ("bn" in name and name.endswith("weight")):
            value = 0.5 + 0.1 * value.abs()
        else:
            value *= 0.1
        found[name] = value
    return found


# --- torchvision's ---


def _blocks_of_torchvision(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """The features by torchvision's names: each block halves the image in its second convolution."""

    def unit(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        mean, var, gamma, beta = (w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = conv2d(x, w[f"{conv}.weight"], stride=stride, padding=w[f"{conv}.weight"].shape[-1] // 2)
        return batch_norm(x, mean, var, gamma, beta, eps=1e-5)

    x = max_pool2d(unit(x, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for number in range(blocks):
            block, stride = f"layer{layer}.{number}", 2 if number == 0 and layer > 1 else 1
            out = unit(x, f"{block}.conv1", f"{block}.bn1").relu()
            out = unit(out, f"{block}.conv2", f"{block}.bn2", stride).relu()
            out = unit(out, f"{block}.conv3", f"{block}.bn3")
            x = (out + (x if number else unit(x, f"{block}.downsample.0", f"{block}.downsample.1", stride))).relu()
    return x.flatten(2).mean(2)


def test_names_shapes_and_counts_are_torchvision_s() -> None:
    network = ResNet50()
    lines = "\n".join(f"{name} {tuple(value.shape)}" for name, value in sorted(network.state_dict().items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES
    assert sum(value.numel() for value in network.parameters()) == 25_557_032 == 23_508_032 + 2049 * 1000


def test_features_are_torchvision_s() -> None:
    network = ResNet50().double()
    state = {name: value.double() for name, value in _drawn({name: tuple(value.shape) for name, value in network.state_dict().items()}).items()}
    network.load_state_dict(state)
    image = torch.randn(2, 3, 75, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image), _blocks_of_torchvision(image, state))


def _flat(path: Path, **changed: Tensor | None) -> Path:
    """A state dict of every tensor, each a single number spread over its shape: a small file. A name of None is left out."""
    state: dict[str, Tensor | None] = {name: torch.tensor(0.01).expand(value.shape) for name, value in ResNet50().state_dict().items()}
    state |= changed
    torch.save({name: value for name, value in state.items() if value is not None and not name.endswith("tracked")}, path)
    return path


def test_a_state_dict_is_known_by_its_content(tmp_path: Path) -> None:
    path = _flat(tmp_path / "weights.pth")
    for name in (path, f"resnet50={path}"):
        found = extractor(name)
        assert found.name == "resnet50" and found.version == f"resnet50:{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
        assert found.resize == "antialiased-bilinear to 224x224" and found.accuracy is None
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # as torchvision states them, for pixels in [0, 1]
    read = found.reading(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1))
    assert read.shape == (3, 3, 224, 224)
    torch.testing.assert_close(read[:, :, 100, 7], (torch.tensor([[0.0], [0.2], [1.0]]) - mean) / std)
    assert found(torch.zeros(2, 1, 9, 5, dtype=torch.uint8)).shape == (2, 1000)


# --- Keras's ---


def _shapes_of_keras() -> dict[str, tuple[int, ...]]:
    """Names and shapes as Keras keeps them: height, width, inputs, outputs."""
    convolutions = {"conv1": (7, 7, 3, 64)}
    inputs = 64
    for stage, letters in BLOCKS.items():
        width = 16 << stage
        for letter in letters:
            branch = f"res{stage}{letter}_branch"
            convolutions |= {f"{branch}1": (1, 1, inputs, 4 * width)} if letter == "a" else {}
            convolutions |= {f"{branch}2a": (1, 1, inputs, width), f"{branch}2b": (3, 3, width, width), f"{branch}2c": (1, 1, width, 4 * width)}
            inputs = 4 * width
    shapes: dict[str, tuple[int, ...]] = {}
    for conv, shape in convolutions.items():
        norm = _norm_of(conv)
        shapes |= {f"{conv}/kernel": shape, f"{conv}/bias": shape[3:]}
        shapes |= {f"{norm}/{part}": shape[3:] for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    return shapes | {"fc1000/kernel": (2048, 1000), "fc1000/bias": (1000,)}


def _norm_of(conv: str) -> str:
    return "bn_conv1" if conv == "conv1" else f"bn{conv.removeprefix('res')}"


def _blocks_of_keras(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """The features by Keras's names, as its ``ResNet50`` of 2017 to 2019: convolutions have biases, and a block's first one halves the image."""

    def unit(x: Tensor, conv: str, stride: int = 1, padding: int = 0) -> Tensor:
        x = conv2d(x, w[f"{conv}/kernel"].permute(3, 2, 0, 1), w[f"{conv}/bias"], stride, padding)
        gamma, beta, mean, var = (w[f"{_norm_of(conv)}/{part}"][:, None, None] for part in ("gamma", "beta", "moving_mean", "moving_variance"))
        return (x - mean) / (var + 0.001).sqrt() * gamma + beta

    x = max_pool2d(pad(unit(pad(x, [3] * 4), "conv1", 2).relu(), [1] * 4), 3, 2)
    for stage, letters in BLOCKS.items():
        for letter in letters:
            branch, stride = f"res{stage}{letter}_branch", 2 if letter == "a" and stage > 2 else 1
            out = unit(x, f"{branch}2a", stride).relu()
            out = unit(unit(out, f"{branch}2b", padding=1).relu(), f"{branch}2c")
            x = (out + (unit(x, f"{branch}1", stride) if letter == "a" else x)).relu()
    return x.mean((2, 3))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return _drawn(_shapes_of_keras())


LAYERS = [
    {"class_name": "BatchNormalization", "config": {"name": "bn_conv1", "epsilon": 0.001}},
    {"class_name": "Conv2D", "config": {"name": "res3a_branch2a", "strides": [2, 2]}},
]


def _describe(folder: Path, entries: list[dict[str, object]], shards: list[str], layers: list[dict[str, object]] = LAYERS) -> None:
    topology = {"model_config": {"class_name": "Model", "config": {"name": "resnet50", "layers": layers}}}
    manifest = [{"paths": shards, "weights": entries}]
    (folder / "model.json").write_text(json.dumps({"modelTopology": topology, "weightsManifest": manifest}))


@pytest.fixture(scope="module")
def package(weights: dict[str, Tensor]) -> Iterator[Path]:
    """As it is published: a folder in a folder, numbers in parts that end anywhere. Nothing is left behind."""
    with TemporaryDirectory() as folder:
        inner = Path(folder) / "ResNet50"
        inner.mkdir()
        numbers = b"".join(value.numpy().tobytes() for value in weights.values())
        shards, cut = ["group1-shard1of2.bin", "group1-shard2of2.bin"], len(numbers) // 2 + 1
        for name, part in zip(shards, (numbers[:cut], numbers[cut:]), strict=True):
            (inner / name).write_bytes(part)
        _describe(inner, [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in weights.items()], shards)
        yield Path(folder)


def test_features_and_logits_are_keras_s(package: Path, weights: dict[str, Tensor]) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 40, 32)).astype(np.uint8))
    pixels = interpolate(image.double(), (224, 224), mode="bilinear", align_corners=False)  # upwards, where smoothing changes nothing
    caffe = pixels.flip(1) - torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(3, 1, 1)  # blue, green, red
    double = {name: value.double() for name, value in weights.items()}
    wanted = _blocks_of_keras(caffe, double)
    found = extractor(package)
    features = found.features(image)
    assert features.shape == (2, 2048) and float(wanted.std()) > 0.1
    torch.testing.assert_close(features.double(), wanted, rtol=1e-4, atol=1e-4)
    logits = wanted @ double["fc1000/kernel"] + double["fc1000/bias"]
    torch.testing.assert_close(found(image).double(), logits, rtol=1e-3, atol=1e-3)


def test_rows_name_network_weights_and_resize(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256()
    for name in ("model.json", "group1-shard1of2.bin", "group1-shard2of2.bin"):
        digest.update((package / "ResNet50" / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grey").mkdir()
    for number in range(6):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12)).astype(np.uint8)).save(tmp_path / "grey" / f"{number}.png")
    code, _, err = run(f"evaluate grey --data grey --extractor resnet50={package} --metrics kid --out rows.jsonl", capsys)
    assert code == 0, err
    protocol = rows_in(tmp_path / "rows.jsonl")[0]["protocol"]
    assert protocol["extractor"] == f"resnet50:{digest.hexdigest()[:8]}" and protocol["resize"] == "antialiased-bilinear to 224x224"


def test_where_the_stride_is_and_epsilon_are_what_the_description_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = {name: torch.tensor(0.01).expand(shape) for name, shape in _shapes_of_keras().items()}
    monkeypatch.setattr("memogen.metrics.weight_files._tensors", lambda entries, numbers: flat)
    for eps, strides in ((0.001, [2, 2]), (1.001e-5, [1, 1])):
        layers = [{"config": {"name": "bn_conv1", "epsilon": eps}}, {"config": {"name": "res3a_branch2a", "strides": strides}}]
        _describe(tmp_path, [], [], layers)
        block = read_resnet50(tmp_path).network.get_submodule("layer2.0")
        assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1)) if strides == [2, 2] else ((1, 1), (2, 2))
        assert block.bn1.eps == eps


# --- what is refused ---


def _told(name: str | Path) -> str:
    with pytest.raises(InputError) as told:
        extractor(name)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_missing_a_misshapen_and_an_unknown_tensor_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for changed, complaint in (
        ({"layer3.5.conv2.weight": None}, "layer3.5.conv2.weight is missing"),
        ({"fc.weight": torch.zeros(10, 2048)}, "fc.weight is (10, 2048), not (1000, 2048)"),
        ({"layer4.3.conv1.weight": torch.zeros(1)}, "layer4.3.conv1.weight is unknown"),
    ):
        assert f"resnet50: {path}: not the weights of this network ({complaint}): give torchvision's" in _told(_flat(path, **changed))
    save_file({"layer1.0.conv1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert "(bn1.bias is missing)" in _told(tmp_path / "other.safetensors")
    torch.save({"layer1.0.conv1.weight": 3}, path)
    assert "holds more than tensors" in _told(f"resnet50={path}")


def test_one_line_and_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    _flat(tmp_path / "short.pth", **{"conv1.weight": None})
    (tmp_path / "empty").mkdir()
    for name, complaint in (
        ("short.pth", "conv1.weight is missing"),
        ("resnet50=nowhere.pth", "resnet50: nowhere.pth: does not exist: give"),
        ("resnet50=empty", "resnet50: empty: has no model.json: give"),
        ("empty", "'empty': neither a name nor a file of weights"),
        ("resnet50", "did you mean 'resnet50=PATH'?"),
    ):
        code, _, err = run(f"evaluate digits --data digits --extractor {name} --metrics kid --out rows.jsonl", capsys)
        told = err.splitlines()[-1]
        assert code == 2 and told.startswith("memogen: ") and complaint in told, err
    assert not (tmp_path / "rows.jsonl").exists()


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    torch.save({"layer1.0.conv1.weight": Trap()}, tmp_path / "trap.pth")
    for name in (tmp_path / "trap.pth", f"resnet50={tmp_path / 'trap.pth'}"):
        assert "cannot be read" in _told(name)
    assert not (tmp_path / "sprung").exists()


ENTRY = {"name": "conv1/bias", "shape": [4], "dtype": "float32"}


@pytest.mark.parametrize(
    ("entry", "shards", "complaint"),
    [
        ({**ENTRY, "shape": [5]}, ["a.bin"], "conv1/bias goes beyond its files, which end after 16 bytes"),
        ({**ENTRY, "shape": [-1, 4]}, ["a.bin"], "conv1/bias goes beyond its files"),
        ({**ENTRY, "shape": [3]}, ["a.bin"], "its files hold 16 bytes where its tensors need 12"),
        ({**ENTRY, "dtype": "int32"}, ["a.bin"], "conv1/bias is int32"),
        ({**ENTRY, "quantization": {"dtype": "uint8"}}, ["a.bin"], "conv1/bias is quantised"),
        ({"name": "conv1/bias", "dtype": "float32"}, ["a.bin"], "it has no 'shape'"),
        ({**ENTRY, "shape": 4}, ["a.bin"], "cannot be read"),
        (ENTRY, ["b.bin"], "b.bin: No such file or directory"),
        (ENTRY, ["../a.bin"], "'../a.bin' is no file beside it"),
        (ENTRY, ["a.bin"], "(bn2a_branch1/beta is missing)"),
    ],
)
def test_a_damaged_layers_model_is_refused(entry: dict[str, object], shards: list[str], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    _describe(tmp_path, [entry], shards)
    told = _told(tmp_path)
    assert complaint in told and str(tmp_path / "model.json") in told


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text[:-5], "cannot be read"),
        (lambda text: "[]", "cannot be read"),
        (lambda text: text.replace("weightsManifest", "weights"), "it has no 'weightsManifest'"),
        (lambda text: text.replace("bn_conv1", "bn1"), "describes another network"),
        (lambda text: text.replace("res3a_branch2a", "conv3_block1_1_conv"), "describes another network"),
    ],
)
def test_another_description_is_refused(change: Callable[[str], str], complaint: str, tmp_path: Path) -> None:
    _describe(tmp_path, [], [])
    (tmp_path / "model.json").write_text(change((tmp_path / "model.json").read_text()))
    assert complaint in _told(tmp_path)
