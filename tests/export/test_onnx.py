"""What leaves as ONNX is the model: the same numbers by onnxruntime, for every family, network and size of batch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import memogen
from memogen.export import onnx as exporting
from memogen.export import write_onnx
from memogen.export.graphs import Graph, graphs, latent_distributions
from memogen.noise import Stream
from memogen.types import InputError, Latents
from tests.command import run

from .kinds import KINDS, built

BATCHES = (1, 3, 17)
QUICK = ("replay_gan/padded", "mem_vae/conditional")  # and digits, which ships


def session(data: bytes | Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data if isinstance(data, bytes) else str(data), providers=["CPUExecutionProvider"])


def close(found: np.ndarray, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", QUICK)
def test_a_graph_gives_the_numbers_of_the_model(kind: str) -> None:
    """The last graph of each, which holds the others where there are several."""
    check(built(kind), graphs(built(kind))[-1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_graph_of_every_kind_gives_the_numbers_of_the_model(kind: str) -> None:
    model = built(kind)
    for graph in graphs(model):
        check(model, graph)


def check(model: Any, graph: Graph) -> None:
    made = session(exporting.translate(graph).SerializeToString())
    for num in BATCHES:
        same_numbers(model, graph, made, num)


def same_numbers(model: Any, graph: Graph, made: onnxruntime.InferenceSession, num: int) -> None:
    latents = model.latents(num, seed=num)
    parts = {name: part.numpy() for name in ("noise", "key", "label") if (part := getattr(latents, name)) is not None}
    image, label = model.decode(latents).clamp(*model.image_range), [] if latents.label is None else [latents.label]
    names = [each.name for each in made.get_inputs()]
    if graph.name == "generator":
        close(made.run(["image"], parts)[0], model.decode(latents))
    elif graph.name == "slots":
        close(made.run(["key"], {"slot": latents.slot.numpy()})[0], model.memory.keys[latents.slot])
    elif graph.name == "encoder" and "query" in graph.outputs:
        query = model.encode(image)
        expected = [query] if model.memory is None else [query, model.memory.posterior(query)]
        for found, wanted in zip(made.run(None, {"image": image.numpy()}), expected, strict=True):
            close(found, wanted)
    elif graph.name == "encoder":
        given = {"image": image.numpy()} | {name: parts[name] for name in names if name == "label"}
        for found, wanted in zip(made.run(None, given), model.encode(image, *label), strict=True):
            close(found, wanted)
    else:
        noise = model.draws(torch.arange(num), 1, seed=5, stream=Stream.RECONSTRUCTION + 2)[0]
        given = {"image": image.numpy(), "noise": noise.numpy()} | {name: parts[name] for name in names if name == "label"}
        told = {"label": label[0]} if label else {}
        close(made.run(None, given)[0], model.reconstruct(image, seed=5, step=2, start=0, **told))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "digits"
    write_onnx(memogen.from_pretrained("digits"), folder)
    return folder


def test_a_shipped_model_lies_in_whole_files(digits: Path) -> None:
    assert {path.name for path in digits.iterdir()} == {"generator.onnx", "slots.onnx", "encoder.onnx", "latents.json", "README.md"}
    for path in digits.glob("*.onnx"):
        onnx.checker.check_model(str(path), full_check=True)
        found = onnx.load(path).graph
        assert not any(part.external_data for part in found.initializer)
        assert all(part.type.tensor_type.shape.dim[0].dim_param == "batch" for part in (*found.input, *found.output))


def test_the_readme_draws_digits_that_torch_draws_too(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code on the page runs, and its images are those of the latents that it drew; its draws lie around keys as the memory's own do."""
    monkeypatch.chdir(digits)
    code = re.search(r"```python\n(.*?)```", (digits / "README.md").read_text(), flags=re.S)
    assert code is not None
    told: dict[str, Any] = {}
    exec(code[1], told)
    model = memogen.from_pretrained("digits")
    noise, key = (torch.from_numpy(told["inputs"][name]) for name in ("noise", "key"))
    close(told["image"], model.decode(Latents(noise, key)))
    mean, kappa = model.memory.keys[int(told["slot"][0])].double().numpy(), float(model.memory.fitted_concentration())
    cosine = np.mean([told["around"](mean, kappa) @ mean for _ in range(400)])
    assert cosine == pytest.approx(float(memogen.memory.functional.mean_cosine(kappa, len(mean))), abs=0.003)


def test_the_laws_are_those_of_the_model(digits: Path) -> None:
    told = json.loads((digits / "latents.json").read_text())
    model = memogen.from_pretrained("digits")
    slots = told["latents"]["slots"]
    assert sum(slots["prior"]) == pytest.approx(1)
    drawn = model.latents(20_000, seed=3).slot
    share = torch.bincount(drawn, minlength=model.memory.num_slots).double()[slots["numbers"]] / len(drawn)
    assert float(share.sum()) == pytest.approx(1), "no other slot is drawn"
    assert float((share - torch.tensor(slots["prior"], dtype=torch.float64)).abs().max()) < 0.004
    assert told["latents"]["noise"] == {"law": model.config.noise.law, "dim": model.config.noise.dim}
    sizes = {part["name"]: part["shape"] for part in told["files"]["generator.onnx"]["inputs"]}
    assert sizes == {"noise": ["batch", model.config.noise.dim], "key": ["batch", model.memory.key_dim]}


def test_labels_are_the_classes_that_are_known() -> None:
    model = built("replay_gan/norm")
    assert latent_distributions(model).labels is not None and latent_distributions(model).labels.numbers == model.known  # type: ignore[union-attr]
    assert latent_distributions(built("replay_gan/none")).labels is None
    assert latent_distributions(built("mem_vae/conditional")).labels.numbers == (0, 1, 2)  # type: ignore[union-attr]


def test_half_precision_moves_pixels_by_the_rounding_of_constants_alone(digits: Path) -> None:
    whole = onnx.load(digits / "generator.onnx")
    half = onnx.load(digits / "generator.onnx")
    exporting._halve(half)
    onnx.checker.check_model(half, full_check=True)
    assert half.ByteSize() < 0.52 * whole.ByteSize()
    latents = memogen.from_pretrained("digits").latents(64)
    given = {"noise": latents.noise.numpy(), "key": latents.key.numpy()}
    apart = session(half.SerializeToString()).run(None, given)[0] - session(whole.SerializeToString()).run(None, given)[0]
    assert 0 < np.abs(apart).max() < 0.01


def test_files_tell_nothing_of_the_machine_that_made_them(digits: Path) -> None:
    home = str(Path(memogen.__file__).parents[1]).encode()
    assert not any(home in path.read_bytes() or b".py" in path.read_bytes() for path in digits.glob("*.onnx"))


def test_a_folder_with_other_files_is_left_alone(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    code, _, error = run(f"export digits --to onnx --out {tmp_path}", capsys)
    assert code == 2 and "notes.txt" in error
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("breaks", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_break_leaves_nothing_and_former_files_as_they_were(breaks: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, kept = {"a.onnx": b"new", "b.onnx": b"new"}, tmp_path / "kept"
    kept.mkdir()
    (kept / "a.onnx").write_bytes(b"old")
    write = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        if "b.onnx" in path.name:
            write(path, data[:1])
            raise breaks
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    for folder in (kept, tmp_path / "fresh"):
        with pytest.raises(type(breaks)):
            exporting._write(folder, files)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {"a.onnx": b"old"} and not (tmp_path / "fresh").exists()


def test_a_graph_that_differs_from_torch_is_found_out(digits: Path) -> None:
    graph, wrong = graphs(memogen.from_pretrained("digits"))[0], onnx.load(digits / "generator.onnx")
    assert exporting.difference(graph, wrong.SerializeToString()) < exporting.TOLERANCE
    largest = max(wrong.graph.initializer, key=lambda part: len(part.raw_data))
    largest.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(largest) * 1.5, largest.name))
    with pytest.raises(RuntimeError, match="differs from torch"):
        exporting.difference(graph, wrong.SerializeToString())


def test_without_the_extra_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"pip install 'memogen\[onnx\]'"):
        exporting.translate(graphs(built("mem_vae/vae"))[0])


@pytest.mark.parametrize(
    "words",
    [
        "--to html --out page.pdf",
        "--to onnx --out model.onnx",
        "--to hub",
        "--to hub --repo noname",
        "--to hub --repo a/b --out x",
        "--to onnx --private",
        "--to html --repo a/b",
    ],
)
def test_options_that_do_not_belong_together_are_refused(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = run(f"export digits {words}", capsys)
    assert code == 2 and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
