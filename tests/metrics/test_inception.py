"""The standard Inception: the port's names and shapes, its numbers on made-up weights, and files that are refused in one line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from memogen.data.cache import cache_root
from memogen.data.download import Remote
from memogen.metrics import Classifier, extractor
from memogen.metrics import inception as weights
from memogen.metrics.classifiers import WEIGHTS
from memogen.metrics.extractors import inception_v3
from memogen.metrics.inception import PUBLISHED, BlockA, BlockC, BlockE, InceptionV3
from memogen.types import InputError

# Of torch-fidelity 0.4.0 on the weights of `_made_up` and the images of `_images`: there all features and logits agree to 5e-6.
NAMES = "d84f693f2abd7fea61cb31c87d3b2f268bf707c1bae1db219afdad3363959cb0"
EXPECTED = {
    (32, 32): {
        "features": [0.0, 0.3907479, 0.09231778, 0.4337722],
        "logits": [0.4090815, 2.201578, -1.440466, 2.474032],
        "means": [0.2618902, 1.96912],
    },
    (40, 64): {
        "features": [0.0, 0.4290941, 0.1174115, 0.4702842],
        "logits": [0.3930306, 2.292857, -1.552763, 2.534512],
        "means": [0.2786052, 2.091266],
    },
}


def _made_up() -> dict[str, Tensor]:
    """Weights drawn by a generator whose numbers are fixed for ever, scaled so that no layer dies."""
    random, state = np.random.RandomState(0), {}
    for name, old in sorted(InceptionV3().state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        value = random.standard_normal(tuple(old.shape)) * 0.1
        if name.endswith("conv.weight"):
            value *= 10 * (2 / old[0].numel()) ** 0.5
        if name.endswith("running_var"):
            value = 1 + abs(value)
        if name.endswith("bn.weight"):
            value = 1 + value
        state[name] = torch.from_numpy(value.astype(np.float32))
    return state


def _images(height: int, width: int, num: int = 1) -> Tensor:
    return torch.from_numpy(np.random.RandomState(1).randint(0, 256, (num, 3, height, width)).astype(np.uint8))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return _made_up()


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor]) -> Iterator[Path]:
    """In the format of the published file, of which nothing is left behind."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / PUBLISHED.name
        torch.save(state, path, _use_new_zipfile_serialization=False)
        yield path


@pytest.fixture(autouse=True)
def nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the user's own weights, or the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "PUBLISHED", replace(PUBLISHED, urls=("http://127.0.0.1:9/weights.pth",)))


def test_names_shapes_and_counts_are_the_port_s(state: dict[str, Tensor]) -> None:
    network = InceptionV3()
    lines = "\n".join(f"{name} {tuple(value.shape)}" for name, value in sorted(state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES
    parameters = sum(value.numel() for value in network.parameters())
    assert parameters == 21_785_568 + 2049 * 1008 == 23_850_960  # the trunk, and the logits with their bias
    assert sum(value.numel() for value in state.values()) == parameters + 2 * 17_216 == 23_885_392  # mean and variance of 17,216 channels


@pytest.mark.parametrize("size", EXPECTED, ids=str)
def test_features_and_logits_are_the_port_s(size: tuple[int, int], file: Path) -> None:
    extractor = inception_v3(file)
    features = extractor.features(_images(*size))
    logits = extractor.logits(features)
    assert features.shape == (1, 2048) and logits.shape == (1, 1008)
    found = {"features": features[0, :4].tolist(), "logits": logits[0, :4].tolist(), "means": [float(features.mean()), float(logits.std())]}
    for name, expected in EXPECTED[size].items():
        assert found[name] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_where_the_graph_pools_otherwise() -> None:
    """Average pooling leaves the border out of its mean: a flat image stays flat. The last block takes the maximum: a bright pixel spreads whole."""
    for block, inputs in ((BlockA(4, 3), 4), (BlockC(4, 3), 4), (BlockE(4), 4)):
        pooled: list[Tensor] = []
        block.branch_pool.register_forward_pre_hook(lambda _, given, kept=pooled: kept.append(given[0]))
        block.eval()(torch.full((1, inputs, 9, 9), 2.0))
        torch.testing.assert_close(pooled[0], torch.full((1, inputs, 9, 9), 2.0))
    last, bright = BlockE(4, by_maximum=True), torch.zeros(1, 4, 5, 5)
    bright[..., 2, 2], kept = 9.0, []
    last.branch_pool.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    last.eval()(bright)
    assert torch.equal(kept[0][0, 0, 1:4, 1:4], torch.full((3, 3), 9.0))


def test_the_protocol_is_the_published_one(file: Path, state: dict[str, Tensor]) -> None:
    found = inception_v3(file)
    assert found.name == "inception-v3" and found.accuracy is None
    assert found.version == f"inception-v3:{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"
    assert found.resize == "tensorflow-1-bilinear to 299x299"
    read = found.reading(torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1))
    assert read.shape == (3, 3, 299, 299) and torch.equal(read[:, 1, 5, 5], torch.tensor([-1.0, 0.0, 127 / 128]))
    features = torch.randn(2, 2048)
    torch.testing.assert_close(found.logits(features), features @ state["fc.weight"].T)  # without the bias


def test_safetensors_hold_the_same(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "inception.safetensors"
    save_file({**state, "Mixed_5b.branch1x1.bn.num_batches_tracked": torch.tensor(7)}, path)
    ours, theirs = extractor(path), extractor(file)
    path.unlink()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_a_name_a_classifier_s_file_and_nothing() -> None:
    assert extractor("digits").version == extractor(WEIGHTS / "digits-v1.safetensors").version
    assert isinstance(extractor(str(WEIGHTS / "digits-v1.safetensors")), Classifier)
    with pytest.raises(InputError, match=r"extractor 'no/such': neither a name nor a file.*digits.*inception-v3"):
        extractor("no/such")


def test_without_network_the_error_says_where_to_put_the_file() -> None:
    with pytest.raises(InputError) as told:
        extractor("inception-v3")
    text = str(told.value)
    assert "\n" not in text and str(cache_root() / "downloads" / "inception-v3" / PUBLISHED.name) in text and "127.0.0.1" in text


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the file "published"."""
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "published").write_bytes(b"as published")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "mirror")))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/published"
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _published(checksum_of: bytes, *urls: str) -> Remote:
    return replace(PUBLISHED, checksum=f"sha256:{hashlib.sha256(checksum_of).hexdigest()}", urls=urls)


def test_published_file_is_downloaded_once_and_checked(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PUBLISHED", _published(b"other bytes", mirror))
    with pytest.raises(InputError, match="does not match the published checksum"):
        weights.published_file()
    monkeypatch.setattr(weights, "PUBLISHED", _published(b"as published", mirror))
    place = weights.published_file()
    assert place.parent == cache_root() / "downloads" / "inception-v3" and place.read_bytes() == b"as published"
    monkeypatch.setattr(weights, "PUBLISHED", _published(b"as published"))
    assert weights.published_file() == place
    place.write_bytes(b"another")
    with pytest.raises(InputError, match="not the published file"):
        weights.published_file()


def test_the_copy_of_other_libraries_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"as published")
    monkeypatch.setattr(weights, "PUBLISHED", _published(b"as published"))
    assert weights.published_file() == path


def _saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_other_files_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    some = {name: state[name] for name in sorted(state)[:3]}
    flat = {name: value[:0] for name, value in state.items()}
    path = tmp_path / "weights.pth"
    for content, complaint in (
        (some, "is missing"),
        ({**flat, "AuxLogits.fc.weight": torch.zeros(1)}, r"AuxLogits.fc.weight is unknown"),
        (flat, r"Conv2d_1a_3x3.bn.bias is \(0,\), not \(32,\)"),
        ({"fc.weight": 3}, "holds more than tensors"),
        ([torch.zeros(2)], "holds more than tensors"),
        (nn.Linear(2, 2), "cannot be read"),
    ):
        with pytest.raises(InputError, match=complaint) as told:
            extractor(_saved(content, path))
        assert str(path) in str(told.value) and "\n" not in str(told.value)
    for name in ("weights.pth", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(InputError, match="cannot be read") as told:
            extractor(tmp_path / name)
        assert "\n" not in str(told.value)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    for modern in (True, False):
        torch.save({"fc.weight": Trap()}, tmp_path / "trap.pth", _use_new_zipfile_serialization=modern)
        with pytest.raises(InputError, match="cannot be read"):
            extractor(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
